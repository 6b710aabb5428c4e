import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { join } from 'node:path';
import { errorMessage, systemClock, type Clock } from '@flotilla/kernel';
import type { Instance } from '../ports.ts';
import type { InstanceState, InstanceStatus } from '../stack/state.ts';
import { workspaceRoot } from '../workspace.ts';
import { hangs } from './liveness.ts';
import type { OrphanGuard } from './orphan-guard.ts';
import { RestartPolicy } from './restart-policy.ts';
import { RotatingLog } from './rotating-log.ts';

export interface ServiceProcessOptions {
  readonly instance: Instance;
  readonly port: number;
  readonly env: NodeJS.ProcessEnv;
  readonly logFile: string;
  readonly guard: OrphanGuard;
  /** Every line that the process writes. */
  readonly onLine: (line: string) => void;
  /** A sentence about the process itself: ended, restarted, in a crash loop. */
  readonly onEvent: (sentence: string) => void;
  readonly onChange: () => void;
  /** For how long it may answer nothing before it counts as hung and is killed, in milliseconds; 0: for ever. Default 0. */
  readonly hungAfterMs?: number;
  readonly clock?: Clock;
}

/** How long a service may take to stop before SIGKILL: its own drain, and some more. */
export const STOP_TIMEOUT_MS = 15_000;
/**
 * The young generation of eight processes would take a quarter of a gigabyte after a little load, and keep it: it is
 * bounded.
 */
const NODE_FLAGS = ['--enable-source-maps', '--max-semi-space-size=8'];
const PROBE_EVERY_MS = 100;
const PROBE_TIMEOUT_MS = 2_000;
const LAST_LINES = 20;

/** One process of a service: started, probed until it is ready, started again when it ends. */
export class ServiceProcess {
  readonly #options: ServiceProcessOptions;
  readonly #clock: Clock;
  readonly #policy = new RestartPolicy();
  readonly #log: RotatingLog;
  #child: ChildProcess | undefined;
  #exited: Promise<void> = Promise.resolve();
  #status: InstanceStatus = 'stopped';
  #restarts = 0;
  #endings = 0;
  #hangs = 0;
  #lastLines: string[] = [];
  #wakeUp = new AbortController();
  #stopping = false;

  constructor(options: ServiceProcessOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#log = new RotatingLog(options.logFile);
  }

  get name(): string {
    return this.#options.instance.name;
  }

  get state(): InstanceState {
    return {
      name: this.name,
      service: this.#options.instance.service,
      port: this.#options.port,
      pid: this.#child?.pid,
      status: this.#status,
      restarts: this.#restarts,
      hangs: this.#hangs,
    };
  }

  /** How often it has ended by itself. */
  get endings(): number {
    return this.#endings;
  }

  /** The last lines it wrote. */
  get lastLines(): readonly string[] {
    return this.#lastLines;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#options.port}`;
  }

  start(): void {
    this.#stopping = false;
    this.#launch();
  }

