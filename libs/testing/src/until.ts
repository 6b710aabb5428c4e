import { FlotillaError, errorMessage, systemClock } from '@flotilla/kernel';

export interface UntilOptions {
  /** How long to wait at most. Default 10,000 ms. */
  readonly timeoutMs?: number;
  /** The pause between two attempts. Default 10 ms. */
  readonly intervalMs?: number;
  /** What is waited for, for the error: "three orders are completed". */
  readonly describe?: string;
}

/** Thrown when {@link until} ran out of time. Code `UNTIL_TIMED_OUT`. */
export class UntilTimedOutError extends FlotillaError {
  constructor(message: string, options: { cause?: unknown }) {
    super('UNTIL_TIMED_OUT', message, options);
  }
}

/** What a condition may answer to say "not yet". */
export type NotYet = false | null | undefined;

/**
 * Asks `condition` again and again until it answers something else than false, null or undefined, and
 * returns that. An error it throws counts as "not yet". When the time is up, throws
 * {@link UntilTimedOutError} with the last answer or error; an attempt that is still under way is not waited for.
 */
export async function until<T>(
  condition: () => T | NotYet | Promise<T | NotYet>,
  options: UntilOptions = {},
): Promise<T> {
  const { timeoutMs = 10_000, intervalMs = 10, describe = 'the condition' } = options;
  const start = systemClock.monotonicMs();
  let attempts = 0;
  let last = 'no attempt ended';
  let cause: unknown;
  const outOfTime = (): UntilTimedOutError =>
    new UntilTimedOutError(
      `Waited ${timeoutMs} ms until ${describe}; it did not happen. After ${attempts} attempts: ${last}.`,
      cause === undefined ? {} : { cause },
    );
  for (;;) {
    const left = timeoutMs - (systemClock.monotonicMs() - start);
    if (left <= 0 && attempts > 0) throw outOfTime();
    let answer: { readonly value: T | NotYet } | 'late';
    try {
      answer = await within(Promise.resolve(condition()), Math.max(left, 1));
    } catch (error) {
      attempts += 1;
      cause = error;
      last = `the last one threw ${errorMessage(error)}`;
      await systemClock.sleep(intervalMs);
      continue;
    }
    if (answer === 'late') throw outOfTime();
    attempts += 1;
    if (answer.value !== false && answer.value !== null && answer.value !== undefined) return answer.value;
    cause = undefined;
    last = `the last answer was ${String(answer.value)}`;
    await systemClock.sleep(intervalMs);
  }
}

async function within<V>(promise: Promise<V>, timeoutMs: number): Promise<{ readonly value: V } | 'late'> {
  const stop = new AbortController();
  const late = systemClock.sleep(timeoutMs, stop.signal).then(() => 'late' as const);
  try {
    return await Promise.race([promise.then((value) => ({ value })), late]);
  } finally {
    stop.abort();
  }
}
