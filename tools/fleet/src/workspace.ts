import { resolve } from 'node:path';

/** The root of the workspace that this command belongs to. */
export const workspaceRoot = resolve(import.meta.dirname, '../../..');

/** Where `fleet up` keeps its data unless told otherwise: `FLOTILLA_DATA`, else `.flotilla` in the workspace. */
export function defaultDataDir(env: NodeJS.ProcessEnv = process.env): string {
  const configured = env['FLOTILLA_DATA'];
  return configured === undefined || configured === ''
    ? resolve(workspaceRoot, '.flotilla')
    : resolve(configured);
}
