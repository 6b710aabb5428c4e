import { readFile } from 'node:fs/promises';
import { errorCode, systemClock } from '@flotilla/kernel';
import type { DataDir } from './data-dir.ts';
import type { Lock } from './lock.ts';
import { isAlive } from './processes.ts';
import type { FleetState } from './state.ts';

/** Longer than the guards of services and servers take to end them. */
const PATIENCE_MS = 30_000;

/** After a fleet was killed, waits until its services and servers, which end by themselves, have ended. */
export async function awaitPredecessor(
  dir: DataDir,
  lock: Lock,
  onProgress: (message: string) => void,
): Promise<void> {
  if (!lock.inherited) return;
  const pids = await pidsOfPredecessor(dir);
  const start = systemClock.monotonicMs();
  let told = false;
  // A pid may belong to somebody else by now: then the patience ends, and the ports and data directories decide.
  while (pids.some(isAlive) && systemClock.monotonicMs() - start < PATIENCE_MS) {
    if (!told) onProgress('The fleet before this one was killed: waiting for what it left to end');
    told = true;
    await systemClock.sleep(50);
  }
}

async function pidsOfPredecessor(dir: DataDir): Promise<number[]> {
  let text: string;
  try {
    text = await readFile(dir.stateFile, 'utf8');
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return [];
    throw error;
  }
  const { nats, postgres, instances } = JSON.parse(text) as FleetState;
  return [nats.pid, postgres.pid, ...instances.flatMap(({ pid }) => pid ?? [])];
}
