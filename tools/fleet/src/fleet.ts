import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { EmbeddedNats, EmbeddedPostgres, NatsUser } from '@flotilla/embedded';
import { errorMessage, formatDurationMs, systemClock } from '@flotilla/kernel';
import type { TopologyOptions } from '@flotilla/messaging';
import { buildServices } from './build.ts';
import { serviceEnvironment } from './environment.ts';
import { FleetNotReadyError, UsageError } from './fleet.errors.ts';
import {
  assertPortsFree,
  freeInstancePort,
  instancesOf,
  planPorts,
  portBase,
  serverPorts,
  type Instance,
  type PortPlan,
} from './ports.ts';
import type { Service } from './services.ts';
import { startOperator, type RunningOperator } from './operate/operator.ts';
import { emptyDataDir, openDataDir, writePrivate, type DataDir } from './stack/data-dir.ts';
import { acquireLock, type Lock } from './stack/lock.ts';
import { accessOf } from './stack/nats-access.ts';
import { awaitPredecessor } from './stack/predecessor.ts';
import { credentialsOf, startStack, type BrokerFactory, type Stack } from './stack/stack.ts';
import { removeState, writeState, type FleetState } from './stack/state.ts';
import { ConsoleFeed } from './supervise/console-feed.ts';
import { condense, parseLogLine } from './supervise/log-line.ts';
import { ORPHAN_PATIENCE_MS, OrphanGuard } from './supervise/orphan-guard.ts';
import { ServiceProcess } from './supervise/service-process.ts';
import { stopwatch, type Terminal } from './terminal.ts';

export interface FleetOptions {
  readonly dir: DataDir;
  /** All services of the workspace: the streams and databases of all are made. */
  readonly all: readonly Service[];
  /** Those to run. */
  readonly services: readonly Service[];
  readonly scale?: ReadonlyMap<string, number>;
  /** Deletes the data first. */
  readonly fresh?: boolean;
  /** Starts the broker; default: one embedded server. */
  readonly broker?: BrokerFactory;
  /** Where streams and consumers are to be made otherwise than by default. */
  readonly topology?: TopologyOptions;
  /** NATS users beside those of the fleet: for a program that plays a part in it. Default: none. */
  readonly users?: readonly NatsUser[];
  /** The addresses that one process is given: where it is to reach the servers through something else. Default: the servers'. */
  readonly reach?: (instance: Instance, servers: ServerAddresses) => Promise<ServerAddresses>;
  /** Whether other programs may ask for operators' acts, over NATS and on loopback over HTTP. Default false. */
  readonly operator?: boolean;
  /**
   * For how long a process may answer nothing before it is killed and started again, in milliseconds; 0: for ever.
   * Default {@link HUNG_AFTER_MS}.
   */
  readonly hungAfterMs?: number;
  readonly terminal: Terminal;
}

/** Where a process of a service finds its servers. */
export interface ServerAddresses {
  readonly natsUrl: string;
  /** Undefined: the service has no database. */
  readonly databaseUrl: string | undefined;
}

/** As long as the ack wait: then others have its messages anyway. */
export const HUNG_AFTER_MS = 30_000;
/** How long the services may take to become ready. */
const READY_TIMEOUT_MS = 90_000;
/** A service that ends so often before it is ready will not become ready. */
const HOPELESS_ENDINGS = 3;

/** The embedded servers and the services of one data directory, as child processes of this one. */
export class Fleet {
  readonly #options: FleetOptions;
  readonly #terminal: Terminal;
  readonly #guard = new OrphanGuard(ORPHAN_PATIENCE_MS);
  readonly #startedAt = new Date();
  readonly #processes: ServiceProcess[] = [];
  #lock: Lock | undefined;
  #stack: Stack | undefined;
  #ports: PortPlan | undefined;
  #readyAt: Date | undefined;
  #operator: RunningOperator | undefined;
  #stopping = false;
  #forced = false;
  #writing: Promise<void> = Promise.resolve();
  #scaling: Promise<void> = Promise.resolve();
  readonly #feed: ConsoleFeed;

