import { errorMessage, FlotillaError, formatDurationMs } from '@flotilla/kernel';

/** Thrown when a policy's options make no sense; `problems` has them all. */
export class InvalidPolicyOptionsError extends FlotillaError {
  readonly policy: string;
  readonly problems: readonly string[];

  constructor(policy: string, problems: readonly string[]) {
    super('INVALID_POLICY_OPTIONS', `Policy "${policy}" cannot be made: ${problems.join('; ')}`, {
      retry: 'never',
    });
    this.policy = policy;
    this.problems = problems;
  }
}

/** Thrown when a registry is asked for a second policy of the same name. */
export class DuplicatePolicyError extends FlotillaError {
  readonly policy: string;

  constructor(policy: string) {
    super(
      'DUPLICATE_POLICY',
      `A policy "${policy}" exists already: share it, or give this one a name of its own`,
      { retry: 'never' },
    );
    this.policy = policy;
  }
}

/** Thrown at once, without calling, while a breaker is open or its trial call runs. */
export class BreakerOpenError extends FlotillaError {
  readonly policy: string;
  /** When the next trial call is allowed; 0 if one is running now. */
  readonly retryAfterMs: number;

  constructor(policy: string, retryAfterMs: number, lastFailure: unknown) {
    super(
      'BREAKER_OPEN',
      `Policy "${policy}" refuses calls: its breaker is open, ${
        retryAfterMs > 0
          ? `the next trial is in ${formatDurationMs(retryAfterMs)}`
          : 'a trial call is running'
      } (last failure: ${errorMessage(lastFailure)})`,
      { cause: lastFailure },
    );
    this.policy = policy;
    this.retryAfterMs = retryAfterMs;
  }
}

/** Thrown at once when all places and the whole queue of a bulkhead are taken. */
export class BulkheadFullError extends FlotillaError {
  readonly policy: string;
  readonly maxConcurrent: number;
  readonly queue: number;

  constructor(policy: string, maxConcurrent: number, queue: number) {
    super(
      'BULKHEAD_FULL',
      `Policy "${policy}" refuses calls: ${maxConcurrent} are running and ${queue} are waiting; call less often or raise bulkhead.maxConcurrent`,
    );
    this.policy = policy;
    this.maxConcurrent = maxConcurrent;
    this.queue = queue;
  }
}

/** Thrown when an attempt took longer than allowed. Whether it had an effect is unknown. */
export class PolicyTimeoutError extends FlotillaError {
  readonly policy: string;
  readonly timeoutMs: number;

  constructor(policy: string, timeoutMs: number, cause?: unknown) {
    super(
      'POLICY_TIMEOUT',
      `A call through policy "${policy}" did not end within ${timeoutMs} ms; it was told to stop, and what it did so far is unknown`,
      { cause },
    );
    this.policy = policy;
    this.timeoutMs = timeoutMs;
  }
}

/** Thrown when a call cannot be made, or did not end, before the moment at which its caller stops waiting. */
export class DeadlineExceededError extends FlotillaError {
  readonly policy: string;
  /** How long the last attempt had, in milliseconds; 0: it was not begun. */
  readonly hadMs: number;

  constructor(policy: string, hadMs: number, cause?: unknown) {
    super(
      'DEADLINE_EXCEEDED',
      hadMs > 0
        ? `A call through policy "${policy}" did not end in the ${Math.round(hadMs)} ms that its caller still waited; what it did so far is unknown`
        : `A call through policy "${policy}" was not made: its caller no longer waits`,
      { cause, retry: 'never' },
    );
    this.policy = policy;
    this.hadMs = hadMs;
  }
}

/** Thrown for health when breakers are not closed; names them all. */
export class BreakersOpenError extends FlotillaError {
  readonly policies: readonly string[];

  constructor(policies: readonly { readonly name: string; readonly cause: unknown }[]) {
    super(
      'BREAKERS_OPEN',
      `Breakers are open: ${policies
        .map(({ name, cause }) => `${name} (last failure: ${errorMessage(cause)})`)
        .join(', ')}`,
    );
    this.policies = policies.map(({ name }) => name);
  }
}
