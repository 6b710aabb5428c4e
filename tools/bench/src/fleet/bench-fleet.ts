import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { removePostgresData, startPostgres } from '@flotilla/embedded';
import { dataDirAt, type DataDir } from '@flotilla/fleet/stack/data-dir';
import { requireState, type FleetState } from '@flotilla/fleet/stack/state';
import { systemClock } from '@flotilla/kernel';
import { BenchProcessError } from '../bench.errors.ts';
import type { Watched } from '../proc.ts';
import { pgStatSettings, query } from '../stack.ts';
import { workspaceRoot } from '../workspace.ts';

export interface BenchFleetOptions {
  /** Made, and removed at the end. */
  readonly directory: string;
  readonly portBase: number;
  /** Processes per service, where not one. */
  readonly scale?: Readonly<Record<string, number>>;
  readonly cpuProf: string | undefined;
  readonly pgStat: boolean;
  readonly note: (text: string) => void;
}

const CLI = join(workspaceRoot, 'tools/fleet/src/main.ts');
const READY_TIMEOUT_MS = 180_000;
const STOP_TIMEOUT_MS = 60_000;
const VERIFY_TIMEOUT_MS = 600_000;
const DRAIN_TIMEOUT_MS = 60_000;
const DRAIN_POLL_MS = 100;
const LAST_LINES = 20;

/** The whole fleet, started by `fleet up` as a user starts it, on ports and data of its own. */
export class BenchFleet {
  readonly #options: BenchFleetOptions;
  readonly #dir: DataDir;
  readonly #logFile: string;
  #up: ChildProcess | undefined;
  #state: FleetState | undefined;
  #adminUrl: string | undefined;

  private constructor(options: BenchFleetOptions) {
    this.#options = options;
    this.#dir = dataDirAt(join(options.directory, 'fleet'));
    this.#logFile = join(options.directory, 'up.log');
  }

  /** Makes the folder; nothing runs yet. */
  static prepare(options: BenchFleetOptions): BenchFleet {
    mkdirSync(options.directory, { recursive: true, mode: 0o711 });
    return new BenchFleet(options);
  }

  /** Starts the fleet and waits until it is ready; how long that took, in milliseconds. */
  async start(): Promise<number> {
    if (this.#options.pgStat && this.#adminUrl === undefined) {
      await this.#launch({ profiled: false });
      await this.stop();
      await this.#countStatements();
    }
    return this.#launch({ profiled: true });
  }