  constructor(options: FleetOptions) {
    this.#options = options;
    this.#terminal = options.terminal;
    this.#feed = new ConsoleFeed((line) => this.#terminal.note(line));
  }

  get processes(): readonly ServiceProcess[] {
    return this.#processes;
  }

  /** Where operators' acts are asked for over HTTP, if they are. */
  get operatorUrl(): string | undefined {
    return this.#operator?.url;
  }

  /** The servers that run; throws before {@link start}. */
  get stack(): Stack {
    if (this.#stack === undefined) throw new UsageError('The fleet was not started');
    return this.#stack;
  }

  /** Starts everything and resolves when all services are ready. When that fails, nothing is left running. */
  async start(): Promise<void> {
    const { dir, services, all, scale = new Map<string, number>(), fresh = false } = this.#options;
    try {
      await openDataDir(dir, { fresh });
      this.#lock = acquireLock(dir);
      await awaitPredecessor(dir, this.#lock, (message) => this.#terminal.note(message));
      if (fresh) {
        await emptyDataDir(dir);
        await openDataDir(dir);
        this.#terminal.note(`Emptied ${dir.path}`);
      }
      rmSync(dir.stateFile, { force: true });
      const instances = instancesOf(
        services.map(({ name }) => name),
        scale,
      );
      const ports = planPorts(
        all.map(({ name }) => name),
        instances,
        portBase(),
      );
      await assertPortsFree([
        ...instances.map(({ name }) => ({ port: ports.instances.get(name) ?? 0, wantedBy: name })),
        ...serverPorts(ports),
        ...(this.#options.operator === true ? [{ port: ports.operator, wantedBy: 'the operator' }] : []),
      ]);
      this.#ports = ports;
      const [stack] = await allOrNothing([this.#startStack(ports), this.#build()]);
      this.#watchServers(stack);
      await this.#startServices(stack, ports);
      await this.#writeState();
      await this.#untilReady();
      if (this.#options.operator === true) await this.#startOperator(stack, ports);
      this.#readyAt = new Date();
      await this.#writeState();
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  /** Stops the services (the gateway first), then the servers. Bounded; calling it again waits for the same end. */
  async stop(): Promise<void> {
    this.#stopping = true;
    const front = this.#processes.filter(({ state }) => state.service === 'gateway');
    const back = this.#processes.filter(({ state }) => state.service !== 'gateway');
    await Promise.all([...front.map((each) => each.stop()), this.#operator?.stop()]);
    await Promise.all(back.map((each) => each.stop()));
    if (this.#forced) await this.#stack?.kill();
    else await this.#stack?.stop();
    for (const each of this.#processes) each.close();
    this.#guard.close();
    await this.#writing;
    if (this.#lock !== undefined) {
      await removeState(this.#options.dir);
      this.#lock.release();
    }
  }

  /**
   * Runs so many processes of a service from now on. Resolves when those that are new are ready, and those that are too
   * many have stopped as a deployment stops them. Throws {@link UsageError} when no port is left.
   */
  scaleTo(service: string, count: number): Promise<void> {
    // One at a time: each takes the ports that the one before has left.
    const scaled = this.#scaling.then(() => this.#scaleTo(service, count));
    this.#scaling = scaled.catch(() => undefined); // the caller hears of it
    return scaled;
  }

  async #scaleTo(service: string, count: number): Promise<void> {
    const ports = this.#ports;
    if (ports === undefined) throw new UsageError('The fleet was not started');
    const wanted = new Set(instancesOf([service], new Map([[service, count]])).map(({ name }) => name));
    const running = this.#processes.filter(({ state }) => state.service === service);
    const surplus = running.filter(({ name }) => !wanted.has(name));
    const missing = [...wanted].filter((name) => !running.some((each) => each.name === name));
    for (const name of missing) {
      const used = this.#processes.map(({ state }) => state.port);
      const process = await this.#process(
        this.stack,
        ports,
        { service, name },
        freeInstancePort(ports, used),
      );
      this.#processes.push(process);
      process.start();
    }
    await Promise.all(surplus.map((each) => each.stop()));
    for (const each of surplus) {
      each.close();
      this.#processes.splice(this.#processes.indexOf(each), 1);
    }
    await this.#untilReady();
    await this.#writeState();
  }

  /** Makes a stop under way end at once: kill -9 for all; what was committed is kept. */
  force(): void {
    this.#forced = true;
    for (const each of this.#processes) each.kill();
    void this.#stack?.kill();
  }

  async #startStack(ports: PortPlan): Promise<Stack> {
    const { dir, all, broker, topology, users } = this.#options;
    this.#stack = await startStack(dir, ports, all, (message) => this.#terminal.note(message), {
      ...(broker && { broker }),
      ...(topology && { topology }),
      ...(users && { users }),
    });
    return this.#stack;
  }

  async #build(): Promise<void> {
    const took = stopwatch();
    const { projects, written } = await buildServices(this.#options.services);
    this.#terminal.note(`Built ${projects} projects (${written} files changed) in ${took()}`);
  }

  async #startServices(stack: Stack, ports: PortPlan): Promise<void> {
    const { services, scale = new Map<string, number>() } = this.#options;
    const instances = instancesOf(
      services.map(({ name }) => name),
      scale,
    );
    for (const instance of instances) {
      this.#processes.push(
        await this.#process(stack, ports, instance, ports.instances.get(instance.name) ?? 0),
      );
    }
    for (const each of this.#processes) each.start();
  }

  async #process(stack: Stack, ports: PortPlan, instance: Instance, port: number): Promise<ServiceProcess> {
    const { dir, reach } = this.#options;
    const { name, service } = instance;
    const direct = { natsUrl: stack.nats.url, databaseUrl: stack.databases[service] };
    const { natsUrl, databaseUrl } = (await reach?.(instance, direct)) ?? direct;
    const source = {
      dir,
      ports: { ...ports, instances: new Map([[name, port]]) },
      natsUrl,
      natsUsers: stack.identities.services,
      databases: databaseUrl === undefined ? {} : { [service]: databaseUrl },
    };
    return new ServiceProcess({
      instance,
      port,
      env: serviceEnvironment(instance, source),
      logFile: join(dir.logs, `${name}.log`),
      guard: this.#guard,
      onLine: (line) => this.#feed.line(name, line),
      onEvent: (sentence) => this.#terminal.note(sentence),
      onChange: () => this.#stateChanged(),
      hungAfterMs: this.#options.hungAfterMs ?? HUNG_AFTER_MS,
    });
  }

  async #startOperator({ nats, identities, secrets }: Stack, ports: PortPlan): Promise<void> {
    const { dir, all } = this.#options;
    const { 'http.operator': token } = await secrets.get('http.operator');
    await writePrivate(dir.operatorHeaderFile, `Authorization: Bearer ${token}\n`);
    this.#operator = await startOperator(accessOf(nats.url, identities.operator), {
      services: all,
      http: { host: '127.0.0.1', port: ports.operator, token },
    });
  }

  async #untilReady(): Promise<void> {
    const start = systemClock.monotonicMs();
    const waiting = (): ServiceProcess[] => this.#processes.filter(({ state }) => state.status !== 'ready');
    let before = waiting().length + 1;
    for (;;) {
      if (this.#stopping) throw new FleetNotReadyError(['it was stopped']);
      const left = waiting();
      if (left.length === 0) return;
      const hopeless = left.filter(({ endings }) => endings >= HOPELESS_ENDINGS);
      const late = systemClock.monotonicMs() - start > READY_TIMEOUT_MS;
      if (hopeless.length > 0 || late) {
        throw new FleetNotReadyError((hopeless.length > 0 ? hopeless : left).map(whyNotReady));
      }
      if (left.length !== before) {
        before = left.length;
        const took = formatDurationMs(systemClock.monotonicMs() - start);
        this.#terminal.progress(`Waiting for ${left.map(({ name }) => name).join(', ')} (${took})`);
      }
      await systemClock.sleep(25);
    }
  }

  /** NATS and Postgres are started again when they end by themselves: services reconnect. */
  #watchServers({ nats, postgres }: Stack): void {
    const watch = (name: string, server: EmbeddedNats | EmbeddedPostgres): void => {
      server.onExit((exit) => {
        if (exit.expected || this.#stopping) return;
        this.#terminal.note(`${name} ended (${exit.signal ?? `code ${exit.code}`}) and is started again`);
        void this.#restartServer(name, server);
      });
    };
    for (const [index, server] of nats.servers.entries()) {
      watch(nats.servers.length === 1 ? 'NATS' : `NATS ${index + 1}`, server);
    }
    watch('Postgres', postgres);
  }

  async #restartServer(name: string, server: EmbeddedNats | EmbeddedPostgres): Promise<void> {
    for (let attempt = 1; !this.#stopping; attempt++) {
      try {
        await server.restart();
        this.#terminal.note(`${name} is up again`);
        this.#stateChanged();
        return;
      } catch (error) {
        this.#terminal.note(`${name} cannot be started (attempt ${attempt}): ${errorMessage(error)}`);
        await systemClock.sleep(Math.min(10_000, 500 * attempt));
      }
    }
  }

  #stateChanged(): void {
    if (this.#stopping) return;
    void this.#writeState().catch((error: unknown) => {
      this.#terminal.note(`Cannot write ${this.#options.dir.stateFile}: ${errorMessage(error)}`);
    });
  }

  /** One write at a time; the last one has the last word. */
  #writeState(): Promise<void> {
    const stack = this.#stack;
    if (stack === undefined) return Promise.resolve();
    this.#writing = this.#writing.then(() => writeState(this.#options.dir, this.#state(stack)));
    const written = this.#writing;
    this.#writing = written.catch(() => undefined); // the caller hears of it; the next write is a new try
    return written;
  }

