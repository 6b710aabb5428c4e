import { readFile, rm } from 'node:fs/promises';
import { errorCode } from '@flotilla/kernel';
import type { NatsCredentials } from '@flotilla/messaging';
import { FleetNotRunningError } from '../fleet.errors.ts';
import { writePrivate, type DataDir } from './data-dir.ts';
import { runningFleet } from './lock.ts';
import type { MigrationTarget } from './migrations.ts';

export type InstanceStatus =
  'starting' | 'ready' | 'waiting to restart' | 'crash loop' | 'stopping' | 'stopped';

export interface InstanceState {
  readonly name: string;
  readonly service: string;
  readonly port: number;
  readonly pid: number | undefined;
  readonly status: InstanceStatus;
  readonly restarts: number;
  /** How many of them because it hung. */
  readonly hangs: number;
}

/** How the `fleet` commands log in to the servers of a running fleet. */
export interface FleetCredentials {
  /** How the databases are migrated. */
  readonly migrators: Readonly<Record<string, MigrationTarget>>;
  /** The NATS user that helps sagas, replays dead letters, changes settings, looks at queues. */
  readonly operator: NatsCredentials;
  /** The NATS user that makes streams and consumers. */
  readonly provisioner: NatsCredentials;
  /** The NATS user that may read everything and change nothing. */
  readonly auditor: NatsCredentials;
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
  /** Of the identities that are not a service's. */
  readonly credentials: FleetCredentials;
  /** Where the public API is, when a gateway runs. */
  readonly gatewayUrl?: string;
  /** Where operators' acts are asked for over HTTP. */
  readonly operatorUrl?: string;
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