  get state(): FleetState {
    if (this.#state === undefined) throw new Error('The fleet does not run');
    return this.#state;
  }

  get apiUrl(): string {
    return this.state.gatewayUrl ?? '';
  }

  get countsStatements(): boolean {
    return this.#options.pgStat;
  }

  /** For `pg_stat_statements`; only when it counts. */
  get adminUrl(): string {
    const url = new URL(this.#adminUrl ?? '');
    url.port = String(this.state.postgres.port);
    return url.href;
  }

  /** Everything that runs, for the CPU meter; replicas of a service count together. */
  get watched(): Watched[] {
    const { instances, nats, postgres, pid } = this.state;
    return [
      ...instances.map((each) => ({ name: each.service, pid: each.pid ?? 0 })),
      { name: 'nats', pid: nats.pid },
      { name: 'postgres', pid: postgres.pid, withChildren: true },
      { name: 'fleet up', pid },
    ];
  }

  /** Waits until no consumer has anything to do: what comes after an order's end, views and mails, is done too. */
  async untilDrained(): Promise<void> {
    const startMs = systemClock.monotonicMs();
    for (;;) {
      const open = await this.#openMessages();
      if (open === 0) return;
      if (systemClock.monotonicMs() - startMs > DRAIN_TIMEOUT_MS) {
        throw new Error(`${open} messages are still unhandled after ${DRAIN_TIMEOUT_MS / 1_000} s`);
      }
      await systemClock.sleep(DRAIN_POLL_MS);
    }
  }

  /** `fleet verify`: orders, sagas, money, stock and messages agree. Throws with what it says if they do not. */
  async verify(): Promise<void> {
    const child = spawn(process.execPath, this.#argv('verify'), { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk: Buffer) => (output = (output + chunk.toString()).slice(-20_000)));
    }
    const timer = setTimeout(() => child.kill('SIGKILL'), VERIFY_TIMEOUT_MS);
    const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
    clearTimeout(timer);
    if (code !== 0)
      throw new BenchProcessError(
        'fleet verify',
        `found differences (exit code ${code})`,
        output.split('\n'),
      );
  }

  /** Throws when a process has ended and was started again: then its processor time is not that of the work. */
  async assertUndisturbed(): Promise<void> {
    const before = new Map(this.state.instances.map(({ name, pid }) => [name, pid]));
    const { instances } = await requireState(this.#dir);
    const replaced = instances.filter(({ name, pid }) => before.get(name) !== pid).map(({ name }) => name);
    if (replaced.length === 0) return;
    const lines = readFileSync(this.#logFile, 'utf8').trimEnd().split('\n').slice(-LAST_LINES);
    throw new BenchProcessError(replaced.join(', '), 'ended during the benchmark', lines);
  }

  /** Ctrl-C, and waits until everything has stopped. The data stays. */
  async stop(): Promise<void> {
    const up = this.#up;
    if (up === undefined) return;
    this.#up = undefined;
    const ended = new Promise<void>((resolve) => {
      if (up.exitCode !== null || up.signalCode !== null) resolve();
      else up.once('exit', () => resolve());
    });
    up.kill('SIGTERM');
    const timer = setTimeout(() => up.kill('SIGKILL'), STOP_TIMEOUT_MS);
    await ended;
    clearTimeout(timer);
    this.#nameProfiles();
    this.#state = undefined;
  }

  /** Stops it and removes the data. */
  async remove(): Promise<void> {
    await this.stop();
    await removePostgresData(this.#dir.postgres);
    rmSync(this.#options.directory, { recursive: true, force: true });
  }

  async #launch({ profiled }: { readonly profiled: boolean }): Promise<number> {
    const { portBase, scale = {}, cpuProf } = this.#options;
    const log = openSync(this.#logFile, 'a', 0o600);
    const startMs = systemClock.monotonicMs();
    const scaling = Object.entries(scale).flatMap(([service, count]) => ['--scale', `${service}=${count}`]);
    const up = spawn(process.execPath, this.#argv('up', ...scaling), {
      env: {
        ...process.env,
        FLOTILLA_PORT_BASE: String(portBase),
        ...(profiled && cpuProf !== undefined && { NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${cpuProf}` }),
      },
      stdio: ['ignore', log, log, 'ipc'],
    });
    closeSync(log);
    this.#up = up;
    const late = new AbortController();
    const outcome = await Promise.race([
      new Promise<'ready'>((resolve) => up.once('message', () => resolve('ready'))),
      new Promise<string>((resolve) =>
        up.once('exit', (code, signal) => resolve(`ended with ${signal ?? `code ${code}`}`)),
      ),
      systemClock
        .sleep(READY_TIMEOUT_MS, late.signal)
        .then(() => `was not ready within ${READY_TIMEOUT_MS / 1_000} s`),
    ]);
    late.abort();
    const tookMs = systemClock.monotonicMs() - startMs;
    if (outcome !== 'ready') {
      await this.stop();
      const lines = readFileSync(this.#logFile, 'utf8').trimEnd().split('\n').slice(-LAST_LINES);
      throw new BenchProcessError('fleet up', outcome, lines);
    }
    up.disconnect();
    this.#state = await requireState(this.#dir);
    return tookMs;
  }

  /** Makes Postgres count statements from the next start on: `fleet up` itself has no option for it. */
  async #countStatements(): Promise<void> {
    const postgres = await startPostgres({ dataDir: this.#dir.postgres });
    try {
      await query(
        postgres.adminUrl,
        `ALTER SYSTEM SET shared_preload_libraries = '${pgStatSettings.shared_preload_libraries}'`,
      );
      await query(postgres.adminUrl, 'CREATE EXTENSION IF NOT EXISTS pg_stat_statements');
      this.#adminUrl = postgres.adminUrl;
    } finally {
      await postgres.stop();
    }
  }

  async #openMessages(): Promise<number> {
    const response = await fetch(`${this.state.nats.monitorUrl}/jsz?consumers=true`, {
      signal: AbortSignal.timeout(10_000),
    });
    const { account_details: accounts = [] } = (await response.json()) as {
      account_details?: {
        stream_detail?: { consumer_detail?: { num_pending: number; num_ack_pending: number }[] }[];
      }[];
    };
    return accounts
      .flatMap(({ stream_detail: streams = [] }) => streams)
      .flatMap(({ consumer_detail: consumers = [] }) => consumers)
      .reduce(
        (sum, { num_pending: pending, num_ack_pending: unacknowledged }) => sum + pending + unacknowledged,
        0,
      );
  }

  /** Node names a profile by its process id only. */
  #nameProfiles(): void {
    const { cpuProf } = this.#options;
    if (cpuProf === undefined || this.#state === undefined) return;
    const names = new Map(this.#state.instances.map(({ pid, name }) => [String(pid), name]));
    names.set(String(this.#state.pid), 'fleet-up');
    for (const file of readdirSync(cpuProf)) {
      const name = names.get(/^CPU\.\d+\.\d+\.(\d+)\./.exec(file)?.[1] ?? '');
      if (name !== undefined) renameSync(join(cpuProf, file), join(cpuProf, `${name}-${file}`));
    }
  }

  #argv(command: string, ...options: string[]): string[] {
    return ['--conditions=@flotilla/source', CLI, command, '--data', this.#dir.path, ...options];
  }
}
