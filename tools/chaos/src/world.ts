import type { NatsConnection } from '@nats-io/nats-core';
import { locateNatsServer, startNatsCluster, type EmbeddedNatsCluster } from '@flotilla/embedded';
import { Fleet, type ServerAddresses } from '@flotilla/fleet/fleet';
import type { Instance } from '@flotilla/fleet/ports';
import { discoverServices, type Service } from '@flotilla/fleet/services';
import type { DataDir } from '@flotilla/fleet/stack/data-dir';
import { accessOf } from '@flotilla/fleet/stack/nats-access';
import { provisionFleet } from '@flotilla/fleet/stack/provisioning';
import type { ServiceProcess } from '@flotilla/fleet/supervise/service-process';
import { newId } from '@flotilla/kernel';
import { connectNats, type TopologyOptions } from '@flotilla/messaging';
import type { Load } from './load/load.ts';
import { PostgresReader } from './load/postgres-reader.ts';
import type { NetworkNamespace } from './network-namespace.ts';
import { FaultProxy } from './proxy/fault-proxy.ts';
import { natsProtocol } from './proxy/nats-frames.ts';
import { postgresProtocol } from './proxy/postgres-frames.ts';
import { waitFor } from './wait.ts';

/** `single`: one NATS server, every process behind fault proxies. `cluster`: three servers, three copies of everything. */
export type WorldKind = 'single' | 'cluster';

export interface WorldOptions {
  readonly kind: WorldKind;
  readonly dir: DataDir;
  readonly topology: TopologyOptions;
  /** For the third server of a cluster; undefined: it stands with the others. */
  readonly namespace: NetworkNamespace | undefined;
  /** What the fleet says of itself. */
  readonly note: (text: string) => void;
}

/** Who breaks things may do everything; the services have what their manifests give them. */
const CHAOS = { user: 'chaos', password: newId() };

/** The proxies through which one process reaches its servers. */
export interface ProcessProxies {
  readonly nats: FaultProxy;
  readonly postgres: FaultProxy | undefined;
}

/** A message that no service can handle, which the run has sent. */
export interface Poison {
  /** Its `ce-id`; of a message without envelope, undefined. */
  readonly id: string | undefined;
  readonly stream: string;
  readonly sequence: number;
  readonly kind: string;
}

/** What one process says of itself. */
export interface Reading {
  readonly name: string;
  /** `ready`, `degraded`, `not ready`, `no answer`. */
  readonly health: string;
  /** Why it is not ready. */
  readonly why: string;
}

const PROBE_TIMEOUT_MS = 2_500;
const READY_TIMEOUT_MS = 120_000;

/** A whole fleet as processes, with the means to break it and to look at it from outside. */
export class World {
  readonly kind: WorldKind;
  readonly fleet: Fleet;
  readonly services: readonly Service[];
  readonly poison: Poison[] = [];
  readonly cluster: EmbeddedNatsCluster | undefined;
  readonly namespace: NetworkNamespace | undefined;
  readonly note: (text: string) => void;
  readonly #proxies: Map<string, ProcessProxies>;
  readonly #options: WorldOptions;
  readonly #orders: PostgresReader;
  #connection: NatsConnection | undefined;
  #load: Load | undefined;

  private constructor(
    options: WorldOptions,
    fleet: Fleet,
    services: readonly Service[],
    proxies: Map<string, ProcessProxies>,
    cluster: EmbeddedNatsCluster | undefined,
  ) {
    this.#options = options;
    this.kind = options.kind;
    this.note = options.note;
    this.fleet = fleet;
    this.services = services;
    this.cluster = cluster;
    this.namespace = options.namespace;
    this.#proxies = proxies;
    this.#orders = new PostgresReader(fleet.stack.databases['orders'] ?? '');
  }

  /** Starts everything and waits until it is ready; when that fails nothing is left running. */
  static async start(options: WorldOptions): Promise<World> {
    const { kind, dir, topology, note, namespace } = options;
    const services = await discoverServices();
    const proxies = new Map<string, ProcessProxies>();
    let cluster: EmbeddedNatsCluster | undefined;
    const fleet = new Fleet({
      dir,
      all: services,
      services,
      topology,
      users: [CHAOS],
      // What stands still here does so on purpose, and wakes up as a zombie.
      hungAfterMs: 0,
      terminal: { print: note, note, progress: note },
      ...(kind === 'single' && { reach: (instance, servers) => proxied(proxies, instance, servers) }),
      ...(kind === 'cluster' && {
        broker: async ({ port, httpPort, storeDir, users }) => {
          cluster = await startNatsCluster({
            binary: (await locateNatsServer()).path,
            storeDir,
            users,
            members: [
              { port, httpPort },
              {},
              namespace === undefined ? {} : { host: namespace.innerAddress, program: namespace.program },
            ],
            ...(namespace && { innerHost: namespace.outerAddress }),
          });
          return cluster;
        },
      }),
    });
    try {
      await fleet.start();
    } catch (error) {
      await closeAll(proxies);
      throw error;
    }
    return new World(options, fleet, services, proxies, cluster);
  }

