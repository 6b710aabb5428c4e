import { spawn } from 'node:child_process';
import { workspaceRoot } from '../src/workspace.ts';

export interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** Runs the simulator as `npm run sim -- <args>` does. */
export function sim(...args: readonly string[]): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(
      process.execPath,
      ['--conditions=@flotilla/source', 'tools/sim/src/main.ts', ...args],
      // Jest's own flags are not for it.
      { cwd: workspaceRoot, env: { ...process.env, NODE_OPTIONS: '' } },
    );
    let out = '';
    let err = '';
    child.stdout.on('data', (text: Buffer) => (out += text.toString()));
    child.stderr.on('data', (text: Buffer) => (err += text.toString()));
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, out, err }));
  });
}
