import { deterministicId } from '@flotilla/kernel';

/** How a command is tried again. A plain number is short for `{ retries }`. */
export interface RetryPolicy {
  /** How many more times it is sent after the first. */
  readonly retries: number;
  /** The delay before the first retry, in milliseconds. Default 1,000. */
  readonly initialMs?: number;
  /** No delay is longer, in milliseconds. Default 60,000. */
  readonly maxMs?: number;
  /** Growth of the delay with every retry. Default 2. */
  readonly multiplier?: number;
  /**
   * The share of a delay, 0 to 1, that differs from saga to saga, so that those which failed together do not come back
   * together. It comes from the instance's id: the same saga always waits the same time. Default 0.
   */
  readonly jitter?: number;
  /**
   * The technical failures after which it is tried again: `all` that the receiver says may pass, or these codes
   * whatever it says. Default: after the pivot `all`; before it none, because compensating is cheaper than waiting.
   */
  readonly retryOn?: 'all' | readonly string[];
  /** Failures after which it is never tried again. Default: none. */
  readonly never?: readonly string[];
}

/** How often and how long a command is tried, with every default filled in. */
export interface CommandPolicy {
  /** How long one sending waits for its answer, in milliseconds. */
  readonly timeoutMs: number;
  /** How many more times a command is sent after its first sending. */
  readonly retries: number;
  readonly initialMs: number;
  readonly maxMs: number;
  readonly multiplier: number;
  readonly jitter: number;
  readonly retryOn: 'all' | ReadonlySet<string> | undefined;
  readonly never: ReadonlySet<string>;
}

const NONE: ReadonlySet<string> = new Set();

/** Fills in the defaults; nothing is checked here, see {@link policyProblems}. */
export function commandPolicy(timeoutMs: number, retries: number | RetryPolicy): CommandPolicy {
  const given: RetryPolicy = typeof retries === 'number' ? { retries } : retries;
  return {
    timeoutMs,
    retries: given.retries,
    initialMs: given.initialMs ?? 1_000,
    maxMs: given.maxMs ?? Math.max(60_000, given.initialMs ?? 0),
    multiplier: given.multiplier ?? 2,
    jitter: given.jitter ?? 0,
    retryOn: given.retryOn === undefined || given.retryOn === 'all' ? given.retryOn : new Set(given.retryOn),
    never: given.never === undefined ? NONE : new Set(given.never),
  };
}

/** Whether a technical failure is tried again, if tries are left. `byDefault`: where the policy does not say. */
export function retriesFailure(
  { retryOn, never }: CommandPolicy,
  failure: { readonly code: string; readonly retry: string },
  byDefault: boolean,
): boolean {
  if (never.has(failure.code)) return false;
  if (retryOn !== undefined && retryOn !== 'all') return retryOn.has(failure.code);
  return (retryOn === 'all' || byDefault) && failure.retry === 'later';
}

/**
 * The delay before retry number `attempt` (1 is the first), in milliseconds. Pure: the jitter is a hash of `seed`,
 * whatever tells this try from others.
 */
export function retryDelayMs(
  { initialMs, maxMs, multiplier, jitter }: CommandPolicy,
  attempt: number,
  seed: readonly (string | number)[],
): number {
  const full = Math.min(maxMs, initialMs * multiplier ** (attempt - 1));
  if (jitter === 0) return Math.round(full);
  const share = Number.parseInt(deterministicId('saga-retry', ...seed).slice(0, 8), 16) / 2 ** 32;
  return Math.round(full * (1 - jitter * share));
}

/** What is wrong with a policy, a line each. */
export function policyProblems(step: string, policy: CommandPolicy): string[] {
  const { timeoutMs, retries, initialMs, maxMs, multiplier, jitter } = policy;
  const problems: string[] = [];
  const check = (right: boolean, problem: string): void => {
    if (!right) problems.push(`step "${step}": ${problem}`);
  };
  check(timeoutMs > 0, `timeoutMs must be positive, not ${timeoutMs}`);
  check(Number.isInteger(retries) && retries >= 0, `retries must be a whole number from 0, not ${retries}`);
  check(initialMs > 0, `initialMs must be positive, not ${initialMs}`);
  check(maxMs >= initialMs, `maxMs must be at least initialMs (${initialMs}), not ${maxMs}`);
  check(multiplier >= 1, `multiplier must be at least 1, not ${multiplier}`);
  check(jitter >= 0 && jitter <= 1, `jitter must be from 0 to 1, not ${jitter}`);
  return problems;
}
