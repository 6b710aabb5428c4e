import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  connectNats,
  inboxPrefixOf,
  type ConnectNatsOptions,
  type NatsCredentials,
} from '@flotilla/messaging';
import { until } from '@flotilla/testing';
import type { NatsConnection } from '@nats-io/nats-core';

const cli = fileURLToPath(new URL('../../../../tools/fleet/src/main.ts', import.meta.url));

/** What a command of the CLI printed, and how it ended. */
export interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Instance {
  readonly name: string;
  readonly pid: number;
  readonly port: number;
  readonly ready: boolean;
  readonly restarts: number;
  readonly hangs: number;
}

export interface FleetStatus {
  readonly ready: boolean;
  readonly instances: readonly Instance[];
  readonly nats: { readonly url: string; readonly pid: number };
}

/** A whole fleet, started by `fleet up` as a user starts it, on ports and data of its own. */
export class RunningFleet implements AsyncDisposable {
  readonly dataDir: string;
  readonly #env: NodeJS.ProcessEnv;
  readonly #portBase: number;
  readonly #options: readonly string[];
  #up: ChildProcess | undefined;
  #output = '';

  private constructor(
    dataDir: string,
    portBase: number,
    env: Readonly<Record<string, string>>,
    options: readonly string[],
  ) {
    this.dataDir = dataDir;
    this.#portBase = portBase;
    this.#options = options;
    this.#env = { ...process.env, FLOTILLA_PORT_BASE: String(portBase), ...env };
  }

  /** Starts a fleet on empty data, with `options` of `fleet up`, and waits until it is ready. */
  static async start(
    env: Readonly<Record<string, string>> = {},
    options: readonly string[] = [],
  ): Promise<RunningFleet> {
    const dataDir = await mkdtemp(join(tmpdir(), 'flotilla-e2e-'));
    const fleet = new RunningFleet(dataDir, await freePortBlock(), env, options);
    try {
      await fleet.up();
    } catch (error) {
      await fleet[Symbol.asyncDispose]();
      throw error;
    }
    return fleet;
  }

  get apiUrl(): string {
    return `http://127.0.0.1:${this.#portBase}`;
  }

  /** Everything that `fleet up` has printed. */
  get output(): string {
    return this.#output;
  }

  /** `fleet up` on the same data, again after {@link interrupt}. */
  async up(): Promise<void> {
    this.#output = '';
    const up = spawn(process.execPath, this.#argv(['up', '--data', this.dataDir, ...this.#options]), {
      env: this.#env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#up = up;
    const collect = (chunk: Buffer): void => {
      this.#output += chunk.toString();
    };
    up.stdout.on('data', collect);
    up.stderr.on('data', collect);
    await until(() => up.exitCode !== null || this.#output.includes('Ready in'), {
      timeoutMs: 120_000,
      intervalMs: 50,
      describe: 'the fleet is ready',
    });
    if (up.exitCode !== null) throw new Error(`fleet up ended with code ${up.exitCode}:\n${this.#output}`);
  }

  /** Ctrl-C; resolves to the exit code of `fleet up`. */
  async interrupt(): Promise<number> {
    const up = this.#up;
    if (!up || up.exitCode !== null) return up?.exitCode ?? 0;
    const ended = once(up, 'exit');
    up.kill('SIGINT');
    await ended;
    this.#up = undefined;
    return up.exitCode ?? -1;
  }

  /** Runs another command of the CLI against this fleet. */
  async run(...args: string[]): Promise<CommandResult> {
    const child = spawn(process.execPath, this.#argv(args), {
      env: this.#env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    const [code] = (await once(child, 'close')) as [number | null];
    return { code: code ?? -1, stdout, stderr };
  }

  async status(): Promise<FleetStatus> {
    const { stdout } = await this.run('status', '--json', '--data', this.dataDir);
    return JSON.parse(stdout) as FleetStatus;
  }

  /** A connection to the fleet's broker with the rights of one of its services. */
  async natsAs(service: string): Promise<NatsConnection> {
    const { nats } = await this.status();
    const secrets = JSON.parse(await readFile(join(this.dataDir, 'secrets.json'), 'utf8')) as Record<
      string,
      string
    >;
    return connectNats({
      servers: nats.url,
      name: `a test as ${service}`,
      credentials: { user: service, password: secrets[`nats.${service}`] ?? '' },
      inboxPrefix: inboxPrefixOf(service),
    });
  }

  /** Ends one service as a power cut would, and waits until the runner has started it again. */
  async killService(name: string): Promise<void> {
    const before = await this.#instance(name);
    process.kill(before.pid, 'SIGKILL');
    await until(
      async () => {
        const now = await this.#instance(name);
        return now.pid !== before.pid && now.ready;
      },
      { timeoutMs: 60_000, intervalMs: 250, describe: `${name} runs again after kill -9` },
    );
  }

  /** Runs `work` while a service takes connections and messages and answers nothing; then it goes on. */
  async frozen(name: string, work: () => Promise<void>): Promise<void> {
    const { pid } = await this.#instance(name);
    process.kill(pid, 'SIGSTOP');
    try {
      await work();
    } finally {
      process.kill(pid, 'SIGCONT');
    }
  }

  /** The metrics of one service, as Prometheus reads them. */
  async metrics(name: string): Promise<string> {
    const { port } = await this.#instance(name);
    return (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  }

  /** The log of one service, as lines of JSON. */
  async log(service: string): Promise<Record<string, unknown>[]> {
    const text = await readFile(join(this.dataDir, 'logs', `${service}.log`), 'utf8');
    return text
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  /** How one of the users that are no service's reaches the broker. */
  async broker(user: 'operator' | 'provisioner' | 'auditor'): Promise<Omit<ConnectNatsOptions, 'name'>> {
    const text = await readFile(join(this.dataDir, 'state.json'), 'utf8');
    const { nats, credentials } = JSON.parse(text) as {
      readonly nats: { readonly url: string };
      readonly credentials: Readonly<Record<string, NatsCredentials>>;
    };
    const own = credentials[user];
    if (own === undefined) throw new Error(`The state of the fleet has no ${user}`);
    return { servers: nats.url, credentials: own, inboxPrefix: inboxPrefixOf(own.user) };
  }

  /** What the broker refused services and commands: their users lack it. */
  async refusals(): Promise<string[]> {
    const text = await readFile(join(this.dataDir, 'logs', 'nats.log'), 'utf8');
    return [...new Set(text.match(/(?:Publish|Subscription) Violation - .*/g) ?? [])];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.interrupt();
    await rm(this.dataDir, { recursive: true, force: true });
  }

  #argv(args: readonly string[]): string[] {
    return ['--conditions=@flotilla/source', cli, ...args];
  }

  async #instance(name: string): Promise<Instance> {
    const { instances } = await this.status();
    const found = instances.find((each) => each.name === name);
    if (!found) throw new Error(`There is no ${name} in the fleet`);
    return found;
  }
}

/** The first of 40 ports that are all free now. */
async function freePortBlock(): Promise<number> {
  for (let attempt = 0; attempt < 50; attempt++) {
    const base = 20_000 + Math.floor(Math.random() * 200) * 50;
    const ports = Array.from({ length: 40 }, (_, at) => base + at);
    const free = await Promise.all(ports.map(isFree));
    if (free.every(Boolean)) return base;
  }
  throw new Error('No block of 40 free ports was found');
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  try {
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
    return true;
  } catch {
    return false;
  } finally {
    server.close();
  }
}
