import { errorMessage, systemClock } from '@flotilla/kernel';
import { ChaosTimeoutError } from './chaos.errors.ts';

export interface WaitOptions {
  readonly timeoutMs: number;
  readonly everyMs?: number;
  /** What is waited for, for the error. */
  readonly describe: string;
  readonly signal?: AbortSignal;
}

/**
 * Asks again and again until the answer is not undefined or false. An error counts as "not yet": while servers are
 * killed, questions fail. Throws {@link ChaosTimeoutError} with the last answer.
 */
export async function waitFor<T>(
  question: () => Promise<T | false | undefined> | T | false | undefined,
  { timeoutMs, everyMs = 100, describe, signal }: WaitOptions,
): Promise<T> {
  const startMs = systemClock.monotonicMs();
  for (;;) {
    let last: string;
    try {
      const answer = await question();
      if (answer !== undefined && answer !== false) return answer;
      last = 'the last answer was "not yet"';
    } catch (error) {
      last = `the last one failed: ${errorMessage(error)}`;
    }
    signal?.throwIfAborted();
    if (systemClock.monotonicMs() - startMs > timeoutMs)
      throw new ChaosTimeoutError(describe, timeoutMs, last);
    await systemClock.sleep(everyMs, signal);
  }
}
