import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * Where obtained programs and prepared data are kept between runs: `FLOTILLA_CACHE_DIR`, else
 * `.cache/flotilla` in the workspace. Everything in it can be deleted at any time.
 */
export function defaultCacheDir(env: NodeJS.ProcessEnv = process.env): string {
  const configured = env['FLOTILLA_CACHE_DIR'];
  if (configured !== undefined && configured !== '') return resolve(configured);
  return join(workspaceRoot(), '.cache', 'flotilla');
}

function workspaceRoot(): string {
  for (let dir = dirname(fileURLToPath(import.meta.url)); dir !== dirname(dir); dir = dirname(dir)) {
    if (existsSync(join(dir, 'nx.json'))) return dir;
  }
  return process.cwd();
}
