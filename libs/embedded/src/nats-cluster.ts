import { join } from 'node:path';
import { systemClock } from '@flotilla/kernel';
import { EmbeddedOptionError, ServerStartError } from './errors.ts';
import { startNats, type EmbeddedNats, type NatsUser } from './nats.ts';
import { freePort, loopback } from './ports.ts';

/** One server of a cluster. */
export interface NatsClusterMember {
  /** Port for clients. Default: a free one. */
  readonly port?: number;
  /** Port of the monitoring endpoints. Default: a free one; they are needed to see who leads. */
  readonly httpPort?: number;
  /** Port for the other servers. Default: a free one. */
  readonly routePort?: number;
  /** The address at which the others and the clients reach it. Default the loopback address. */
  readonly host?: string;
  /** What is run instead of the program of all: one that enters a network namespace first, for example. */
  readonly program?: string;
}

export interface StartNatsClusterOptions {
  /** The nats-server program; see `locateNatsServer`. */
  readonly binary: string;
  /** Each server keeps its streams, configuration and log in a folder of it, `n1` and so on. */
  readonly storeDir: string;
  /** Three or more, an odd number: a majority must be up. Default three with free ports. */
  readonly members?: readonly NatsClusterMember[];
  /** The address at which members with a `host` of their own reach those without. Default the loopback address. */
  readonly innerHost?: string;
  /** Users with their permissions, the same at every server. Default: anybody may do everything. */
  readonly users?: readonly NatsUser[];
  /** How long it may take until the servers have agreed on a leader that sees them all. Default 60,000 ms. */
  readonly readyTimeoutMs?: number;
}

/** A cluster of nats-servers with JetStream, run as child processes. */
export class EmbeddedNatsCluster {
  readonly servers: readonly EmbeddedNats[];

  constructor(servers: readonly EmbeddedNats[]) {
    this.servers = servers;
  }

  /** The URLs of all servers, separated by commas. */
  get url(): string {
    return this.servers.map(({ url }) => url).join(',');
  }

  /** Of the first server. */
  get monitorUrl(): string | undefined {
    return this.servers[0]?.monitorUrl;
  }

  /** Of the first server. */
  get pid(): number {
    return this.servers[0]?.pid ?? 0;
  }

  async stop(): Promise<void> {
    await Promise.all(this.servers.map((server) => server.stop()));
  }

  /** Ends all servers as a power cut would. */
  async kill(): Promise<void> {
    await Promise.all(this.servers.map((server) => server.kill()));
  }

  /** The server that leads a stream, as those that run say; undefined while there is none. */
  async leaderOf(stream: string): Promise<EmbeddedNats | undefined> {
    for (const server of this.servers.filter(({ running }) => running)) {
      const details = await jsz(server, '?streams=true');
      const found = details?.account_details
        ?.flatMap(({ stream_detail: streams = [] }) => streams)
        .find(({ name }) => name === stream);
      const leader = found?.cluster?.leader;
      if (leader !== undefined && leader !== '')
        return this.servers.find((each) => each.serverName === leader);
    }
    return undefined;
  }

  /** Whether every stream has a leader and all its copies are up to date, as each server that runs sees its own. */
  async inSync(): Promise<boolean> {
    for (const server of this.servers) {
      const details = server.running ? await jsz(server, '?streams=true') : undefined;
      if (details === undefined || !isLeader(details.meta_cluster?.leader)) return false;
      const streams = details.account_details?.flatMap(({ stream_detail: each = [] }) => each) ?? [];
      for (const { cluster } of streams) {
        if (!isLeader(cluster?.leader)) return false;
        if (cluster?.leader !== server.serverName) continue;
        if (cluster.replicas?.some(({ current, offline }) => !current || offline === true) === true)
          return false;
      }
    }
    return true;
  }
}

interface StreamDetail {
  readonly name: string;
  readonly cluster?: {
    readonly leader?: string;
    readonly replicas?: readonly { readonly current: boolean; readonly offline?: boolean }[];
  };
}

