import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { systemClock } from '@flotilla/kernel';
import { BenchProcessError } from './bench.errors.ts';
import type { DriverAnswer, DriverCall } from './fixtures/driver.ts';
import { workspaceRoot } from './workspace.ts';

export interface BenchProcessOptions {
  readonly name: string;
  /** Absolute. */
  readonly main: string;
  readonly env: NodeJS.ProcessEnv;
  readonly logFile: string;
  /** The folder for its CPU profile. */
  readonly cpuProf?: string | undefined;
  /** Default 60,000 ms. */
  readonly readyTimeoutMs?: number;
}

/** How long a process may take to stop before SIGKILL. */
const STOP_TIMEOUT_MS = 20_000;
const LAST_LINES = 20;

/** A process that a benchmark measures: says `{ type: 'ready' }` and answers calls over the IPC channel. */
export class BenchProcess {
  readonly name: string;
  readonly #child: ChildProcess;
  readonly #logFile: string;
  readonly #ended: Promise<string>;
  readonly #pending = new Map<
    number,
    { resolve: (value: unknown) => void; reject: (error: Error) => void }
  >();
  #nextId = 1;

  private constructor(options: BenchProcessOptions) {
    this.name = options.name;
    this.#logFile = options.logFile;
    const log = openSync(options.logFile, 'a', 0o600);
    const profiling =
      options.cpuProf === undefined
        ? []
        : [
            '--cpu-prof',
            `--cpu-prof-dir=${options.cpuProf}`,
            `--cpu-prof-name=${options.name}-${process.pid}-${Date.now()}.cpuprofile`,
          ];
    this.#child = spawn(process.execPath, ['--enable-source-maps', ...profiling, options.main], {
      cwd: workspaceRoot,
      env: options.env,
      stdio: ['ignore', log, log, 'ipc'],
      serialization: 'advanced',
    });
    closeSync(log);
    this.#ended = new Promise((resolve) => {
      this.#child.once('error', (error) => resolve(error.message));
      this.#child.once('exit', (code, signal) => resolve(signal ?? `code ${code}`));
    });
    void this.#ended.then((how) => {
      for (const { reject } of this.#pending.values())
        reject(this.#error(`ended (${how}) before it answered`));
      this.#pending.clear();
    });
    this.#child.on('message', (message: { type?: string } & Partial<DriverAnswer>) => {
      if (message.type === 'answer') this.#answered(message as DriverAnswer);
    });
  }

  /** Starts the process and waits until it says that it is ready. */
  static async start(options: BenchProcessOptions): Promise<BenchProcess> {
    const started = new BenchProcess(options);
    const timeoutMs = options.readyTimeoutMs ?? 60_000;
    const late = new AbortController();
    const outcome = await Promise.race([
      new Promise<'ready'>((resolve) => {
        started.#child.on('message', (message: { type?: string }) => {
          if (message.type === 'ready') resolve('ready');
        });
      }),
      started.#ended,
      systemClock.sleep(timeoutMs, late.signal).then(() => `was not ready within ${timeoutMs} ms`),
    ]);
    late.abort();
    if (outcome === 'ready') return started;
    const error = started.#error(`did not start (${outcome})`);
    started.#child.kill('SIGKILL');
    throw error;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Calls a method of the process's driver. Rejects with its error, at its end, and after `timeoutMs`. */
  async call<T>(method: string, argument: unknown, timeoutMs: number): Promise<T> {
    const id = this.#nextId++;
    const answered = Promise.withResolvers<unknown>();
    this.#pending.set(id, answered);
    const timer = setTimeout(() => {
      this.#pending.delete(id);
      answered.reject(this.#error(`did not answer ${method} within ${timeoutMs} ms`));
    }, timeoutMs);
    const call: DriverCall = { type: 'call', id, method, argument };
    this.#child.send(call, (error) => {
      if (error === null) return;
      this.#pending.delete(id);
      answered.reject(this.#error(`does not listen: ${error.message}`));
    });
    try {
      return (await answered.promise) as T;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Ends it: SIGTERM, and SIGKILL when that takes too long. */
  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.#child.kill('SIGTERM');
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_TIMEOUT_MS);
    await this.#ended;
    clearTimeout(timer);
  }

  #answered(answer: DriverAnswer): void {
    const waiting = this.#pending.get(answer.id);
    this.#pending.delete(answer.id);
    if ('error' in answer) waiting?.reject(this.#error(`failed: ${answer.error}`));
    else waiting?.resolve(answer.result);
  }

  #error(what: string): BenchProcessError {
    const lines = readFileSync(this.#logFile, 'utf8').trimEnd().split('\n').slice(-LAST_LINES);
    return new BenchProcessError(this.name, what, lines);
  }
}

/** The built entry point of a fixture service. */
export function fixtureMain(name: string): string {
  return join(workspaceRoot, 'tools/bench/dist/fixtures', name, 'main.js');
}

/** The built entry point of a peer. */
export function peerMain(name: string): string {
  return join(workspaceRoot, 'tools/bench/dist/peers', name, 'main.js');
}
