import {
  BrokenCircuitError,
  circuitBreaker,
  CircuitState,
  ConsecutiveBreaker,
  CountBreaker,
  handleWhen,
  TaskCancelledError,
  timeout,
  TimeoutStrategy,
  type CircuitBreakerPolicy,
  type IBreaker,
  type TimeoutPolicy,
} from 'cockatiel';
import { FlotillaError, systemClock, type Clock } from '@flotilla/kernel';
import { Bulkhead } from './bulkhead.ts';
import { retryDelayMs } from './jitter.ts';
import {
  resolvePolicyOptions,
  type PolicyOptions,
  type ResolvedBreakerOptions,
  type ResolvedPolicyOptions,
} from './policy.options.ts';
import {
  BreakerOpenError,
  BulkheadFullError,
  DeadlineExceededError,
  PolicyTimeoutError,
} from './resilience.errors.ts';

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
  /** Retries that the budget still allows, where there is one. */
  readonly retriesLeft?: number;
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
  /**
   * `outcome`: ok, failed, refused (an error that is no failure), timeout, deadline, breaker-open, bulkhead-full,
   * aborted. What a fallback answers for counts as it failed.
   */
  policyCalled(policy: string, outcome: string, durationMs: number): void;
  policyRetried(policy: string): void;
  /** A failed attempt was not repeated: no `budget`, or no time before the `deadline`. */
  policyRetryDenied(policy: string, reason: 'budget' | 'deadline'): void;
  policyFellBack(policy: string): void;
}

export interface PolicyDependencies {
  readonly metrics?: PolicyMetrics;
  /** For deadlines, delays and durations. The time-out of an attempt is the machine's. */
  readonly clock?: Clock;
  /** For the jitter of delays, 0 to 1. */
  readonly random?: () => number;
  /** The deadline of the running code, from its asynchronous context for example; see {@link ExecuteOptions.deadline}. */
  readonly deadline?: () => number | undefined;
}

/** What answers in place of a call that failed. */
export interface Fallback<T> {
  /** Makes the answer; rethrows the error, or throws another, where it has none. */
  readonly answer: (error: unknown) => T | Promise<T>;
  /**
   * Which errors it answers for. Default: those that speak against the called side, open breakers and full bulkheads;
   * so not refusals. Never asked when the caller has left or its deadline has passed: nobody waits for the answer.
   */
  readonly when?: (error: unknown) => boolean;
  /**
   * When the answer is of no more use, milliseconds since the epoch. Default: the deadline of the call; later where that
   * is a time-out and the caller waits longer.
   */
  readonly deadline?: number;
}

export interface ExecuteOptions<T = unknown> {
  /** Gives up waiting, queueing and retrying when it aborts; `execute` then rejects with its reason at once. */
  readonly signal?: AbortSignal | undefined;
  /**
   * When the caller stops waiting, milliseconds since the epoch. No attempt and no delay is begun that could only end
   * later, and an attempt that runs is stopped then. Default: {@link PolicyDependencies.deadline}.
   */
  readonly deadline?: number | undefined;
  readonly fallback?: Fallback<T> | undefined;
  /** Whether this call may be made again after the error, asked beside the policy's own rules. Default: yes. */
  readonly repeatable?: ((error: unknown) => boolean) | undefined;
}

/** What one attempt is told. */
export interface Attempt {
  /** Aborts when the attempt has taken too long, or nobody waits for it any more. Pass it on. */
  readonly signal: AbortSignal;
  /** Counted from 1. */
  readonly number: number;
  /** When the caller stops waiting, milliseconds since the epoch. */
  readonly deadline?: number;
}

/** Time-outs, retries, breaker and bulkhead around the calls to one dependency. Share one among all its callers. */
export interface Policy {
  readonly name: string;
  /**
   * Calls `fn`, perhaps several times, and resolves with its result. Rejects with what the last attempt threw, or
   * with {@link PolicyTimeoutError}, {@link DeadlineExceededError}, {@link BreakerOpenError} or
   * {@link BulkheadFullError}, unless the fallback answers. After a time-out the policy counts the attempt as over, and
   * only its signal stops what still runs.
   */
  execute<T>(fn: (attempt: Attempt) => Promise<T>, options?: ExecuteOptions<T>): Promise<T>;
  state(): PolicyState;
  /** Tells of each change of the breaker; returns the way to stop it. */
  onChange(listener: (change: BreakerChange) => void): () => void;
}

/** A policy that was made from options. */
export interface SinglePolicy extends Policy {
  readonly options: ResolvedPolicyOptions;
}

