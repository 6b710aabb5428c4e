import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { FleetNotReadyError } from '../fleet.errors.ts';
import type { DataDir } from '../stack/data-dir.ts';
import { requireState } from '../stack/state.ts';
import { stopwatch, type Terminal } from '../terminal.ts';

/** Runs `fleet up` as a process of its own and returns when it says that it is ready. */
export async function upDetached(dir: DataDir, terminal: Terminal): Promise<void> {
  const took = stopwatch();
  const logFile = `${dir.path}.up.log`;
  mkdirSync(join(dir.path, '..'), { recursive: true });
  const log = openSync(logFile, 'w', 0o600);
  const child = spawn(
    process.execPath,
    [...process.execArgv, ...process.argv.slice(1).filter((argument) => argument !== '--detach')],
    { detached: true, stdio: ['ignore', log, log, 'ipc'] },
  );
  closeSync(log);
  terminal.note(`Starting the fleet in the background; what it says goes to ${logFile}`);
  const outcome = await new Promise<'ready' | 'ended'>((resolve) => {
    child.once('message', () => resolve('ready'));
    child.once('exit', () => resolve('ended'));
    child.once('error', () => resolve('ended'));
  });
  if (outcome === 'ended') throw new FleetNotReadyError([readFileSync(logFile, 'utf8').trimEnd()]);
  child.disconnect();
  child.unref();
  const { instances, gatewayUrl } = await requireState(dir);
  terminal.print(
    `Ready in ${took()}: ${instances.length} services${gatewayUrl ? `, the API at ${gatewayUrl}/v1` : ''}.`,
  );
  terminal.print('"npm run fleet -- status" shows it, "npm run fleet -- down" stops it.');
}
