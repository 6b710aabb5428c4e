import { readFileSync } from 'node:fs';
import {
  inboxPrefixOf,
  type ConnectNatsOptions,
  type NatsCredentials,
  type NatsTls,
} from '@flotilla/messaging';
import { FleetNotRunningError } from '../fleet.errors.ts';
import type { DataDir } from './data-dir.ts';
import { readState } from './state.ts';

/** How to reach the broker, and as whom. */
export type NatsAccess = Omit<ConnectNatsOptions, 'name'>;

/** As a user of the broker at an address, or several with commas; its answers go where only it may listen. */
export function accessOf(url: string, credentials: NatsCredentials): NatsAccess {
  return { servers: url.split(','), credentials, inboxPrefix: inboxPrefixOf(credentials.user) };
}

/**
 * The broker of `NATS_URL`, with `NATS_USER`, `NATS_PASSWORD` and the files `NATS_TLS_CA`, `NATS_TLS_CERT` and
 * `NATS_TLS_KEY` (each also as `..._FILE`), else that of the running fleet, as its operator. Throws {@link FleetNotRunningError}.
 */
export async function findNats(dir: DataDir, env: NodeJS.ProcessEnv = process.env): Promise<NatsAccess> {
  const deployed = deployedNats(env);
  if (deployed !== undefined) return deployed;
  const state = await readState(dir);
  if (state === undefined) throw new FleetNotRunningError(dir.path);
  return accessOf(state.nats.url, state.credentials.operator);
}

/** The broker of `NATS_URL`; undefined when it is not set. */
export function deployedNats(env: NodeJS.ProcessEnv = process.env): NatsAccess | undefined {
  const url = read(env, 'NATS_URL');
  return url === undefined ? undefined : accessFrom(url, env);
}

function accessFrom(url: string, env: NodeJS.ProcessEnv): NatsAccess {
  const user = read(env, 'NATS_USER');
  const password = read(env, 'NATS_PASSWORD');
  const caFile = read(env, 'NATS_TLS_CA');
  const certFile = read(env, 'NATS_TLS_CERT');
  const keyFile = read(env, 'NATS_TLS_KEY');
  const tls: NatsTls = {
    ...(caFile !== undefined && { caFile }),
    ...(certFile !== undefined && { certFile }),
    ...(keyFile !== undefined && { keyFile }),
  };
  return {
    servers: url.split(',').map((each) => each.trim()),
    ...(user !== undefined && {
      credentials: { user, password: password ?? '' },
      inboxPrefix: inboxPrefixOf(user),
    }),
    ...(Object.keys(tls).length > 0 && { tls }),
  };
}

/** A setting of the environment, or of the file that `<name>_FILE` names; undefined when neither is set. */
export function readSetting(name: string, env: NodeJS.ProcessEnv = process.env): string | undefined {
  return read(env, name);
}

function read(env: NodeJS.ProcessEnv, name: string): string | undefined {
  const file = env[`${name}_FILE`];
  if (file !== undefined && file !== '') return readFileSync(file, 'utf8').trim();
  const value = env[name];
  return value === '' ? undefined : value;
}
