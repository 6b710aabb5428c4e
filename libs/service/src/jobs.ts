import { AsyncLocalStorage } from 'node:async_hooks';
import { Logger } from '@nestjs/common';
import { backoffDelayMs, errorMessage, FlotillaError, type Clock, type TimerHandle } from '@flotilla/kernel';
import type { MetricsRecorder } from '@flotilla/observability';
import { currentUnitOfWork } from '@flotilla/persistence';

export interface JobOptions {
  /** The longest rest between two runs, in milliseconds; `wake` shortens it. */
  readonly intervalMs: number;
  /** Does a bounded piece of work; true: there is more, run again at once. */
  readonly run: () => Promise<boolean>;
}

const failureBackoff = { initialMs: 200, maxMs: 30_000 };

class Job {
  readonly name: string;
  readonly #options: JobOptions;
  readonly #clock: Clock;
  readonly #metrics: MetricsRecorder;
  readonly #logger: Logger;
  #timer: TimerHandle | undefined;
  #running: Promise<void> | undefined;
  #wakeDelayMs: number | undefined;
  #dueAt = Infinity;
  #failures = 0;
  #stopped = true;

  constructor(name: string, options: JobOptions, clock: Clock, metrics: MetricsRecorder, logger: Logger) {
    this.name = name;
    this.#options = options;
    this.#clock = clock;
    this.#metrics = metrics;
    this.#logger = logger;
  }

  start(): void {
    if (!this.#stopped) return;
    this.#stopped = false;
    this.#schedule(0);
  }

  wake(delayMs: number): void {
    if (this.#stopped) return;
    if (this.#running) {
      this.#wakeDelayMs = Math.min(this.#wakeDelayMs ?? Infinity, delayMs);
    } else if (this.#failures === 0) {
      this.#schedule(delayMs);
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#dueAt = Infinity;
    await this.#running;
  }

  #schedule(delayMs: number): void {
    const dueAt = this.#clock.monotonicMs() + delayMs;
    if (dueAt >= this.#dueAt) return;
    this.#timer?.cancel();
    this.#dueAt = dueAt;
    this.#timer = this.#clock.after(delayMs, () => {
      this.#dueAt = Infinity;
      this.#running = this.#runUntilIdle();
    });
  }

  async #runUntilIdle(): Promise<void> {
    this.#wakeDelayMs = undefined;
    let restMs = this.#options.intervalMs;
    try {
      // Each run is bounded; it goes on until there is nothing left or the service stops.
      while (!this.#stopped && (await this.#runOnce()));
      this.#failures = 0;
      restMs = Math.min(restMs, this.#wakeDelayMs ?? Infinity);
    } catch (error) {
      this.#failures += 1;
      restMs = backoffDelayMs(this.#failures, failureBackoff);
      this.#logger.error({
        msg: `Job "${this.name}" failed, runs again in ${restMs} ms: ${errorMessage(error)}`,
        err: error,
        job: this.name,
        failures: this.#failures,
      });
    }
    // No await from here: a wake that comes later finds the job at rest.
    this.#running = undefined;
    if (!this.#stopped) this.#schedule(restMs);
  }

  async #runOnce(): Promise<boolean> {
    const startedMs = this.#clock.monotonicMs();
    let outcome = 'failed';
    try {
      const more = await this.#options.run();
      outcome = 'ok';
      return more;
    } finally {
      this.#metrics.handled('job', this.name, outcome, this.#clock.monotonicMs() - startedMs);
    }
  }
}

/**
 * The background jobs of a service: never two runs of one job at a time in a process, rest between runs, backoff
 * after a failure. Replicas run them too, so a job claims what it works on (`FOR UPDATE SKIP LOCKED`).
 */
export class Jobs {
  readonly #jobs = new Map<string, Job>();
  readonly #logger = new Logger(Jobs.name);
  readonly #clock: Clock;
  readonly #metrics: MetricsRecorder;
  /** Runs belong to nobody's message, unit of work or trace, whoever has woken them. */
  readonly #inOwnContext = AsyncLocalStorage.snapshot();
  #started = false;

  constructor(clock: Clock, metrics: MetricsRecorder) {
    this.#clock = clock;
    this.#metrics = metrics;
  }

  /** Registers a job, to run when the service is ready. Throws on a second job of that name. */
  register(name: string, options: JobOptions): void {
    if (this.#jobs.has(name)) {
      throw new FlotillaError('DUPLICATE_JOB', `There is a job "${name}" already`, { retry: 'never' });
    }
    const job = new Job(name, options, this.#clock, this.#metrics, this.#logger);
    this.#jobs.set(name, job);
    if (this.#started) this.#inOwnContext(() => job.start());
  }

  /**
   * Runs a job in `delayMs` at the latest; at once by default. While it runs, it is run again afterwards; while it
   * rests after a failure, it rests on. Called in a unit of work, it counts from the commit, and not without one.
   */
  wake(name: string, delayMs = 0): void {
    const job = this.#jobs.get(name);
    if (!job)
      throw new FlotillaError('UNKNOWN_JOB', `There is no job "${name}": register it first`, {
        retry: 'never',
      });
    const wake = (): void => this.#inOwnContext(() => job.wake(delayMs));
    const unit = currentUnitOfWork();
    if (unit) unit.afterCommit(wake);
    else wake();
  }

  start(): void {
    this.#started = true;
    this.#inOwnContext(() => {
      for (const job of this.#jobs.values()) job.start();
    });
  }

  /** Starts no further run and waits for those under way. */
  async stop(): Promise<void> {
    this.#started = false;
    await Promise.all([...this.#jobs.values()].map((job) => job.stop()));
  }
}
