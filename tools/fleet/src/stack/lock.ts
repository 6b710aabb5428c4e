import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { errorCode } from '@flotilla/kernel';
import { FleetAlreadyRunningError } from '../fleet.errors.ts';
import type { DataDir } from './data-dir.ts';
import { isAlive, startTimeOf } from './processes.ts';

interface Holder {
  readonly pid: number;
  /** Tells the process from a later one with the same pid; undefined where the system does not say. */
  readonly started: string | undefined;
}

/** Says that this process runs the fleet of a data directory. */
export interface Lock {
  /** The process that had it died without giving it back: what it ran may still be ending. */
  readonly inherited: boolean;
  release(): void;
}

/** Takes the lock, also from a process that died with it. Throws {@link FleetAlreadyRunningError}. */
export function acquireLock(dir: DataDir): Lock {
  const mine: Holder = { pid: process.pid, started: startTimeOf(process.pid) };
  const own = `${dir.lockFile}.${process.pid}`;
  writeFileSync(own, JSON.stringify(mine));
  let inherited = false;
  try {
    for (;;) {
      try {
        // A link appears whole or not at all, and never over another one.
        linkSync(own, dir.lockFile);
        return {
          inherited,
          release() {
            if (readHolder(dir)?.pid === process.pid) rmSync(dir.lockFile, { force: true });
          },
        };
      } catch (error) {
        if (errorCode(error) !== 'EEXIST') throw error;
      }
      const holder = readHolder(dir);
      if (holder !== undefined && holds(holder)) throw new FleetAlreadyRunningError(dir.path, holder.pid);
      if (holder !== undefined) {
        inherited = true;
        discardStale(dir);
      }
    }
  } finally {
    rmSync(own, { force: true });
  }
}

/** The process that runs the fleet of a data directory, if one does. */
export function runningFleet(dir: DataDir): number | undefined {
  const holder = readHolder(dir);
  return holder !== undefined && holds(holder) ? holder.pid : undefined;
}

/** Another process may be doing the same: whoever's rename succeeds has removed it. */
function discardStale(dir: DataDir): void {
  const aside = `${dir.lockFile}.stale.${process.pid}`;
  try {
    renameSync(dir.lockFile, aside);
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error;
  }
  rmSync(aside, { force: true });
}

function readHolder(dir: DataDir): Holder | undefined {
  try {
    return JSON.parse(readFileSync(dir.lockFile, 'utf8')) as Holder;
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

function holds({ pid, started }: Holder): boolean {
  return isAlive(pid) && (started === undefined || startTimeOf(pid) === started);
}