/** https://docs.nats.io/running-a-nats-service/nats_admin/monitoring#jetstream-information */
interface JetStreamDetails {
  readonly meta_cluster?: {
    readonly leader?: string;
    /** The others, where the server that answers leads. */
    readonly replicas?: readonly { readonly offline?: boolean }[];
  };
  readonly account_details?: readonly { readonly stream_detail?: readonly StreamDetail[] }[];
}

const PROBE_MS = 50;

/**
 * Starts the servers and waits until they have agreed on a leader, and it sees the others: without that there is no
 * place for copies of a stream. Throws `SERVER_START_FAILED` and leaves nothing running when that does not happen.
 */
export async function startNatsCluster(options: StartNatsClusterOptions): Promise<EmbeddedNatsCluster> {
  const { binary, storeDir, members = [{}, {}, {}], innerHost = loopback, readyTimeoutMs = 60_000 } = options;
  if (members.length < 3 || members.length % 2 === 0)
    throw new EmbeddedOptionError(`a cluster has an odd number of members from 3 on, not ${members.length}`);
  const places = await Promise.all(
    members.map(async (member) => ({
      ...member,
      port: member.port ?? (await freePort()),
      httpPort: member.httpPort ?? (await freePort()),
      routePort: member.routePort ?? (await freePort()),
    })),
  );
  // Who is in a namespace of its own reaches the others at an address that both have; so the others listen there too.
  const apart = places.some(({ host }) => host !== undefined);
  const routeHost = (place: NatsClusterMember): string => place.host ?? (apart ? innerHost : loopback);
  const routes = places.map((place) => `nats-route://${routeHost(place)}:${place.routePort}`);
  const results = await Promise.allSettled(
    places.map((place, index) =>
      startNats({
        binary: place.program ?? binary,
        port: place.port,
        httpPort: place.httpPort,
        ...(place.host !== undefined && { host: place.host }),
        storeDir: join(storeDir, `n${index + 1}`),
        serverName: `flotilla-${index + 1}`,
        readyTimeoutMs,
        ...(options.users && { users: options.users }),
        config: [
          'cluster {',
          '  name: "flotilla"',
          `  listen: "${routeHost(place)}:${place.routePort}"`,
          // Clients know all servers already, and at addresses that they can reach.
          '  no_advertise: true',
          `  routes: ${JSON.stringify(routes.filter((_, other) => other !== index))}`,
          '}',
        ].join('\n'),
      }),
    ),
  );
  const servers = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  const cluster = new EmbeddedNatsCluster(servers);
  try {
    const failure = results.find((result) => result.status === 'rejected');
    if (failure !== undefined) throw failure.reason;
    await untilLed(cluster, readyTimeoutMs);
    return cluster;
  } catch (error) {
    await cluster.kill();
    throw error;
  }
}

async function untilLed(cluster: EmbeddedNatsCluster, timeoutMs: number): Promise<void> {
  const start = systemClock.monotonicMs();
  const [first] = cluster.servers;
  if (first === undefined) return;
  for (;;) {
    const details = await Promise.all(cluster.servers.map((server) => jsz(server, '')));
    if (details.every((each) => isLeader(each?.meta_cluster?.leader))) {
      const others = details.flatMap((each) => each?.meta_cluster?.replicas ?? []);
      if (others.filter(({ offline }) => offline !== true).length >= cluster.servers.length - 1) return;
    }
    if (systemClock.monotonicMs() - start > timeoutMs) {
      const reason = `the servers have agreed on no leader that sees them all within ${timeoutMs} ms`;
      throw new ServerStartError('The NATS cluster', reason, first.logFile, await first.logTail());
    }
    await systemClock.sleep(PROBE_MS);
  }
}

function isLeader(name: string | undefined): boolean {
  return name !== undefined && name !== '';
}

/** Undefined while the server does not answer. */
async function jsz(server: EmbeddedNats, query: string): Promise<JetStreamDetails | undefined> {
  try {
    const response = await fetch(`${server.monitorUrl ?? ''}/jsz${query}`, {
      signal: AbortSignal.timeout(2_000),
    });
    return (await response.json()) as JetStreamDetails;
  } catch {
    return undefined; // starting, or gone: asked again
  }
}
