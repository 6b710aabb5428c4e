import { join } from 'node:path';
import {
  databaseUrl,
  locateNatsServer,
  startNats,
  startPostgres,
  type EmbeddedNats,
  type EmbeddedPostgres,
  type NatsUser,
} from '@flotilla/embedded';
import type { TopologyOptions } from '@flotilla/messaging';
import type { PortPlan } from '../ports.ts';
import type { Service } from '../services.ts';
import { Secrets, type DataDir } from './data-dir.ts';
import { natsIdentities, type NatsIdentities } from './identities.ts';
import { migrateServices, migratorRole, type MigrationTarget } from './migrations.ts';
import { accessOf } from './nats-access.ts';
import { provisionFleet } from './provisioning.ts';
import type { FleetCredentials } from './state.ts';

/** The broker of a fleet: one server, or a cluster of them. */
export interface BrokerServers {
  /** For clients; of a cluster the URLs of all servers, separated by commas. */
  readonly url: string;
  readonly monitorUrl: string | undefined;
  /** Of the first server. */
  readonly pid: number;
  /** Started again by themselves when they end unexpectedly. */
  readonly servers: readonly EmbeddedNats[];
  stop(): Promise<void>;
  kill(): Promise<void>;
}

/** Starts a broker on the ports and in the directory that it is given. */
export type BrokerFactory = (place: {
  readonly binary: string;
  readonly port: number;
  readonly httpPort: number;
  readonly storeDir: string;
  readonly logFile: string;
  /** Who may log in. */
  readonly users: readonly NatsUser[];
}) => Promise<BrokerServers>;

export interface StackOptions {
  /** Default: one embedded server. */
  readonly broker?: BrokerFactory;
  readonly topology?: TopologyOptions;
  /** NATS users beside those of the fleet: for a program that plays a part in it. Default: none. */
  readonly users?: readonly NatsUser[];
}

/** What the services of a fleet need to run: the two servers, databases with their schema, streams. */
export interface Stack {
  readonly nats: BrokerServers;
  readonly postgres: EmbeddedPostgres;
  /** URL of each service's database, for the role that the service runs with. */
  readonly databases: Readonly<Record<string, string>>;
  /** How each is migrated: for the role that owns the schema. */
  readonly migrators: Readonly<Record<string, MigrationTarget>>;
  /** Who may log in to NATS. */
  readonly identities: NatsIdentities;
  readonly secrets: Secrets;
  stop(): Promise<void>;
  /** Ends the servers as a crash would; they recover at the next start. */
  kill(): Promise<void>;
}

/** Starts the embedded NATS and Postgres side by side and brings both to what all `services` need. */
export async function startStack(
  dir: DataDir,
  ports: PortPlan,
  services: readonly Service[],
  onProgress: (message: string) => void,
  { broker = oneServer, topology = {}, users = [] }: StackOptions = {},
): Promise<Stack> {
  const secrets = await Secrets.open(dir);
  const identities = await natsIdentities(services, secrets);
  const started: { stop(): Promise<void> }[] = [];
  const keep = <T extends { stop(): Promise<void> }>(server: T): T => {
    started.push(server);
    return server;
  };
  const natsReady = async (): Promise<BrokerServers> => {
    const binary = await locateNatsServer({ onProgress });
    const nats = keep(
      await broker({
        binary: binary.path,
        port: ports.nats,
        httpPort: ports.natsMonitoring,
        storeDir: dir.nats,
        logFile: join(dir.logs, 'nats.log'),
        users: [...identities.users, ...users],
      }),
    );
    onProgress(`NATS ${binary.version} listens on ${nats.url.replaceAll('nats://', '')}`);
    const report = await provisionFleet(accessOf(nats.url, identities.provisioner), services, topology);
    const changes = report.created.length + report.updated.length;
    onProgress(`Streams and consumers: ${changes} made or changed, ${report.unchanged.length} as they were`);
    return nats;
  };
  const postgresReady = async (): Promise<[EmbeddedPostgres, Databases]> => {
    const postgres = keep(
      await startPostgres({
        dataDir: dir.postgres,
        port: ports.postgres,
        logFile: join(dir.logs, 'postgres.log'),
        onProgress,
      }),
    );
    onProgress(`Postgres ${postgres.version} listens on 127.0.0.1:${postgres.port}`);
    const withDatabase = services.filter(({ manifest }) => manifest.database);
    const databases = await ensureDatabases(postgres, withDatabase, secrets);
    const applied = await migrateServices(withDatabase, databases.migrators);
    const count = applied.reduce((sum, each) => sum + each.applied.length, 0);
    onProgress(`Databases: ${withDatabase.length}, migrations applied: ${count}`);
    return [postgres, databases];
  };

  const [natsResult, postgresResult] = await Promise.allSettled([natsReady(), postgresReady()]);
  if (natsResult.status === 'fulfilled' && postgresResult.status === 'fulfilled') {
    const nats = natsResult.value;
    const [postgres, databases] = postgresResult.value;
    const both = (action: (server: BrokerServers | EmbeddedPostgres) => Promise<void>): Promise<void> =>
      Promise.all([action(nats), action(postgres)]).then(() => undefined);
    return {
      nats,
      postgres,
      ...databases,
      identities,
      secrets,
      stop: () => both((server) => server.stop()),
      kill: () => both((server) => server.kill()),
    };
  }
  await Promise.all(started.map((server) => server.stop()));
  const failures = [natsResult, postgresResult].flatMap((result) =>
    result.status === 'rejected' ? [result.reason as unknown] : [],
  );
  throw failures.length === 1 ? failures[0] : new AggregateError(failures);
}

const oneServer: BrokerFactory = async (place) => {
  const server = await startNats(place);
  return {
    url: server.url,
    monitorUrl: server.monitorUrl,
    servers: [server],
    // Another one after each restart.
    get pid() {
      return server.pid;
    },
    stop: () => server.stop(),
    kill: () => server.kill(),
  };
};

/** What the `fleet` commands log in with. */
export function credentialsOf({ migrators, identities }: Stack): FleetCredentials {
  const { operator, provisioner, auditor } = identities;
  return { migrators, operator, provisioner, auditor };
}

type Databases = Pick<Stack, 'databases' | 'migrators'>;

/** One database and two roles per service: its own, named like it, and the one that owns the schema. */
async function ensureDatabases(
  postgres: EmbeddedPostgres,
  services: readonly Service[],
  secrets: Secrets,
): Promise<Databases> {
  const roles = services.flatMap(({ name }) => [name, migratorRole(name)]);
  const passwords = await secrets.get(...roles.map((role) => `postgres.${role}`));
  const passwordOf = (role: string): string => passwords[`postgres.${role}`] ?? '';
  const databases: Record<string, string> = {};
  const migrators: Record<string, MigrationTarget> = {};
  for (const { name } of services) {
    const migrator = { role: migratorRole(name), password: passwordOf(migratorRole(name)) };
    const own = { name, role: name, password: passwordOf(name) };
    databases[name] = await postgres.ensureDatabase({ ...own, migrator });
    migrators[name] = { url: databaseUrl(postgres.adminUrl, { name, ...migrator }), applicationRole: name };
  }
  return { databases, migrators };
}
