import { createRequire } from 'node:module';
import { join } from 'node:path';

/** Loads a CommonJS package from the folder that the benchmark has installed it into. */
export function loadPeer<T>(name: string): T {
  const folder = process.env['PEER_FOLDER'];
  if (folder === undefined) throw new Error('PEER_FOLDER is not set: "npm run bench -- --peers" sets it');
  return createRequire(join(folder, 'package.json'))(name) as T;
}
