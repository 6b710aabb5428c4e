import type { NatsUser } from '@flotilla/embedded';
import {
  auditorPermissions,
  FLEET_USERS,
  operatorPermissions,
  permissionsOf,
  provisionerPermissions,
  type NatsCredentials,
} from '@flotilla/messaging';
import type { Service } from '../services.ts';
import type { Secrets } from './data-dir.ts';

/** Who may log in to a fleet's broker: each service, and whoever operates it, makes its streams, or only looks. */
export interface NatsIdentities {
  /** All of them with what they may do, for the server. */
  readonly users: readonly NatsUser[];
  /** Of each service, by its name. */
  readonly services: Readonly<Record<string, NatsCredentials>>;
  readonly operator: NatsCredentials;
  readonly provisioner: NatsCredentials;
  readonly auditor: NatsCredentials;
}

/** The identities of all `services`, with the passwords of a data directory. */
export async function natsIdentities(
  services: readonly Service[],
  secrets: Secrets,
): Promise<NatsIdentities> {
  const grants = natsGrants(services);
  const passwords = await secrets.get(...grants.map(({ user }) => `nats.${user}`));
  const users = grants.map((grant) => ({ ...grant, password: passwords[`nats.${grant.user}`] ?? '' }));
  const credentials = new Map(users.map(({ user, password }) => [user, { user, password }]));
  const of = (user: string): NatsCredentials => credentials.get(user) ?? { user, password: '' };
  return {
    users,
    services: Object.fromEntries(services.map(({ name }) => [name, of(name)])),
    operator: of(FLEET_USERS.operator),
    provisioner: of(FLEET_USERS.provisioner),
    auditor: of(FLEET_USERS.auditor),
  };
}

/** The variable with the password of a NATS user, for deployments: `ORDERS_NATS_PASSWORD`. */
export function passwordVariable(user: string): string {
  return `${user.toUpperCase().replaceAll('-', '_')}_NATS_PASSWORD`;
}

/** What each user of a fleet's broker may do: derived from the manifests, and from nothing else. */
export function natsGrants(services: readonly Service[]): Omit<NatsUser, 'password'>[] {
  const fleet = services.map(({ manifest }) => manifest);
  const { operator, provisioner, auditor } = FLEET_USERS;
  return [
    ...fleet.map((manifest) => ({ user: manifest.name, permissions: permissionsOf(manifest, fleet) })),
    { user: operator, permissions: operatorPermissions(operator) },
    { user: provisioner, permissions: provisionerPermissions(provisioner) },
    { user: auditor, permissions: auditorPermissions(auditor) },
  ];
}
