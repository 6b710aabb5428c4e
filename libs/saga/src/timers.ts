import { backoffDelayMs, errorCode, errorMessage, type Clock } from '@flotilla/kernel';
import type { SagaEngine } from './engine.ts';
import { sagaKey, type SagaRef } from './instance.ts';
import { SagaVersionConflictError } from './saga.errors.ts';
import type { DueTimer } from './store.ts';

export interface SagaTimersOptions {
  readonly engine: SagaEngine;
  readonly clock: Clock;
  /**
   * Runs work in a unit of work of its own. `timer`, where given, names the instance and its trace: units of one
   * instance exclude each other within the process, where the unit of work can do that.
   */
  readonly runUnit: <T>(work: () => Promise<T>, timer?: DueTimer) => Promise<T>;
  /** How many timers are read and fired at a time. Default 100. */
  readonly batch?: number;
  /** How many are fired at once. Default 16: they share transactions where the unit of work groups them. */
  readonly concurrency?: number;
  /**
   * The longest sleep, in milliseconds. Default 10,000. Only the timers of a process that died wait for it; a shorter
   * one costs an idle service a query each time.
   */
  readonly maxSleepMs?: number;
  /** A timer whose unit of work failed so often parks its instance. Default 10. */
  readonly maxFailures?: number;
  /**
   * Whether answers and events can arrive now: connected to the broker, and not far behind. While it is false no timer
   * fires, because silence then says nothing about the receivers. Default: always true.
   */
  readonly ready?: () => boolean;
  /**
   * How long `ready` must have held before timers fire, also at the start, in milliseconds. Default 3,000. What has
   * come while the process was down is taken first; a shorter one compensates sagas whose answer is already there.
   */
  readonly settleMs?: number;
  /** Told of every failure: of a timer (with its instance), or of reading them. */
  readonly onError: (error: unknown, ref?: SagaRef) => void;
}

const FAILURE_DELAY = { initialMs: 500, maxMs: 60_000 };
const CONFLICT_DELAY_MS = 50;
const READY_CHECK_MS = 500;

interface Failure {
  readonly count: number;
  readonly notBefore: number;
}

/**
 * Fires the durable timers: one per process. Sleeps until the next is due, or a shorter one is set in this process.
 * Several processes may run at once; each timer fires in one of them.
 */
export class SagaTimers {
  readonly #engine: SagaEngine;
  readonly #clock: Clock;
  readonly #runUnit: SagaTimersOptions['runUnit'];
  readonly #batch: number;
  readonly #concurrency: number;
  readonly #maxSleepMs: number;
  readonly #maxFailures: number;
  readonly #ready: () => boolean;
  readonly #settleMs: number;
  readonly #onError: SagaTimersOptions['onError'];
  readonly #failures = new Map<string, Failure>();
  #readySince: number | undefined;
  #wakeAt = Infinity;
  #sleep = new AbortController();
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;
  #stopListening: (() => void) | undefined;

  constructor(options: SagaTimersOptions) {
    this.#engine = options.engine;
    this.#clock = options.clock;
    this.#runUnit = options.runUnit;
    this.#batch = options.batch ?? 100;
    this.#concurrency = options.concurrency ?? 16;
    this.#maxSleepMs = options.maxSleepMs ?? 10_000;
    this.#maxFailures = options.maxFailures ?? 10;
    this.#ready = options.ready ?? (() => true);
    this.#settleMs = options.settleMs ?? 3_000;
    this.#onError = options.onError;
  }

