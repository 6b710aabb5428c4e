import { resolve } from 'node:path';

/** The root of the workspace, from `src/` as from `dist/`. */
export const workspaceRoot = resolve(import.meta.dirname, '../../..');
