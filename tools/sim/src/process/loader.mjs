// Lets a simulation process run the services' sources, decorators included, on a simulated `pg`.
import { readFileSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { fileURLToPath } from 'node:url';
import { transformSync } from '@swc/core';

const SIMULATED = '/libs/testing/src/simulation/';
const PG = new URL('pg.mjs', import.meta.url).href;

registerHooks({
  resolve(specifier, context, nextResolve) {
    // Whoever asks for it, our libraries and TypeORM, but the simulated database itself.
    if (specifier === 'pg' && context.parentURL?.includes(SIMULATED) !== true)
      return { url: PG, format: 'module', shortCircuit: true };
    return nextResolve(specifier, context);
  },
  load(url, context, nextLoad) {
    if (!url.startsWith('file:') || !url.endsWith('.ts')) return nextLoad(url, context);
    const filename = fileURLToPath(url);
    const { code } = transformSync(readFileSync(filename, 'utf8'), {
      filename,
      swcrc: false,
      sourceMaps: 'inline',
      module: { type: 'es6' },
      jsc: {
        target: 'es2023',
        keepClassNames: true,
        parser: { syntax: 'typescript', decorators: true },
        transform: { legacyDecorator: true, decoratorMetadata: true },
      },
    });
    return { format: 'module', source: code, shortCircuit: true };
  },
});