  /** Starts firing; does nothing when it has been started. */
  start(): void {
    if (this.#running !== undefined) return;
    this.#stopListening = this.#engine.onTimerSet((dueAt) => this.wake(dueAt));
    this.#running = this.#loop();
  }

  /** Stops, once the timers that are being fired have been. */
  async stop(): Promise<void> {
    this.#stop.abort();
    this.#stopListening?.();
    this.#sleep.abort();
    await this.#running;
  }

  /** Makes sure that timers are looked at then, at the latest. */
  wake(dueAt: number): void {
    if (dueAt >= this.#wakeAt) return;
    this.#wakeAt = dueAt;
    this.#sleep.abort();
  }

  /** Fires what is due now; says when to look again. */
  async fireDue(): Promise<{ readonly fired: number; readonly nextAt: number }> {
    const timers = await this.#runUnit(() => this.#engine.nextTimers(this.#batch));
    const now = this.#clock.now();
    this.#forgetOthers(timers, now);
    const ready = timers.filter((timer) => this.#notBefore(timer) <= now);
    let next = 0;
    const fireNext = async (): Promise<void> => {
      for (let timer = ready[next++]; timer !== undefined; timer = ready[next++]) await this.#fire(timer);
    };
    await Promise.all(Array.from({ length: Math.min(this.#concurrency, ready.length) }, fireNext));
    const later = timers.map((timer) => this.#notBefore(timer)).filter((at) => at > now);
    // Only a full batch can hide further due ones behind it.
    const more = ready.length > 0 && timers.length === this.#batch;
    return { fired: ready.length, nextAt: more ? now : Math.min(...later, now + this.#maxSleepMs) };
  }

  async #loop(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      this.#wakeAt = Infinity;
      const heldUntil = this.#heldUntil();
      if (heldUntil !== undefined) {
        // Timers that are set meanwhile change nothing about that.
        await this.#clock.sleep(heldUntil - this.#clock.now(), this.#stop.signal);
        continue;
      }
      let nextAt: number;
      try {
        ({ nextAt } = await this.fireDue());
      } catch (error) {
        this.#onError(error);
        nextAt = this.#clock.now() + 1_000;
      }
      this.#wakeAt = Math.min(this.#wakeAt, nextAt);
      await this.#sleepUntilWake();
    }
  }

  /** When to ask again whether timers may fire; undefined if they may. */
  #heldUntil(): number | undefined {
    const now = this.#clock.now();
    if (!this.#ready()) {
      this.#readySince = undefined;
      return now + READY_CHECK_MS;
    }
    this.#readySince ??= now;
    const settledAt = this.#readySince + this.#settleMs;
    return settledAt > now ? Math.min(settledAt, now + READY_CHECK_MS) : undefined;
  }

  async #sleepUntilWake(): Promise<void> {
    for (
      let now = this.#clock.now();
      !this.#stop.signal.aborted && this.#wakeAt > now;
      now = this.#clock.now()
    ) {
      this.#sleep = new AbortController();
      await this.#clock.sleep(this.#wakeAt - now, this.#sleep.signal);
    }
  }

  async #fire(timer: DueTimer): Promise<void> {
    const key = sagaKey(timer);
    try {
      await this.#runUnit(() => this.#engine.fireTimer(timer), timer);
      this.#failures.delete(key);
    } catch (error) {
      const now = this.#clock.now();
      // Another unit of work was faster: the timer is most likely not due any more.
      if (error instanceof SagaVersionConflictError) {
        this.#failures.set(key, {
          count: this.#failures.get(key)?.count ?? 0,
          notBefore: now + CONFLICT_DELAY_MS,
        });
        return;
      }
      this.#onError(error, timer);
      const count = (this.#failures.get(key)?.count ?? 0) + 1;
      this.#failures.set(key, { count, notBefore: now + backoffDelayMs(count, FAILURE_DELAY) });
      if (count >= this.#maxFailures) await this.#park(timer, error);
    }
  }

  async #park(timer: DueTimer, cause: unknown): Promise<void> {
    const message = `Its timer failed ${this.#maxFailures} times, last with ${errorCode(cause)}: ${errorMessage(cause)}`;
    try {
      await this.#runUnit(
        () => this.#engine.park(timer.saga, timer.id, { code: 'TIMER_FAILED', message }),
        timer,
      );
      this.#failures.delete(sagaKey(timer));
    } catch (error) {
      this.#onError(error, timer);
    }
  }

  /** A failure is remembered only while its timer is still there. */
  #forgetOthers(timers: readonly DueTimer[], now: number): void {
    if (this.#failures.size === 0) return;
    const keys = new Set(timers.map(sagaKey));
    for (const [key, { notBefore }] of this.#failures) {
      if (notBefore <= now && !keys.has(key)) this.#failures.delete(key);
    }
  }

  #notBefore(timer: DueTimer): number {
    return Math.max(timer.dueAt, this.#failures.get(sagaKey(timer))?.notBefore ?? 0);
  }
}