  /** Ends the process: SIGTERM, and SIGKILL when that takes too long. It is not started again. */
  async stop(timeoutMs: number = STOP_TIMEOUT_MS): Promise<void> {
    this.#stopping = true;
    this.#wakeUp.abort();
    const child = this.#child;
    if (child !== undefined) {
      this.#become('stopping');
      child.kill('SIGTERM');
      const timer = this.#clock.after(timeoutMs, () => {
        this.#options.onEvent(`${this.name} did not stop within ${timeoutMs / 1_000} s: it is killed`);
        child.kill('SIGKILL');
      });
      await this.#exited;
      timer.cancel();
    }
    this.#become('stopped');
  }

  /** Ends the process at once. */
  kill(): void {
    this.#stopping = true;
    this.#wakeUp.abort();
    this.#child?.kill('SIGKILL');
  }

  /** Stops it and starts it again: for a new build. */
  async restart(): Promise<void> {
    await this.stop();
    this.start();
  }

  close(): void {
    this.#log.close();
  }

  #launch(): void {
    const { instance, env, guard } = this.#options;
    const main = join(workspaceRoot, 'apps', instance.service, 'dist/main.js');
    const child = spawn(process.execPath, [...NODE_FLAGS, main], {
      cwd: workspaceRoot,
      env,
      // A session of its own: Ctrl-C reaches the fleet command alone, which then stops things in order.
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    this.#wakeUp = new AbortController();
    this.#become('starting');
    if (child.pid !== undefined) guard.add(child.pid);
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on('line', (line) => this.#read(line));
    }
    this.#exited = new Promise((resolve) => {
      child.once('error', (error) => this.#read(`cannot start: ${errorMessage(error)}`));
      child.once('close', (code, signal) => {
        if (child.pid !== undefined) guard.remove(child.pid);
        this.#child = undefined;
        resolve();
        if (!this.#stopping) void this.#startAgain(signal ?? `code ${code}`);
      });
    });
    void this.#probe(child);
  }

  async #startAgain(how: string): Promise<void> {
    this.#endings += 1;
    const { delayMs, crashLoop } = this.#policy.exited(this.#clock.monotonicMs());
    this.#become(crashLoop ? 'crash loop' : 'waiting to restart');
    const when = delayMs === 0 ? 'at once' : `in ${(delayMs / 1_000).toFixed(1)} s`;
    const loop = crashLoop ? '; it keeps ending, see its log' : '';
    this.#options.onEvent(`${this.name} ended (${how}) and is started again ${when}${loop}`);
    await this.#clock.sleep(delayMs, this.#wakeUp.signal);
    if (this.#stopping) return;
    this.#restarts += 1;
    this.#launch();
  }

  /** Asks until the process says that it is ready, or is gone. */
  async #probe(child: ChildProcess): Promise<void> {
    const { signal } = this.#wakeUp;
    while (this.#child === child && !this.#stopping) {
      if (await answersOk(`${this.url}/health/ready`)) {
        if (this.#child !== child || this.#stopping) return;
        if (this.#restarts > 0) this.#options.onEvent(`${this.name} is ready again`);
        this.#become('ready');
        void this.#watch(child);
        return;
      }
      await this.#clock.sleep(PROBE_EVERY_MS, signal);
    }
  }

  /** Kills the process when it hangs: it neither ends nor answers, and its messages wait for it. */
  async #watch(child: ChildProcess): Promise<void> {
    const { hungAfterMs = 0, env } = this.#options;
    // Whoever debugs it stops it on purpose.
    if (hungAfterMs === 0 || /--inspect/.test(env['NODE_OPTIONS'] ?? '')) return;
    const watching = new AbortController();
    const end = (): void => watching.abort();
    child.once('exit', end);
    this.#wakeUp.signal.addEventListener('abort', end, { once: true });
    const hung = await hangs({
      ask: (timeoutMs) => answers(`${this.url}/health/live`, timeoutMs),
      hungAfterMs,
      clock: this.#clock,
      signal: watching.signal,
    });
    if (!hung || this.#child !== child || this.#stopping) return;
    this.#hangs += 1;
    this.#options.onEvent(
      `${this.name} hangs: it has not answered /health/live for ${hungAfterMs / 1_000} s, so it is killed`,
    );
    child.kill('SIGKILL');
  }

  #read(line: string): void {
    if (line === '') return;
    this.#lastLines = [...this.#lastLines.slice(1 - LAST_LINES), line];
    this.#log.write(`${line}\n`);
    this.#options.onLine(line);
  }

  #become(status: InstanceStatus): void {
    if (this.#status === status) return;
    this.#status = status;
    this.#options.onChange();
  }
}

/** Whether a health endpoint says anything: an event loop that lags is slow, and does not hang. */
async function answers(url: string, timeoutMs: number): Promise<boolean> {
  try {
    // A connection of its own: one that is kept may have died with the sleep of the machine.
    const response = await fetch(url, {
      signal: AbortSignal.timeout(timeoutMs),
      headers: { connection: 'close' },
    });
    await response.body?.cancel();
    return true;
  } catch {
    return false;
  }
}

/** Whether a health endpoint says yes. */
export async function answersOk(url: string): Promise<boolean> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(PROBE_TIMEOUT_MS) });
    await response.body?.cancel();
    return response.ok;
  } catch {
    return false; // not listening yet, or too busy: asked again
  }
}
