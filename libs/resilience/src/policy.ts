import { AsyncLocalStorage } from 'node:async_hooks';
import {
  bulkhead,
  BulkheadRejectedError,
  BrokenCircuitError,
  circuitBreaker,
  CircuitState,
  ConsecutiveBreaker,
  CountBreaker,
  DelegateBackoff,
  handleWhen,
  retry,
  TaskCancelledError,
  timeout,
  TimeoutStrategy,
  type BulkheadPolicy,
  type CircuitBreakerPolicy,
  type IRetryBackoffContext,
  type RetryPolicy,
  type TimeoutPolicy,
} from 'cockatiel';
import { backoffDelayMs, FlotillaError, systemClock, type Clock } from '@flotilla/kernel';
import { resolvePolicyOptions, type PolicyOptions, type ResolvedPolicyOptions } from './policy.options.ts';
import { BreakerOpenError, BulkheadFullError, PolicyTimeoutError } from './resilience.errors.ts';

export type BreakerState = 'closed' | 'open' | 'half-open';

/** What a policy is doing, for metrics, health and people. */
export interface PolicyState {
  readonly name: string;
  /** `half-open` only while a trial call runs; `closed` where there is no breaker. */
  readonly breaker: BreakerState;
  /** Attempts inside the policy, those that wait for a place not counted. */
  readonly running: number;
  /** Attempts that wait for a place in the bulkhead. */
  readonly queued: number;
  /** While the breaker is open: what opened it, and when the next trial is allowed. */
  readonly open?: { readonly cause: unknown; readonly retryAfterMs: number };
}

export interface BreakerChange {
  readonly policy: string;
  readonly from: BreakerState;
  readonly to: BreakerState;
  /** When it opened: the failure that did it. */
  readonly cause?: unknown;
}

/** What a policy counts. The recorder of `@flotilla/observability` is one. */
export interface PolicyMetrics {
  /** `outcome`: ok, failed, refused (an error that is no failure), timeout, breaker-open, bulkhead-full, aborted. */
  policyCalled(policy: string, outcome: string, durationMs: number): void;
  policyRetried(policy: string): void;
}

export interface PolicyDependencies {
  readonly metrics?: PolicyMetrics;
  /** For durations and waiting times that are reported. The time-outs and delays themselves are the machine's. */
  readonly clock?: Clock;
  /** For the jitter of delays, 0 to 1. */
  readonly random?: () => number;
}

export interface ExecuteOptions {
  /** Gives up waiting, queueing and retrying when it aborts; `execute` then rejects with its reason at once. */
  readonly signal?: AbortSignal;
}

/** Time-outs, retries, breaker and bulkhead around the calls to one dependency. Share one among all its callers. */
export interface Policy {
  readonly name: string;
  readonly options: ResolvedPolicyOptions;
  /**
   * Calls `fn`, perhaps several times, and resolves with its result. Rejects with what the last attempt threw, or
   * with {@link PolicyTimeoutError}, {@link BreakerOpenError} or {@link BulkheadFullError}. Pass `signal` on: after a
   * time-out the policy counts the attempt as over, and only the signal stops what still runs.
   */
  execute<T>(
    fn: (context: { readonly signal: AbortSignal }) => Promise<T>,
    options?: ExecuteOptions,
  ): Promise<T>;
  state(): PolicyState;
  /** Tells of each change of the breaker; returns the way to stop it. */
  onChange(listener: (change: BreakerChange) => void): () => void;
}

const breakerStates: Readonly<Record<CircuitState, BreakerState>> = {
  [CircuitState.Closed]: 'closed',
  [CircuitState.Open]: 'open',
  [CircuitState.HalfOpen]: 'half-open',
  [CircuitState.Isolated]: 'open',
};

const noMetrics: PolicyMetrics = { policyCalled: () => undefined, policyRetried: () => undefined };

/** Makes a policy; throws InvalidPolicyOptionsError with every problem of the options. */
export function createPolicy(
  name: string,
  options: PolicyOptions = {},
  dependencies: PolicyDependencies = {},
): Policy {
  return new CockatielPolicy(name, resolvePolicyOptions(name, options), dependencies);
}

/**
 * From the outside in: retry, bulkhead, breaker, time-out. So a place is free while a call waits for its next
 * attempt, a full bulkhead says nothing about the called side, and the breaker sees time-outs as failures.
 */
