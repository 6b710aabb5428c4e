// Plain JavaScript, because Nx also loads this file when it was started by an older Node than the pinned one.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

/** @typedef {import('@nx/devkit').TargetConfiguration} TargetConfiguration */
/** @typedef {{ name: string, exports?: unknown, nx?: { tags?: string[] } }} PackageManifest */

const JEST =
  'node --experimental-vm-modules --conditions=@flotilla/source --disable-warning=ExperimentalWarning node_modules/jest/bin/jest.js';

/** What the test targets depend on beside the code: how Jest runs it. */
const TEST_INPUTS = [
  'default',
  '^production',
  '{workspaceRoot}/jest.preset.mjs',
  '{workspaceRoot}/tools/nx-flotilla/src/jest-counts.mjs',
  { externalDependencies: ['jest', '@swc/jest', '@swc/core'] },
];

/**
 * The targets of one project, inferred from what its folder holds, so that a project configures nothing but its
 * name and tags. Exported for tests; Nx calls it through `createNodes`.
 *
 * @param {string} workspaceRoot absolute
 * @param {string} root the project's folder, relative to the workspace
 * @returns {Record<string, TargetConfiguration>}
 */
export function inferTargets(workspaceRoot, root) {
  const folder = join(workspaceRoot, root);
  const manifest = readManifest(folder);
  const tags = manifest.nx?.tags ?? [];
  /** @type {Record<string, TargetConfiguration>} */
  const targets = {};

  const tsconfigs = readdirSync(folder)
    .filter((file) => /^tsconfig(?:\..+)?\.json$/.test(file))
    .sort();
  if (tsconfigs.length > 0) {
    targets['lint'] = {
      command: `eslint --max-warnings=0 ${root}`,
      options: { cwd: '{workspaceRoot}' },
      cache: true,
      inputs: [
        'default',
        '^production',
        '{workspaceRoot}/eslint.config.mjs',
        '{workspaceRoot}/tools/nx-flotilla/src/eslint/**/*',
        {
          externalDependencies: [
            'eslint',
            'typescript-eslint',
            'typescript',
            '@nx/eslint-plugin',
            '@eslint/js',
          ],
        },
      ],
      metadata: { technologies: ['eslint'], description: 'Lint the project, module boundaries included' },
    };
    targets['typecheck'] = {
      command: tsconfigs.map((tsconfig) => `tsc --noEmit -p ${root}/${tsconfig}`).join(' && '),
      options: { cwd: '{workspaceRoot}' },
      cache: true,
      inputs: ['default', '^production', { externalDependencies: ['typescript'] }],
      metadata: { technologies: ['typescript'], description: 'Check the types of sources and tests' },
    };
  }

  if (hasTests(folder, /\.spec\.ts$/)) {
    targets['test'] = jest(root, 'test', '[.]spec[.]ts$', 'Unit tests: no servers, seconds');
  }
  if (hasTests(folder, /\.(?:int|e2e)-spec\.ts$/)) {
    const endToEnd = tags.includes('type:e2e');
    const name = endToEnd ? 'e2e' : 'test-int';
    targets[name] = {
      ...jest(
        root,
        name,
        '[.](int|e2e)-spec[.]ts$',
        endToEnd ? 'The fleet as processes, end to end' : 'Integration tests on real NATS and Postgres',
      ),
      // They start servers and measure deadlines: two at once would make each other late.
      parallelism: false,
    };
  }

  if (isBuildable(folder, manifest)) {
    targets['build'] = {
      command: `node tools/nx-flotilla/src/build.ts ${root}`,
      options: { cwd: '{workspaceRoot}' },
      dependsOn: ['^build'],
      cache: true,
      inputs: [
        'production',
        '{workspaceRoot}/tools/nx-flotilla/src/build.ts',
        { externalDependencies: ['@swc/core'] },
      ],
      outputs: ['{projectRoot}/dist'],
      metadata: { technologies: ['swc'], description: 'Compile src/ to dist/' },
    };
  }

  if (tags.includes('type:app') && existsSync(join(folder, 'src/main.ts'))) {
    targets['serve'] = {
      command: `node --conditions=@flotilla/source tools/fleet/src/main.ts serve ${basename(root)}`,
      options: { cwd: '{workspaceRoot}' },
      continuous: true,
      cache: false,
      metadata: { description: 'Run the service against the embedded stack, starting what it needs' },
    };
  }
  return targets;
}

/**
 * The boundary rule must tell the protocol, which the chassis builds on, from the contracts of the business.
 *
 * @param {string} root
 * @returns {{ tags?: string[] }}
 */
function inferTags(root) {
  if (dirname(root) !== 'libs/contracts') return {};
  return { tags: [basename(root) === 'protocol' ? 'contracts:protocol' : 'contracts:business'] };
}

/**
 * @param {string} root
 * @param {string} target
 * @param {string} files
 * @param {string} description
 * @returns {TargetConfiguration}
 */
function jest(root, target, files, description) {
  return {
    command: `${JEST} -c ${root}/jest.config.mjs -i --testPathPatterns "${files}"`,
    options: { cwd: '{workspaceRoot}' },
    cache: true,
    inputs: TEST_INPUTS,
    outputs: [`{workspaceRoot}/.cache/test-results/${root}/${target}.json`],
    metadata: { technologies: ['jest'], description },
  };
}

/**
 * @param {string} folder
 * @param {RegExp} name
 */
function hasTests(folder, name) {
  return ['src', 'test']
    .map((part) => join(folder, part))
    .filter((part) => existsSync(part))
    .some((part) => readdirSync(part, { recursive: true }).some((file) => name.test(String(file))));
}

/**
 * Same rule as `findBuildableProjects` in build.ts.
 *
 * @param {string} folder
 * @param {PackageManifest} manifest
 */
function isBuildable(folder, manifest) {
  if (!existsSync(join(folder, 'src'))) return false;
  return (
    existsSync(join(folder, 'src/main.ts')) || JSON.stringify(manifest.exports ?? null).includes('"./dist/')
  );
}

/**
 * @param {string} folder
 * @returns {PackageManifest}
 */
function readManifest(folder) {
  return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
}

/** @type {import('@nx/devkit').CreateNodes} */
export const createNodes = [
  '{apps,libs,tools}/**/package.json',
  (files, _options, context) =>
    files
      .filter((file) => !/(?:^|\/)(?:node_modules|dist)\//.test(file))
      .map((file) => {
        const root = dirname(file);
        const tags = readManifest(join(context.workspaceRoot, root)).nx?.tags ?? [];
        const project = {
          targets: inferTargets(context.workspaceRoot, root),
          projectType: /** @type {'application' | 'library'} */ (
            tags.includes('type:app') || tags.includes('type:e2e') ? 'application' : 'library'
          ),
          ...inferTags(root),
          // The end-to-end tests drive every deployable without importing it.
          ...(tags.includes('type:e2e') ? { implicitDependencies: ['tag:type:app'] } : {}),
        };
        return /** @type {const} */ ([file, { projects: { [root]: project } }]);
      }),
];

export const name = '@flotilla/nx-flotilla';