const breakerStates: Readonly<Record<CircuitState, BreakerState>> = {
  [CircuitState.Closed]: 'closed',
  [CircuitState.Open]: 'open',
  [CircuitState.HalfOpen]: 'half-open',
  [CircuitState.Isolated]: 'open',
};

const noMetrics: PolicyMetrics = {
  policyCalled: () => undefined,
  policyRetried: () => undefined,
  policyRetryDenied: () => undefined,
  policyFellBack: () => undefined,
};

/** The signal of an attempt that nobody stops. */
const neverAborted = new AbortController().signal;

/** Makes a policy; throws InvalidPolicyOptionsError with every problem of the options. */
export function createPolicy(
  name: string,
  options: PolicyOptions = {},
  dependencies: PolicyDependencies = {},
): SinglePolicy {
  return new CompletePolicy(name, resolvePolicyOptions(name, options), dependencies);
}

/** One call on its way through a policy. */
interface Call<T> {
  readonly fn: (attempt: Attempt) => Promise<T>;
  readonly signal: AbortSignal | undefined;
  readonly deadline: number | undefined;
}

/**
 * From the outside in: fallback, retry, bulkhead, breaker, time-out; the README says why. The breaker and the time-out
 * are cockatiel's. Retry and bulkhead are not: they have to know each call's deadline.
 */
class CompletePolicy implements SinglePolicy {
  readonly name: string;
  readonly options: ResolvedPolicyOptions;
  readonly #metrics: PolicyMetrics;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #deadline: (() => number | undefined) | undefined;
  readonly #timeout: TimeoutPolicy | undefined;
  readonly #breaker: CircuitBreakerPolicy | undefined;
  /** What the breaker counts with. */
  readonly #rule: IBreaker | undefined;
  readonly #bulkhead: Bulkhead | undefined;
  readonly #listeners = new Set<(change: BreakerChange) => void>();
  #running = 0;
  #open: { readonly cause: unknown; readonly atMs: number } | undefined;

  constructor(name: string, options: ResolvedPolicyOptions, dependencies: PolicyDependencies) {
    this.name = name;
    this.options = options;
    this.#metrics = dependencies.metrics ?? noMetrics;
    this.#clock = dependencies.clock ?? systemClock;
    this.#random = dependencies.random ?? Math.random;
    this.#deadline = dependencies.deadline;
    this.#timeout = options.timeoutMs === false ? undefined : timeoutAfter(options.timeoutMs);
    this.#rule = options.breaker && ruleOf(options.breaker);
    this.#breaker = options.breaker && this.#rule && this.#makeBreaker(options.breaker, this.#rule);
    this.#bulkhead =
      options.bulkhead &&
      new Bulkhead(options.bulkhead, {
        clock: this.#clock,
        late: () => new DeadlineExceededError(name, 0),
      });
  }

