import { systemClock, type Clock } from '@flotilla/kernel';
import { InvalidPolicyOptionsError } from './resilience.errors.ts';

export interface RetryBudgetOptions {
  /**
   * Retries per call, between 0 and 1: with 0.2, a dependency that is down gets at most a fifth more calls than one
   * that works. Default 0.2.
   */
  readonly ratio?: number;
  /** Retries per second that are allowed however few calls there are. Default 1. */
  readonly minPerSecond?: number;
  /** How far back calls and retries count, in milliseconds. Default 10000; a longer window allows longer bursts. */
  readonly windowMs?: number;
}

const SLICES = 10;

/**
 * How many retries may still be made: a share of the calls of the last seconds, and a few more per second. Without
 * it, retries multiply the load of whatever is failing, each layer by its number of attempts. Share one among all
 * callers of a dependency. As in Finagle (`RetryBudget`) and gRPC (A6, retry throttling).
 */
export class RetryBudget {
  readonly options: Required<RetryBudgetOptions>;
  readonly #clock: Clock;
  readonly #sliceMs: number;
  readonly #calls = new Array<number>(SLICES).fill(0);
  readonly #retries = new Array<number>(SLICES).fill(0);
  #slice: number;
  #callsInWindow = 0;
  #retriesInWindow = 0;

  /** Throws {@link InvalidPolicyOptionsError} with every problem. */
  constructor(options: RetryBudgetOptions = {}, { clock = systemClock }: { readonly clock?: Clock } = {}) {
    const { ratio = 0.2, minPerSecond = 1, windowMs = 10_000 } = options;
    const problems: string[] = [];
    if (!(ratio >= 0 && ratio <= 1)) problems.push(`ratio is ${ratio}, expected a share from 0 to 1`);
    if (!(minPerSecond >= 0 && Number.isFinite(minPerSecond)))
      problems.push(`minPerSecond is ${minPerSecond}, expected 0 or more`);
    if (!(windowMs >= 1_000 && windowMs <= 60_000))
      problems.push(`windowMs is ${windowMs}, expected milliseconds from 1000 to 60000`);
    if (problems.length > 0) throw new InvalidPolicyOptionsError('retry budget', problems);
    this.options = { ratio, minPerSecond, windowMs };
    this.#clock = clock;
    this.#sliceMs = windowMs / SLICES;
    this.#slice = this.#now();
  }

  /** Notes a call: its first attempt, which needs no budget and makes some. */
  called(): void {
    this.#forget();
    this.#calls[this.#slice % SLICES] = (this.#calls[this.#slice % SLICES] ?? 0) + 1;
    this.#callsInWindow += 1;
  }

  /** Takes one retry out of the budget; false when there is none left. */
  take(): boolean {
    if (this.left < 1) return false;
    this.#retries[this.#slice % SLICES] = (this.#retries[this.#slice % SLICES] ?? 0) + 1;
    this.#retriesInWindow += 1;
    return true;
  }

  /** How many retries may be made now. */
  get left(): number {
    this.#forget();
    const { ratio, minPerSecond, windowMs } = this.options;
    const allowed = this.#callsInWindow * ratio + (minPerSecond * windowMs) / 1_000;
    // A share such as 0.2 of ten calls must not fall short of two by rounding.
    return Math.max(0, Math.floor(allowed - this.#retriesInWindow + 1e-9));
  }

  #now(): number {
    return Math.floor(this.#clock.monotonicMs() / this.#sliceMs);
  }

  #forget(): void {
    const now = this.#now();
    for (let steps = Math.min(now - this.#slice, SLICES); steps > 0; steps -= 1) {
      const old = (now - steps + 1) % SLICES;
      this.#callsInWindow -= this.#calls[old] ?? 0;
      this.#retriesInWindow -= this.#retries[old] ?? 0;
      this.#calls[old] = 0;
      this.#retries[old] = 0;
    }
    this.#slice = now;
  }
}
