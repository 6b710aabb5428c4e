import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runCommand } from '@flotilla/embedded';
import { errorMessage } from '@flotilla/kernel';
import type { NatsCredentials } from '@flotilla/messaging';
import { buildServices, projectsOf } from './build.ts';
import { serviceEnvironment } from './environment.ts';
import { UsageError } from './fleet.errors.ts';
import { assertPortsFree, planPorts, portBase, serverPorts, type PortPlan } from './ports.ts';
import type { Service } from './services.ts';
import { openDataDir, type DataDir } from './stack/data-dir.ts';
import { acquireLock, runningFleet, type Lock } from './stack/lock.ts';
import { awaitPredecessor } from './stack/predecessor.ts';
import { provisionRunning } from './stack/provisioning.ts';
import { credentialsOf, startStack, type Stack } from './stack/stack.ts';
import { readState, removeState, writeState } from './stack/state.ts';
import { condense, parseLogLine } from './supervise/log-line.ts';
import { ORPHAN_PATIENCE_MS, OrphanGuard } from './supervise/orphan-guard.ts';
import { ServiceProcess } from './supervise/service-process.ts';
import { stopwatch, type Terminal } from './terminal.ts';
import { watchSources } from './watch-sources.ts';
import { workspaceRoot } from './workspace.ts';

export interface ServeOptions {
  readonly dir: DataDir;
  readonly all: readonly Service[];
  readonly service: Service;
  readonly terminal: Terminal;
}

/** How long the broker may take to be brought to changed manifests. */
const PROVISION_TIMEOUT_MS = 60_000;

/** Where the servers are that a served service uses. */
interface Servers {
  readonly natsUrl: string;
  readonly natsUsers: Readonly<Record<string, NatsCredentials>>;
  readonly databases: Readonly<Record<string, string>>;
}

/**
 * Runs one service for development: against the stack of the running fleet, or one that it starts itself; built and
 * started again whenever its sources, or those of a package it uses, change.
 */
export class ServedService {
  readonly #options: ServeOptions;
  readonly #terminal: Terminal;
  readonly #guard = new OrphanGuard(ORPHAN_PATIENCE_MS);
  #lock: Lock | undefined;
  #stack: Stack | undefined;
  #process: ServiceProcess | undefined;
  #unwatch: (() => void) | undefined;
  #rebuilding: Promise<void> | undefined;
  #again = false;
  /** What the broker was last brought to may not be what the manifests say. */
  #contractsChanged = false;
  #stopping = false;

  constructor(options: ServeOptions) {
    this.#options = options;
    this.#terminal = options.terminal;
  }

  async start(): Promise<void> {
    try {
      const { dir, service, all } = this.#options;
      await openDataDir(dir);
      const instance = { service: service.name, name: service.name };
      const ports = planPorts(
        all.map(({ name }) => name),
        [instance],
        portBase(),
      );
      const port = ports.instances.get(service.name) ?? 0;
      const servers = await this.#servers(ports);
      await assertPortsFree([{ port, wantedBy: service.name }]);
      const { written } = await buildServices([service]);
      this.#terminal.note(`Built ${service.name} and what it uses (${written} files changed)`);
      this.#process = new ServiceProcess({
        instance,
        port,
        env: serviceEnvironment(instance, { dir, ports, ...servers }),
        logFile: join(dir.logs, `${service.name}.log`),
        guard: this.#guard,
        onLine: (line) => this.#show(line),
        onEvent: (sentence) => this.#terminal.note(sentence),
        onChange: () => this.#changed(),
      });
      this.#process.start();
      this.#unwatch = watchSources(projectsOf([service]), (files) => this.#rebuild(files));
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    this.#unwatch?.();
    await this.#rebuilding;
    await this.#process?.stop();
    this.#process?.close();
    await this.#stack?.stop();
    this.#guard.close();
    if (this.#lock !== undefined) {
      await removeState(this.#options.dir);
      this.#lock.release();
    }
  }

  force(): void {
    this.#process?.kill();
    void this.#stack?.kill();
  }