  async execute<T>(
    fn: (attempt: Attempt) => Promise<T>,
    { signal: given, deadline = this.#deadline?.(), fallback, repeatable }: ExecuteOptions<T> = {},
  ): Promise<T> {
    const signal = given === neverAborted ? undefined : given;
    const startedMs = this.#clock.monotonicMs();
    let outcome = 'ok';
    try {
      signal?.throwIfAborted();
      const call = { fn, signal, deadline };
      if (signal !== undefined) return await orAborted(this.#worked(call, repeatable), signal);
      // The same as #worked, in line: most calls succeed at once, and pay for each promise in between.
      this.options.retry?.budget?.called();
      try {
        return await this.#attempted(call, 1);
      } catch (error) {
        return await this.#again(error, call, repeatable);
      }
    } catch (error) {
      outcome = this.#outcomeOf(error, signal);
      if (signal?.aborted === true) throw signal.reason;
      if (fallback === undefined || !this.#mayFallBack(error, deadline, fallback)) throw error;
      this.#metrics.policyFellBack(this.name);
      return await fallback.answer(error);
    } finally {
      this.#metrics.policyCalled(this.name, outcome, this.#clock.monotonicMs() - startedMs);
    }
  }

  state(): PolicyState {
    const open = this.#open;
    const breaker = this.#breaker === undefined ? 'closed' : breakerStates[this.#breaker.state];
    const budget = this.options.retry?.budget;
    return {
      name: this.name,
      breaker,
      running: this.#running,
      queued: this.#bulkhead?.queued ?? 0,
      ...(budget !== undefined && { retriesLeft: budget.left }),
      ...(breaker !== 'closed' &&
        open !== undefined && { open: { cause: open.cause, retryAfterMs: this.#trialInMs() } }),
    };
  }

  onChange(listener: (change: BreakerChange) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async #worked<T>(call: Call<T>, repeatable: ((error: unknown) => boolean) | undefined): Promise<T> {
    this.options.retry?.budget?.called();
    try {
      return await this.#attempted(call, 1);
    } catch (error) {
      return await this.#again(error, call, repeatable);
    }
  }

  /** What follows a failed first attempt: others, as far as there may be any, or the error of the last. */
  async #again<T>(
    failure: unknown,
    call: Call<T>,
    repeatable: ((error: unknown) => boolean) | undefined,
  ): Promise<T> {
    let error = failure;
    let lastMs: number | undefined;
    for (let attempt = 1; ; attempt += 1) {
      const delayMs = this.#delayAfter(error, call, attempt, lastMs, repeatable);
      if (delayMs === undefined) throw error;
      lastMs = delayMs;
      await this.#clock.sleep(delayMs, call.signal);
      call.signal?.throwIfAborted();
      try {
        return await this.#attempted(call, attempt + 1);
      } catch (next) {
        error = next;
      }
    }
  }

  /** How long to wait before the next attempt; undefined: there is none. */
  #delayAfter<T>(
    error: unknown,
    { signal, deadline }: Call<T>,
    attempt: number,
    lastMs: number | undefined,
    repeatable: ((error: unknown) => boolean) | undefined,
  ): number | undefined {
    const { retry } = this.options;
    if (retry === undefined || attempt >= retry.attempts || signal?.aborted === true) return undefined;
    if (error instanceof BreakerOpenError || error instanceof BulkheadFullError) return undefined;
    if (!this.#isFailure(error) || repeatable?.(error) === false) return undefined;
    const delayMs = retryDelayMs(attempt, retry, lastMs, this.#random);
    if (deadline !== undefined && this.#clock.now() + delayMs >= deadline) {
      this.#metrics.policyRetryDenied(this.name, 'deadline');
      return undefined;
    }
    if (retry.budget?.take() === false) {
      this.#metrics.policyRetryDenied(this.name, 'budget');
      return undefined;
    }
    this.#metrics.policyRetried(this.name);
    return delayMs;
  }

  /** One attempt: a place in the bulkhead, then the breaker's leave, then the function. */
  async #attempted<T>(call: Call<T>, number: number): Promise<T> {
    const bulkhead = this.#bulkhead;
    const breaker = this.#breaker;
    if (bulkhead?.tryEnter() === false) await this.#inLine(bulkhead, call);
    this.#running += 1;
    try {
      if (breaker === undefined) return await this.#called(call, number);
      if (breaker.state !== CircuitState.Closed) return await this.#tried(breaker, call, number);
      const result = await this.#called(call, number);
      // The library's own way to tell a success costs more than all the rest.
      this.#rule?.success(CircuitState.Closed);
      return result;
    } catch (thrown) {
      const error = orCallerGone(thrown, call);
      if (breaker?.state !== CircuitState.Closed) throw error;
      return await breaker.execute(() => Promise.reject(error as Error));
    } finally {
      this.#running -= 1;
      bulkhead?.leave();
    }
  }

  async #inLine<T>(bulkhead: Bulkhead, { signal, deadline }: Call<T>): Promise<void> {
    if (bulkhead.full) throw new BulkheadFullError(this.name, bulkhead.maxConcurrent, bulkhead.queued);
    if (deadline !== undefined) this.#leftMs(deadline);
    if (signal === undefined) return bulkhead.wait(deadline);
    let aborted: (() => void) | undefined;
    try {
      await bulkhead.wait(deadline, (leave) => {
        aborted = () => leave(new CallerGone());
        signal.addEventListener('abort', aborted, { once: true });
      });
    } finally {
      if (aborted !== undefined) signal.removeEventListener('abort', aborted);
    }
  }

  /** A call while the breaker is not closed: the trial, or refused. */
  async #tried<T>(breaker: CircuitBreakerPolicy, call: Call<T>, number: number): Promise<T> {
    // The library lets others wait for the trial call; here they are refused like while it was open.
    if (breaker.state === CircuitState.HalfOpen) throw this.#openError();
    try {
      return await breaker.execute(async () => {
        try {
          return await this.#called(call, number);
        } catch (error) {
          throw orCallerGone(error, call);
        }
      }, call.signal);
    } catch (error) {
      throw error instanceof BrokenCircuitError ? this.#openError() : error;
    }
  }

  #called<T>(call: Call<T>, number: number): Promise<T> {
    const { fn, signal = neverAborted, deadline } = call;
    const leftMs = deadline === undefined ? Infinity : this.#leftMs(deadline);
    if (this.#timeout !== undefined) return this.#timed(call, number, leftMs, this.#timeout);
    return fn(deadline === undefined ? { signal, number } : { signal, number, deadline });
  }

  async #timed<T>(
    { fn, signal, deadline }: Call<T>,
    number: number,
    leftMs: number,
    timeoutPolicy: TimeoutPolicy,
  ): Promise<T> {
    const limitMs = this.options.timeoutMs === false ? 0 : this.options.timeoutMs;
    let stopped: AbortSignal | undefined;
    try {
      return await (leftMs < limitMs ? timeoutAfter(leftMs) : timeoutPolicy).execute((context) => {
        stopped = context.signal;
        return fn({ signal: context.signal, number, ...(deadline !== undefined && { deadline }) });
      }, signal);
    } catch (error) {
      // A function that heeds the signal may fail with an abort error of its own before the time-out is told.
      if (signal?.aborted === true || stopped?.aborted !== true) throw error;
      const cause = error instanceof TaskCancelledError ? undefined : error;
      if (leftMs < limitMs) throw new DeadlineExceededError(this.name, leftMs, cause);
      throw new PolicyTimeoutError(this.name, limitMs, cause);
    }
  }

  /** Throws when there is no time left: what cannot end in time is not begun. */
  #leftMs(deadline: number): number {
    const leftMs = deadline - this.#clock.now();
    if (leftMs <= 0) throw new DeadlineExceededError(this.name, 0);
    return leftMs;
  }

  #mayFallBack<T>(error: unknown, deadline: number | undefined, fallback: Fallback<T>): boolean {
    const until = fallback.deadline ?? deadline;
    if (until !== undefined && this.#clock.now() >= until) return false;
    if (fallback.when !== undefined) return fallback.when(error);
    return error instanceof DeadlineExceededError || this.#isFailure(error);
  }

  #isFailure(error: unknown): boolean {
    const { isFailure } = this.options;
    return isFailure === undefined ? !advisesNever(error) : isFailure(error) === true;
  }