  get load(): Load {
    if (this.#load === undefined) throw new Error('The world has no load');
    return this.#load;
  }

  set load(load: Load) {
    this.#load = load;
  }

  get apiUrl(): string {
    return this.process('gateway').url;
  }

  /** Of somebody who may do everything at the broker. */
  get natsCredentials(): { readonly user: string; readonly password: string } {
    return CHAOS;
  }

  /** How long the broker waits for word of a delivered message, in milliseconds. */
  get ackWaitMs(): number {
    return this.#options.topology.ackWaitMs ?? 30_000;
  }

  get duplicateWindowMs(): number {
    return this.#options.topology.duplicateWindowMs ?? 120_000;
  }

  process(name: string): ServiceProcess {
    const found = this.fleet.processes.find((each) => each.name === name);
    if (found === undefined) throw new Error(`There is no process ${name}`);
    return found;
  }

  processesOf(service: string): ServiceProcess[] {
    return this.fleet.processes.filter(({ state }) => state.service === service);
  }

  /** Of a single world only. */
  proxiesOf(name: string): ProcessProxies {
    const found = this.#proxies.get(name);
    if (found === undefined) throw new Error(`${name} has no proxies`);
    return found;
  }

  /** A connection to the broker as somebody who may do everything, past all proxies. */
  async nats(): Promise<NatsConnection> {
    if (this.#connection === undefined || this.#connection.isClosed()) {
      this.#connection = await connectNats({
        ...accessOf(this.fleet.stack.nats.url, CHAOS),
        name: 'chaos',
        connectTimeoutMs: 10_000,
      });
    }
    return this.#connection;
  }

  /** Makes streams and consumers what they should be: what an operator runs after a broker was lost. */
  async provision(overrides: TopologyOptions = {}): Promise<void> {
    await provisionFleet(accessOf(this.fleet.stack.nats.url, CHAOS), this.services, {
      ...this.#options.topology,
      ...overrides,
    });
  }

  /** Ends a process at once, from outside. Its supervisor starts it again. */
  kill(name: string): boolean {
    return this.signal(name, 'SIGKILL');
  }

  signal(name: string, signal: NodeJS.Signals): boolean {
    const { pid } = this.process(name).state;
    return pid !== undefined && process.kill(pid, signal);
  }

  /** Sagas that have not ended, by the service that their step waits for. Empty while the database is away. */
  async liveSagas(): Promise<ReadonlyMap<string, number>> {
    const live = new Map<string, number>();
    try {
      const rows = await this.#orders.query<{ step: string | null; count: string }>(
        'SELECT step, count(*) FROM saga_instances WHERE ended_at IS NULL GROUP BY step',
      );
      for (const { step, count } of rows) {
        const service = STEPS[step ?? ''] ?? 'orders';
        live.set(service, (live.get(service) ?? 0) + Number(count));
      }
    } catch {
      // Postgres is what is broken at the moment.
    }
    return live;
  }

  /** Asks the orders' database, as an operator. */
  query<R>(text: string): Promise<R[]> {
    return this.#orders.query<R>(text);
  }

  /** What each process says of its health now. */
  read(): Promise<Reading[]> {
    return Promise.all(this.fleet.processes.map((each) => readingOf(each.name, `${each.url}/health/ready`)));
  }

  /** Waits until every process is there and ready. */
  async untilReady(): Promise<void> {
    await waitFor(
      async () => {
        const readings = await this.read();
        return readings.every(({ health }) => health === 'ready' || health === 'degraded');
      },
      { timeoutMs: READY_TIMEOUT_MS, describe: 'every process is ready' },
    );
  }

  async close(): Promise<void> {
    if (this.#connection !== undefined) await this.#connection.close();
    await this.#orders.close();
    await this.fleet.stop();
    await closeAll(this.#proxies);
  }
}

/** Which service a step of a saga waits for. */
const STEPS: Readonly<Record<string, string>> = {
  reserve: 'inventory',
  'take-back': 'inventory',
  restock: 'inventory',
  authorise: 'payments',
  capture: 'payments',
  refund: 'payments',
  ship: 'shipping',
  dispatched: 'shipping',
  delivered: 'shipping',
  fetch: 'shipping',
  arrived: 'shipping',
  withdraw: 'shipping',
};

async function proxied(
  proxies: Map<string, ProcessProxies>,
  { name }: Instance,
  { natsUrl, databaseUrl }: ServerAddresses,
): Promise<ServerAddresses> {
  const through = async (url: string, protocol: typeof natsProtocol): Promise<[FaultProxy, string]> => {
    const target = new URL(url);
    const proxy = await FaultProxy.listen({ targetPort: Number(target.port), protocol });
    target.port = String(proxy.port);
    return [proxy, target.href];
  };
  // A process of this name that ran before had proxies of its own.
  await closeOf(proxies.get(name));
  const [nats, natsThrough] = await through(natsUrl, natsProtocol);
  const [postgres, databaseThrough] =
    databaseUrl === undefined ? [undefined, undefined] : await through(databaseUrl, postgresProtocol);
  proxies.set(name, { nats, postgres });
  return { natsUrl: natsThrough, databaseUrl: databaseThrough };
}

async function closeOf(proxies: ProcessProxies | undefined): Promise<void> {
  await proxies?.nats.close();
  await proxies?.postgres?.close();
}

async function closeAll(proxies: ReadonlyMap<string, ProcessProxies>): Promise<void> {
  await Promise.all([...proxies.values()].map(closeOf));
}

interface HealthBody {
  readonly status?: string;
  readonly error?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly details?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

async function readingOf(name: string, url: string): Promise<Reading> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(PROBE_TIMEOUT_MS) });
    const body = (await response.json()) as HealthBody;
    const why = Object.entries(body.details ?? body.error ?? {})
      .filter(([, { status }]) => status !== 'up')
      .map(([what, { status, ...rest }]) => `${what} ${String(status)}: ${reasonOf(rest)}`)
      .join('; ');
    if (!response.ok) return { name, health: 'not ready', why };
    return { name, health: body.status === 'degraded' || why !== '' ? 'degraded' : 'ready', why };
  } catch {
    return { name, health: 'no answer', why: '' };
  }
}

function reasonOf(details: Readonly<Record<string, unknown>>): string {
  const { message } = details;
  return typeof message === 'string' ? message : JSON.stringify(details);
}
