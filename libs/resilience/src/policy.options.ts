import { JITTERS, type Jitter } from './jitter.ts';
import { InvalidPolicyOptionsError } from './resilience.errors.ts';
import type { RetryBudget } from './retry-budget.ts';

export interface RetryOptions {
  /** Attempts in all, the first included. Only for calls that may be made twice. */
  readonly attempts: number;
  /** Delay before the second attempt, in milliseconds; doubles per attempt, some of it random. Default 100. */
  readonly initialMs?: number;
  /** No delay is longer, in milliseconds. Default 2000. */
  readonly maxMs?: number;
  /** How the delays are spread. Default `equal`. */
  readonly jitter?: Jitter;
  /** What retries are taken from; several policies may share one. Default: no limit but `attempts`. */
  readonly budget?: RetryBudget;
}

export interface BreakerOptions {
  /** Opens after this many failures in a row. Give this or `threshold`. */
  readonly consecutiveFailures?: number;
  /** Opens when more than this share (between 0 and 1) of the last `overCalls` calls failed. */
  readonly threshold?: number;
  /** How many calls `threshold` looks back over. Default 20. */
  readonly overCalls?: number;
  /** It does not open before there were as many calls. Default `overCalls`. */
  readonly leastCalls?: number;
  /** How long an open breaker refuses calls before it lets one through as a trial, in milliseconds. Default 10000. */
  readonly halfOpenAfterMs?: number;
}

export interface BulkheadOptions {
  /** How many attempts run at the same time. */
  readonly maxConcurrent: number;
  /**
   * How many more wait for a place, at most until their deadline; beyond, calls are refused at once. Each running
   * attempt ends within `timeoutMs`, so that the longest wait is `timeoutMs` times queue / maxConcurrent. Default 0.
   */
  readonly queue?: number;
}

/** A part that is not given is not there; only the time-out always is. */
export interface PolicyOptions {
  /**
   * For one attempt, in milliseconds; waiting in the queue and between attempts comes on top. Default 5000. `false`: the
   * function ends by itself (it has a time-out of its own, or only policies inside it), which saves a timer per call.
   */
  readonly timeoutMs?: number | false;
  readonly retry?: RetryOptions;
  readonly breaker?: BreakerOptions;
  readonly bulkhead?: BulkheadOptions;
  /**
   * Whether an error speaks against the called side: it counts for the breaker and is retried. Default: all but
   * errors that advise `retry: 'never'`, such as a refusal. Undefined: the error tells nothing about it; the breaker does
   * not count it, and such a trial does not close it.
   */
  readonly isFailure?: (error: unknown) => boolean | undefined;
}

export interface ResolvedRetryOptions extends Required<Omit<RetryOptions, 'budget'>> {
  readonly budget: RetryBudget | undefined;
}

export interface ResolvedPolicyOptions {
  readonly timeoutMs: number | false;
  readonly retry: ResolvedRetryOptions | undefined;
  readonly breaker: ResolvedBreakerOptions | undefined;
  readonly bulkhead: Required<BulkheadOptions> | undefined;
  readonly isFailure: ((error: unknown) => boolean | undefined) | undefined;
}

export type ResolvedBreakerOptions = { readonly halfOpenAfterMs: number } & (
  | { readonly trips: 'consecutive'; readonly consecutiveFailures: number }
  | {
      readonly trips: 'share';
      readonly threshold: number;
      readonly overCalls: number;
      readonly leastCalls: number;
    }
);

/** Longer timers fire at once in Node. */
const longestTimerMs = 2 ** 31 - 1;

/** Defaults and checks together; throws {@link InvalidPolicyOptionsError} with every problem of the policy. */
export function resolvePolicyOptions(name: string, input: PolicyOptions = {}): ResolvedPolicyOptions {
  const problems: string[] = [];
  const duration = (option: string, value: number): number => {
    if (!(value > 0 && value <= longestTimerMs)) {
      problems.push(`${option} is ${value}, expected milliseconds above 0 and up to ${longestTimerMs}`);
    }
    return value;
  };
  const whole = (option: string, value: number, least: number): number => {
    if (!Number.isSafeInteger(value) || value < least) {
      problems.push(`${option} is ${value}, expected a whole number of at least ${least}`);
    }
    return value;
  };
  if (!/^[a-z][A-Za-z0-9.-]*$/.test(name)) {
    problems.push(`the name is "${name}", expected a small letter, then letters, digits, dots and dashes`);
  }

  const timeoutMs = input.timeoutMs === false ? false : duration('timeoutMs', input.timeoutMs ?? 5_000);

  const retry = input.retry && {
    attempts: whole('retry.attempts', input.retry.attempts, 1),
    initialMs: duration('retry.initialMs', input.retry.initialMs ?? 100),
    maxMs: duration('retry.maxMs', input.retry.maxMs ?? Math.max(2_000, input.retry.initialMs ?? 0)),
    jitter: input.retry.jitter ?? 'equal',
    budget: input.retry.budget,
  };
  if (retry && !JITTERS.includes(retry.jitter)) {
    problems.push(`retry.jitter is "${retry.jitter}", expected ${JITTERS.join(', ')}`);
  }
  if (retry && retry.maxMs < retry.initialMs) {
    problems.push(`retry.maxMs is ${retry.maxMs}, less than retry.initialMs, ${retry.initialMs}`);
  }

  let breaker: ResolvedBreakerOptions | undefined;
  if (input.breaker) {
    const { consecutiveFailures, threshold } = input.breaker;
    const halfOpenAfterMs = duration('breaker.halfOpenAfterMs', input.breaker.halfOpenAfterMs ?? 10_000);
    const overCalls = whole('breaker.overCalls', input.breaker.overCalls ?? 20, 1);
    const leastCalls = whole('breaker.leastCalls', input.breaker.leastCalls ?? overCalls, 1);
    if (leastCalls > overCalls) {
      problems.push(`breaker.leastCalls is ${leastCalls}, more than breaker.overCalls, ${overCalls}`);
    }
    if ((consecutiveFailures === undefined) === (threshold === undefined)) {
      problems.push('breaker needs either consecutiveFailures or threshold');
    } else if (threshold === undefined) {
      breaker = {
        trips: 'consecutive',
        consecutiveFailures: whole('breaker.consecutiveFailures', consecutiveFailures ?? 0, 1),
        halfOpenAfterMs,
      };
    } else {
      if (!(threshold > 0 && threshold < 1)) {
        problems.push(`breaker.threshold is ${threshold}, expected a share between 0 and 1`);
      }
      breaker = { trips: 'share', threshold, overCalls, leastCalls, halfOpenAfterMs };
    }
    if (consecutiveFailures !== undefined && input.breaker.overCalls !== undefined) {
      problems.push('breaker.overCalls goes with threshold, not with consecutiveFailures');
    }
  }

  const bulkhead = input.bulkhead && {
    maxConcurrent: whole('bulkhead.maxConcurrent', input.bulkhead.maxConcurrent, 1),
    queue: whole('bulkhead.queue', input.bulkhead.queue ?? 0, 0),
  };

  if (problems.length > 0) throw new InvalidPolicyOptionsError(name, problems);
  return { timeoutMs, retry, breaker, bulkhead, isFailure: input.isFailure };
}