class CockatielPolicy implements Policy {
  readonly name: string;
  readonly options: ResolvedPolicyOptions;
  readonly #metrics: PolicyMetrics;
  readonly #clock: Clock;
  readonly #timeout: TimeoutPolicy;
  readonly #breaker: CircuitBreakerPolicy | undefined;
  readonly #bulkhead: BulkheadPolicy | undefined;
  readonly #retry: RetryPolicy | undefined;
  readonly #listeners = new Set<(change: BreakerChange) => void>();
  #running = 0;
  #open: { readonly cause: unknown; readonly atMs: number } | undefined;

  constructor(name: string, options: ResolvedPolicyOptions, dependencies: PolicyDependencies) {
    this.name = name;
    this.options = options;
    this.#metrics = dependencies.metrics ?? noMetrics;
    this.#clock = dependencies.clock ?? systemClock;
    // The signal stays as it is after a success: a response whose body is read later is not cut off.
    this.#timeout = timeout(options.timeoutMs, {
      strategy: TimeoutStrategy.Aggressive,
      abortOnReturn: false,
    });
    this.#breaker = options.breaker && this.#makeBreaker(options.breaker);
    this.#bulkhead = options.bulkhead && bulkhead(options.bulkhead.maxConcurrent, options.bulkhead.queue);
    this.#retry = options.retry && this.#makeRetry(options.retry, dependencies.random ?? Math.random);
  }

  async execute<T>(
    fn: (context: { readonly signal: AbortSignal }) => Promise<T>,
    { signal }: ExecuteOptions = {},
  ): Promise<T> {
    const startedMs = this.#clock.monotonicMs();
    let outcome = 'ok';
    try {
      signal?.throwIfAborted();
      const working = this.#retried(fn, signal);
      return await (signal === undefined ? working : orAborted(working, signal));
    } catch (error) {
      outcome = this.#outcomeOf(error, signal);
      throw signal?.aborted === true ? signal.reason : error;
    } finally {
      this.#metrics.policyCalled(this.name, outcome, this.#clock.monotonicMs() - startedMs);
    }
  }

  state(): PolicyState {
    const open = this.#open;
    const breaker = this.#breaker === undefined ? 'closed' : breakerStates[this.#breaker.state];
    return {
      name: this.name,
      breaker,
      running: this.#running,
      queued: this.#queued(),
      ...(breaker !== 'closed' &&
        open !== undefined && { open: { cause: open.cause, retryAfterMs: this.#trialInMs() } }),
    };
  }

  onChange(listener: (change: BreakerChange) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #retried<T>(
    fn: (context: { signal: AbortSignal }) => Promise<T>,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    const attempt = (): Promise<T> => {
      // The library's delay does not end with the signal: do not begin what nobody waits for.
      signal?.throwIfAborted();
      return this.#limited(fn, signal);
    };
    return this.#retry === undefined ? attempt() : this.#retry.execute(attempt, signal);
  }

  async #limited<T>(
    fn: (context: { signal: AbortSignal }) => Promise<T>,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    if (this.#bulkhead === undefined) return this.#guarded(fn, signal);
    // A queued call is started by the one that ends, in its asynchronous context: keep our own trace and logs.
    const inContext = this.#bulkhead.executionSlots > 0 ? undefined : AsyncLocalStorage.snapshot();
    const call = (): Promise<T> => this.#guarded(fn, signal);
    try {
      return await this.#bulkhead.execute(inContext === undefined ? call : () => inContext(call), signal);
    } catch (error) {
      if (!(error instanceof BulkheadRejectedError)) throw error;
      throw new BulkheadFullError(this.name, this.options.bulkhead?.maxConcurrent ?? 0, this.#queued());
    }
  }

  async #guarded<T>(
    fn: (context: { signal: AbortSignal }) => Promise<T>,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    const breaker = this.#breaker;
    if (breaker === undefined) return this.#timed(fn, signal);
    // The library lets others wait for the trial call; here they are refused like while it was open.
    if (breaker.state === CircuitState.HalfOpen) throw this.#openError();
    try {
      return await breaker.execute(() => this.#timed(fn, signal), signal);
    } catch (error) {
      throw error instanceof BrokenCircuitError ? this.#openError() : error;
    }
  }

  async #timed<T>(
    fn: (context: { signal: AbortSignal }) => Promise<T>,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    this.#running += 1;
    let stopped: AbortSignal | undefined;
    try {
      return await this.#timeout.execute((context) => {
        stopped = context.signal;
        return fn(context);
      }, signal);
    } catch (error) {
      // A function that heeds the signal may fail with an abort error of its own before the time-out is told.
      if (signal?.aborted === true) throw new CallerGone();
      if (stopped?.aborted === true) {
        throw new PolicyTimeoutError(
          this.name,
          this.options.timeoutMs,
          error instanceof TaskCancelledError ? undefined : error,
        );
      }
      throw error;
    } finally {
      this.#running -= 1;
    }
  }

  #isFailure(error: unknown): boolean {
    return this.options.isFailure === undefined ? !advisesNever(error) : this.options.isFailure(error);
  }

  #makeBreaker(options: NonNullable<ResolvedPolicyOptions['breaker']>): CircuitBreakerPolicy {
    const breaker: CircuitBreakerPolicy = circuitBreaker(
      // Nothing is known of a call whose caller left; a trial that ends so must not close the breaker.
      handleWhen((error) =>
        error instanceof CallerGone ? breaker.state === CircuitState.HalfOpen : this.#isFailure(error),
      ),
      {
        halfOpenAfter: options.halfOpenAfterMs,
        breaker:
          options.trips === 'consecutive'
            ? new ConsecutiveBreaker(options.consecutiveFailures)
            : new CountBreaker({ threshold: options.threshold, size: options.overCalls }),
      },
    );
    let before: BreakerState = 'closed';
    let cause: unknown;
    breaker.onBreak((reason) => {
      cause = 'error' in reason ? reason.error : undefined;
      this.#open = { cause, atMs: Date.now() };
    });
    breaker.onStateChange((state) => {
      const change = { policy: this.name, from: before, to: breakerStates[state] };
      before = change.to;
      if (change.to === 'closed') this.#open = undefined;
      for (const listener of this.#listeners) listener(change.to === 'open' ? { ...change, cause } : change);
    });
    return breaker;
  }

  #makeRetry(options: NonNullable<ResolvedPolicyOptions['retry']>, random: () => number): RetryPolicy {
    const policy = retry(
      handleWhen(
        (error) =>
          !(error instanceof BreakerOpenError || error instanceof BulkheadFullError) &&
          this.#isFailure(error),
      ),
      {
        // The library counts what comes after the first attempt.
        maxAttempts: options.attempts - 1,
        backoff: new DelegateBackoff<IRetryBackoffContext<unknown>>(({ attempt }) =>
          backoffDelayMs(attempt, options, random),
        ),
      },
    );
    policy.onRetry(() => this.#metrics.policyRetried(this.name));
    return policy;
  }

  #queued(): number {
    return this.#bulkhead === undefined ? 0 : (this.options.bulkhead?.queue ?? 0) - this.#bulkhead.queueSlots;
  }

  #trialInMs(): number {
    if (this.#open === undefined || this.#breaker?.state !== CircuitState.Open) return 0;
    return Math.max(0, this.#open.atMs + (this.options.breaker?.halfOpenAfterMs ?? 0) - Date.now());
  }

  #openError(): BreakerOpenError {
    return new BreakerOpenError(this.name, this.#trialInMs(), this.#open?.cause);
  }

  #outcomeOf(error: unknown, signal: AbortSignal | undefined): string {
    if (signal?.aborted === true) return 'aborted';
    if (error instanceof PolicyTimeoutError) return 'timeout';
    if (error instanceof BreakerOpenError) return 'breaker-open';
    if (error instanceof BulkheadFullError) return 'bulkhead-full';
    return this.#isFailure(error) ? 'failed' : 'refused';
  }
}

/** Inside the policy: the caller's signal aborted. The caller gets the signal's reason. */
class CallerGone extends Error {}

function advisesNever(error: unknown): boolean {
  return error instanceof FlotillaError && error.retry === 'never';
}

/** Rejects with the signal's reason as soon as it aborts; what `working` becomes is then of no interest. */
async function orAborted<T>(working: Promise<T>, signal: AbortSignal): Promise<T> {
  let stop: (() => void) | undefined;
  const aborted = new Promise<never>((_resolve, reject) => {
    stop = () => reject(signal.reason as Error);
    signal.addEventListener('abort', stop, { once: true });
  });
  try {
    return await Promise.race([working, aborted]);
  } finally {
    if (stop !== undefined) signal.removeEventListener('abort', stop);
  }
}