  /** Those of the running fleet, which must not run the same service; else its own, for others to use too. */
  async #servers(ports: PortPlan): Promise<Servers> {
    const { dir, all, service } = this.#options;
    if (runningFleet(dir) !== undefined) {
      const state = await readState(dir);
      if (state === undefined) {
        throw new UsageError(`A fleet is starting on ${dir.path}: wait until it is ready ("fleet status")`);
      }
      if (state.instances.some((each) => each.service === service.name)) {
        const others = all.map(({ name }) => name).filter((name) => name !== service.name);
        throw new UsageError(
          `The running fleet has ${service.name} already. Start it without: fleet up --only ${others.join(',')}`,
        );
      }
      this.#terminal.note(`Using NATS and Postgres of the running fleet (process ${state.pid})`);
      const { identities } = await provisionRunning(dir, state, all);
      return { natsUrl: state.nats.url, natsUsers: identities.services, databases: state.databases };
    }
    this.#lock = acquireLock(dir);
    await awaitPredecessor(dir, this.#lock, (message) => this.#terminal.note(message));
    await assertPortsFree(serverPorts(ports));
    const stack = await startStack(dir, ports, all, (message) => this.#terminal.note(message));
    this.#stack = stack;
    const { nats, postgres, databases } = stack;
    await writeState(dir, {
      pid: process.pid,
      startedAt: new Date().toISOString(),
      nats: { url: nats.url, monitorUrl: nats.monitorUrl ?? '', pid: nats.pid },
      postgres: { port: postgres.port, version: postgres.version, pid: postgres.pid },
      databases,
      credentials: credentialsOf(stack),
      instances: [],
    });
    return { natsUrl: nats.url, natsUsers: stack.identities.services, databases };
  }

  #show(line: string): void {
    const parsed = parseLogLine(line);
    this.#terminal.print(parsed === undefined ? line : condense(parsed));
  }

  #changed(): void {
    const { name, url, state } = this.#process ?? {};
    if (state?.status === 'ready') this.#terminal.note(`${name} is ready at ${url}; it follows its sources`);
  }

  /** One at a time; what changes meanwhile is built right after. */
  #rebuild(files: readonly string[]): void {
    if (this.#stopping) return;
    this.#contractsChanged ||= files.some((file) => /\.service\.ts$|[\\/]contracts[\\/]/.test(file));
    if (this.#rebuilding !== undefined) {
      this.#again = true;
      return;
    }
    const shown = files.slice(0, 3).map((file) => relative(workspaceRoot, file));
    this.#terminal.note(`Changed: ${shown.join(', ')}${files.length > 3 ? ', ...' : ''}`);
    this.#rebuilding = this.#buildAndRestart().finally(() => {
      this.#rebuilding = undefined;
      if (!this.#again) return;
      this.#again = false;
      this.#rebuild(files);
    });
  }

  /** In a process of its own, because this one has loaded the manifests of before. */
  async #provisionAgain(): Promise<void> {
    if (!this.#contractsChanged) return;
    const { NATS_URL: _deployed, ...env } = process.env;
    const main = fileURLToPath(new URL('./main.ts', import.meta.url));
    const output = await runCommand(
      process.execPath,
      [...process.execArgv, main, 'provision', '--data', this.#options.dir.path],
      { env, timeoutMs: PROVISION_TIMEOUT_MS },
    );
    this.#contractsChanged = false;
    this.#terminal.note(`Streams, consumers and NATS users: ${output.trim().split('\n').join('; ')}`);
  }

  async #buildAndRestart(): Promise<void> {
    const took = stopwatch();
    try {
      const { written } = await buildServices([this.#options.service]);
      if (written === 0 || this.#stopping) return;
      await this.#provisionAgain();
      await this.#process?.restart();
      this.#terminal.note(`Built ${written} files and started again in ${took()}`);
    } catch (error) {
      // The old build goes on running until the sources compile.
      this.#terminal.note(errorMessage(error));
    }
  }
}
