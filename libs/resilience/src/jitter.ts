import { backoffDelayMs } from '@flotilla/kernel';

/**
 * How the delays before retries are spread, so that calls which failed together do not return together:
 *
 * - `equal`: half of the exponential delay is fixed, half random. Never at once: for a dependency that needs a moment.
 * - `full`: anything between nothing and the exponential delay. Spreads best and waits least on average: for many
 *   callers of one dependency that is overloaded, and for callers in a hurry.
 * - `decorrelated`: between the first delay and three times the last one. Grows less regularly than the others, so that
 *   callers drift apart over many attempts.
 *
 * See "Exponential Backoff And Jitter" in the AWS Architecture Blog.
 */
export type Jitter = 'equal' | 'full' | 'decorrelated';

export const JITTERS: readonly Jitter[] = ['equal', 'full', 'decorrelated'];

/** The delay before retry number `attempt` (1 is the first); `lastMs` is the delay before the one before, if any. */
export function retryDelayMs(
  attempt: number,
  options: { readonly initialMs: number; readonly maxMs: number; readonly jitter: Jitter },
  lastMs: number | undefined,
  random: () => number,
): number {
  const { initialMs, maxMs, jitter } = options;
  switch (jitter) {
    case 'equal':
      return backoffDelayMs(attempt, options, random);
    case 'full':
      return Math.round(random() * Math.min(maxMs, initialMs * 2 ** (attempt - 1)));
    case 'decorrelated': {
      const upTo = Math.max(initialMs, (lastMs ?? initialMs) * 3);
      return Math.round(Math.min(maxMs, initialMs + random() * (upTo - initialMs)));
    }
  }
}
