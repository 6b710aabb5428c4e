import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * The Jest configuration every project shares: ESM, sources compiled by SWC with decorator metadata,
 * workspace packages resolved to their sources. Call it with the `import.meta.url` of the project's own
 * `jest.config.mjs`.
 */
export default function preset(configUrl, overrides = {}) {
  return {
    rootDir: dirname(fileURLToPath(configUrl)),
    testEnvironment: 'node',
    testEnvironmentOptions: { customExportConditions: ['@flotilla/source', 'node', 'node-addons'] },
    testMatch: ['<rootDir>/{src,test}/**/*.{spec,int-spec,e2e-spec}.ts'],
    extensionsToTreatAsEsm: ['.ts'],
    moduleFileExtensions: ['ts', 'mjs', 'js', 'json', 'node'],
    transform: {
      '^.+\\.ts$': [
        '@swc/jest',
        {
          jsc: {
            parser: { syntax: 'typescript', decorators: true },
            transform: { legacyDecorator: true, decoratorMetadata: true },
            target: 'es2023',
            keepClassNames: true,
          },
          module: { type: 'es6' },
          sourceMaps: 'inline',
        },
      ],
    },
    reporters: ['default', join(import.meta.dirname, 'tools/nx-flotilla/src/jest-counts.mjs')],
    // They start NATS and Postgres when the first test asks for them, and not at all for unit tests.
    globalSetup: join(import.meta.dirname, 'libs/testing/src/jest-global-setup.ts'),
    globalTeardown: join(import.meta.dirname, 'libs/testing/src/jest-global-teardown.ts'),
    testTimeout: 30_000,
    injectGlobals: true,
    ...overrides,
  };
}
