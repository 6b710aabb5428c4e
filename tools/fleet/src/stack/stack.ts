import { join } from 'node:path';
import {
  locateNatsServer,
  startNats,
  startPostgres,
  type EmbeddedNats,
  type EmbeddedPostgres,
} from '@flotilla/embedded';
import type { TopologyOptions } from '@flotilla/messaging';
import type { PortPlan } from '../ports.ts';
import type { Service } from '../services.ts';
import { Secrets, type DataDir } from './data-dir.ts';
import { migrateServices } from './migrations.ts';
import { provisionFleet } from './provisioning.ts';

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
}) => Promise<BrokerServers>;

export interface StackOptions {
  /** Default: one embedded server. */
  readonly broker?: BrokerFactory;
  readonly topology?: TopologyOptions;
}

/** What the services of a fleet need to run: the two servers, databases with their schema, streams. */
export interface Stack {
  readonly nats: BrokerServers;
  readonly postgres: EmbeddedPostgres;
  /** URL of each service's database. */
  readonly databases: Readonly<Record<string, string>>;
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
  { broker = oneServer, topology = {} }: StackOptions = {},
): Promise<Stack> {
  const secrets = await Secrets.open(dir);
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
      }),
    );
    onProgress(`NATS ${binary.version} listens on ${nats.url.replaceAll('nats://', '')}`);
    const report = await provisionFleet({ servers: nats.url.split(',') }, services, topology);
    const changes = report.created.length + report.updated.length;
    onProgress(`Streams and consumers: ${changes} made or changed, ${report.unchanged.length} as they were`);
    return nats;
  };
  const postgresReady = async (): Promise<[EmbeddedPostgres, Record<string, string>]> => {
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
    const applied = await migrateServices(withDatabase, databases);
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
      databases,
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

/** One database and role per service, both named like it. */
async function ensureDatabases(
  postgres: EmbeddedPostgres,
  services: readonly Service[],
  secrets: Secrets,
): Promise<Record<string, string>> {
  const passwords = await secrets.get(...services.map(({ name }) => `postgres.${name}`));
  const databases: Record<string, string> = {};
  for (const { name } of services) {
    const password = passwords[`postgres.${name}`] ?? '';
    databases[name] = await postgres.ensureDatabase({ name, role: name, password });
  }
  return databases;
}
