import { systemClock, type Clock } from '@flotilla/kernel';
import { arrivalGapMs, seededRandom } from './random.ts';

/** What a load generator saw. */
export interface LoadResult {
  /** Operations that were started; all have ended. */
  readonly started: number;
  /** Operations that failed; a benchmark with any is no benchmark. */
  readonly failed: number;
  /** Why the first one failed. */
  readonly firstFailure: string | undefined;
  /**
   * From the (intended) start to the end of each operation that succeeded and did not end in the ramp; of a great many
   * only every second, fourth, ... one.
   */
  readonly latenciesMs: readonly number[];
  /** How long was measured. */
  readonly windowMs: number;
  /** How many succeeded within the window. */
  readonly succeededInWindow: number;
  /** From the first one, ramp included, until the last one had ended. */
  readonly elapsedMs: number;
}

/** Operations per second in the window; of the whole run when it was too short for any to end in its window. */
export function perSecondOf({ succeededInWindow, windowMs, started, failed, elapsedMs }: LoadResult): number {
  if (succeededInWindow > 0) return succeededInWindow / (windowMs / 1_000);
  return (started - failed) / (elapsedMs / 1_000);
}

export interface ClosedLoopOptions {
  /** Operations at a time: the next starts when one ends. */
  readonly inFlight: number;
  /** Load before the window, until as many end as start. Default 0. */
  readonly rampMs?: number;
  readonly windowMs: number;
  /** Starts no more than this many, however much time is left. */
  readonly atMost?: number;
  readonly operation: (at: number) => Promise<unknown>;
  readonly clock?: Clock;
}

/** The part of its window for which a closed loop runs before it. */
const RAMP = 0.3;

/** A window of so many seconds, with its ramp. */
export function windowOf(seconds: number): { readonly rampMs: number; readonly windowMs: number } {
  return { rampMs: seconds * 1_000 * RAMP, windowMs: seconds * 1_000 };
}

/** Keeps `inFlight` operations going for the ramp and the window, then waits until all have ended. */
export async function closedLoop(options: ClosedLoopOptions): Promise<LoadResult> {
  const { inFlight, rampMs = 0, windowMs, atMost = Infinity, operation, clock = systemClock } = options;
  const windowStartMs = clock.monotonicMs() + rampMs;
  const tally = new Tally(windowStartMs, windowMs, clock);
  let started = 0;
  const worker = async (): Promise<void> => {
    while (started < atMost && clock.monotonicMs() - windowStartMs < windowMs) {
      const at = started++;
      await tally.count(clock.monotonicMs(), () => operation(at));
    }
  };
  await Promise.all(Array.from({ length: inFlight }, worker));
  return tally.result(started);
}

export interface OpenLoopOptions {
  /** Operations per second on average; they come at random, independently of each other and of how long they take. */
  readonly perSecond: number;
  readonly windowMs: number;
  readonly seed: number;
  /** Gives up when so many are under way: what is measured then is a queue that grows. Default 20,000. */
  readonly mostInFlight?: number;
  readonly operation: (at: number) => Promise<unknown>;
  readonly clock?: Clock;
}

/**
 * Starts operations at random moments, whether or not earlier ones have ended, and measures each from the moment at
 * which it was due: an operation that the generator or the system made wait is not forgiven (coordinated omission).
 */
export async function openLoop(options: OpenLoopOptions): Promise<LoadResult> {
  const { perSecond, windowMs, seed, mostInFlight = 20_000, operation, clock = systemClock } = options;
  const random = seededRandom(seed);
  const startMs = clock.monotonicMs();
  const tally = new Tally(startMs, windowMs, clock);
  const underWay = new Set<Promise<void>>();
  let started = 0;
  let dueMs = arrivalGapMs(perSecond, random);
  while (dueMs < windowMs) {
    const waitMs = startMs + dueMs - clock.monotonicMs();
    if (waitMs > 0) await clock.sleep(waitMs);
    if (underWay.size >= mostInFlight) {
      throw new Error(
        `${underWay.size} operations are under way at ${perSecond.toFixed(1)}/s: the system does not keep up; ask for fewer per second`,
      );
    }
    const at = started++;
    const running: Promise<void> = tally
      .count(startMs + dueMs, () => operation(at))
      .then(() => void underWay.delete(running));
    underWay.add(running);
    dueMs += arrivalGapMs(perSecond, random);
  }
  await Promise.all(underWay);
  return tally.result(started);
}

/** Latencies that are kept at most: enough for any percentile that is told, and no burden to send. */
export const MOST_LATENCIES = 400_000;

class Tally {
  readonly #createdMs: number;
  readonly #startMs: number;
  readonly #windowMs: number;
  readonly #clock: Clock;
  #latenciesMs: number[] = [];
  #measured = 0;
  #keepEvery = 1;
  #inWindow = 0;
  #failed = 0;
  #firstFailure: string | undefined;

  constructor(startMs: number, windowMs: number, clock: Clock) {
    this.#createdMs = clock.monotonicMs();
    this.#startMs = startMs;
    this.#windowMs = windowMs;
    this.#clock = clock;
  }

  async count(dueMs: number, operation: () => Promise<unknown>): Promise<void> {
    try {
      await operation();
      const endMs = this.#clock.monotonicMs();
      const intoWindowMs = endMs - this.#startMs;
      if (intoWindowMs > 0) this.#keep(endMs - dueMs);
      if (intoWindowMs > 0 && intoWindowMs <= this.#windowMs) this.#inWindow += 1;
    } catch (error) {
      this.#failed += 1;
      this.#firstFailure ??= error instanceof Error ? (error.stack ?? error.message) : String(error);
    }
  }

  #keep(latencyMs: number): void {
    if (this.#measured++ % this.#keepEvery !== 0) return;
    this.#latenciesMs.push(latencyMs);
    if (this.#latenciesMs.length < MOST_LATENCIES) return;
    this.#latenciesMs = this.#latenciesMs.filter((_, at) => at % 2 === 0);
    this.#keepEvery *= 2;
  }

  result(started: number): LoadResult {
    const nowMs = this.#clock.monotonicMs();
    return {
      started,
      failed: this.#failed,
      firstFailure: this.#firstFailure,
      latenciesMs: this.#latenciesMs,
      // A generator that ran out of operations before its time had a shorter window.
      windowMs: Math.min(this.#windowMs, nowMs - this.#startMs),
      succeededInWindow: this.#inWindow,
      elapsedMs: nowMs - this.#createdMs,
    };
  }
}
