import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { natsUsersConfig, setNatsUsers } from '@flotilla/embedded';
import { errorCode } from '@flotilla/kernel';
import {
  connectNats,
  provision,
  topologyOf,
  type ProvisionOptions,
  type ProvisionReport,
  type TopologyOptions,
} from '@flotilla/messaging';
import type { Service } from '../services.ts';
import { Secrets, type DataDir } from './data-dir.ts';
import { natsIdentities, type NatsIdentities } from './identities.ts';
import { accessOf, type NatsAccess } from './nats-access.ts';
import type { FleetState } from './state.ts';

/** Makes the streams and consumers of all services what their manifests say. */
export async function provisionFleet(
  access: NatsAccess,
  services: readonly Service[],
  options: TopologyOptions & ProvisionOptions = {},
): Promise<ProvisionReport> {
  const connection = await connectNats({ ...access, name: 'fleet provision' });
  try {
    const topology = topologyOf(
      services.map(({ manifest }) => manifest),
      options,
    );
    return await provision(connection, topology, options);
  } finally {
    await connection.close();
  }
}

/** What the broker of a running fleet was brought to. */
export interface RunningProvision extends ProvisionReport {
  readonly identities: NatsIdentities;
  /** Whether users or what they may do have changed, without a restart. */
  readonly usersChanged: boolean;
}

/**
 * Brings the embedded broker of a running fleet, of whatever process, to what the manifests say now: users and what
 * they may do first, then streams and consumers. Nobody's connection suffers who keeps what it had.
 */
export async function provisionRunning(
  dir: DataDir,
  { nats }: Pick<FleetState, 'nats'>,
  services: readonly Service[],
  options: TopologyOptions & ProvisionOptions = {},
): Promise<RunningProvision> {
  const identities = await natsIdentities(services, await Secrets.open(dir));
  const running = {
    pid: nats.pid,
    configFile: join(dir.nats, 'nats.conf'),
    logFile: join(dir.logs, 'nats.log'),
  };
  const before = await usersBefore(dir);
  const usersChanged = before !== undefined && before !== natsUsersConfig(identities.users);
  if (usersChanged) await setNatsUsers(running, identities.users);
  const report = await provisionFleet(accessOf(nats.url, identities.provisioner), services, options);
  return { ...report, identities, usersChanged };
}

/** Undefined when the broker is no single embedded server, and its users are not kept here. */
async function usersBefore(dir: DataDir): Promise<string | undefined> {
  try {
    return await readFile(join(dir.nats, 'users.conf'), 'utf8');
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}