  #state(stack: Stack): FleetState {
    const { nats, postgres, databases } = stack;
    const gateway = this.#processes.find(({ name }) => name === 'gateway');
    return {
      pid: process.pid,
      startedAt: this.#startedAt.toISOString(),
      ...(this.#readyAt && { readyAt: this.#readyAt.toISOString() }),
      nats: { url: nats.url, monitorUrl: nats.monitorUrl ?? '', pid: nats.pid },
      postgres: { port: postgres.port, version: postgres.version, pid: postgres.pid },
      databases,
      credentials: credentialsOf(stack),
      ...(gateway && { gatewayUrl: gateway.url }),
      ...(this.#operator?.url !== undefined && { operatorUrl: this.#operator.url }),
      instances: this.#processes.map(({ state }) => state),
    };
  }
}

function whyNotReady({ name, state, endings, lastLines }: ServiceProcess): string {
  const ended = endings > 0 ? `, ended ${endings} times` : '';
  const lines = lastLines.map((line) => {
    const parsed = parseLogLine(line);
    return `    ${parsed === undefined ? line : condense(parsed)}`;
  });
  return [`${name} (${state.status}${ended}), its last lines:`, ...lines].join('\n');
}

/** Waits for all, also when one fails: what the others started has to be known to be stopped. */
async function allOrNothing<T extends readonly unknown[]>(work: {
  readonly [K in keyof T]: Promise<T[K]>;
}): Promise<T> {
  const results = await Promise.allSettled(work);
  const failures = results.flatMap((result) =>
    result.status === 'rejected' ? [result.reason as unknown] : [],
  );
  if (failures.length === 1) throw failures[0];
  if (failures.length > 1) throw new AggregateError(failures);
  return results.map((result) => (result as PromiseFulfilledResult<unknown>).value) as unknown as T;
}
