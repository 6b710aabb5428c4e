import {
  connectNats,
  provision,
  topologyOf,
  type ProvisionOptions,
  type ProvisionReport,
  type TopologyOptions,
} from '@flotilla/messaging';
import type { Service } from '../services.ts';
import type { NatsAccess } from './nats-access.ts';

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