  /** An attempt that had less than half of its time says more about its caller than about the called side. */
  #tellsNothing(error: unknown): boolean {
    if (error instanceof CallerGone) return true;
    const { timeoutMs, isFailure } = this.options;
    if (error instanceof DeadlineExceededError) return timeoutMs === false || error.hadMs * 2 < timeoutMs;
    return isFailure !== undefined && isFailure(error) === undefined;
  }

  #speaksAgainst(error: unknown): boolean {
    return error instanceof DeadlineExceededError || this.#isFailure(error);
  }

  #makeBreaker(options: ResolvedBreakerOptions, rule: IBreaker): CircuitBreakerPolicy {
    const breaker: CircuitBreakerPolicy = circuitBreaker(
      // Nothing is known of a call whose caller left, or waited too short; a trial that ends so must not close the breaker.
      handleWhen((error) =>
        this.#tellsNothing(error) ? breaker.state === CircuitState.HalfOpen : this.#speaksAgainst(error),
      ),
      { halfOpenAfter: options.halfOpenAfterMs, breaker: rule },
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
    if (error instanceof DeadlineExceededError) return 'deadline';
    if (error instanceof BreakerOpenError) return 'breaker-open';
    if (error instanceof BulkheadFullError) return 'bulkhead-full';
    return this.#isFailure(error) ? 'failed' : 'refused';
  }
}

/** Inside the policy: the caller's signal aborted. The caller gets the signal's reason. */
class CallerGone extends Error {}

function ruleOf(options: ResolvedBreakerOptions): IBreaker {
  return options.trips === 'consecutive'
    ? new ConsecutiveBreaker(options.consecutiveFailures)
    : new CountBreaker({
        threshold: options.threshold,
        size: options.overCalls,
        minimumNumberOfCalls: options.leastCalls,
      });
}

function orCallerGone<T>(error: unknown, { signal }: Call<T>): unknown {
  return signal?.aborted === true ? new CallerGone() : error;
}

// The signal stays as it is after a success: a response whose body is read later is not cut off.
function timeoutAfter(ms: number): TimeoutPolicy {
  return timeout(ms, { strategy: TimeoutStrategy.Aggressive, abortOnReturn: false });
}

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
