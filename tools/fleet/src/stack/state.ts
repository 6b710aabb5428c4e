import { readFile, rm } from 'node:fs/promises';
import { errorCode } from '@flotilla/kernel';
import { FleetNotRunningError } from '../fleet.errors.ts';
import { writePrivate, type DataDir } from './data-dir.ts';
import { runningFleet } from './lock.ts';

export type InstanceStatus =
  'starting' | 'ready' | 'waiting to restart' | 'crash loop' | 'stopping' | 'stopped';

export interface InstanceState {
  readonly name: string;
  readonly service: string;
  readonly port: number;
  readonly pid: number | undefined;
  readonly status: InstanceStatus;
  readonly restarts: number;
}

/** What a running fleet says of itself in `state.json`. Holds passwords: the file is private. */
export interface FleetState {
  readonly pid: number;
  readonly startedAt: string;
  /** Absent until all services have been ready once. */
  readonly readyAt?: string;
  readonly nats: { readonly url: string; readonly monitorUrl: string; readonly pid: number };
  readonly postgres: { readonly port: number; readonly version: string; readonly pid: number };
  /** URL of each service's database, with its role and password. */
  readonly databases: Readonly<Record<string, string>>;
  /** Where the public API is, when a gateway runs. */
  readonly gatewayUrl?: string;
  readonly instances: readonly InstanceState[];
}

export async function writeState(dir: DataDir, state: FleetState): Promise<void> {
  await writePrivate(dir.stateFile, JSON.stringify(state, null, 2));
}

export async function removeState(dir: DataDir): Promise<void> {
  await rm(dir.stateFile, { force: true });
}

/** The state of the running fleet; undefined when none runs, or it has not come that far. */
export async function readState(dir: DataDir): Promise<FleetState | undefined> {
  if (runningFleet(dir) === undefined) return undefined;
  try {
    return JSON.parse(await readFile(dir.stateFile, 'utf8')) as FleetState;
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Throws {@link FleetNotRunningError}. */
export async function requireState(dir: DataDir): Promise<FleetState> {
  const state = await readState(dir);
  if (state === undefined) throw new FleetNotRunningError(dir.path);
  return state;
}
