import { backoffDelayMs, type BackoffOptions } from '@flotilla/kernel';

/** What becomes of a message whose handler threw. */
export type Settlement =
  { readonly kind: 'retry'; readonly delayMs: number } | { readonly kind: 'dead-letter' };

export interface SettlementOptions {
  readonly maxAttempts: number;
  readonly backoff: BackoffOptions;
}

/**
 * The one place where an error is turned into another delivery or a dead letter: an error that says `retry: 'never'`
 * ends it, else attempts go on with growing delays until there were `maxAttempts`.
 */
export function settlementOf(
  error: unknown,
  attempt: number,
  options: SettlementOptions,
  random: () => number = Math.random,
): Settlement {
  if (isFinal(error) || attempt >= options.maxAttempts) return { kind: 'dead-letter' };
  return { kind: 'retry', delayMs: Math.max(1, backoffDelayMs(attempt, options.backoff, random)) };
}

function isFinal(error: unknown): boolean {
  return typeof error === 'object' && error !== null && 'retry' in error && error.retry === 'never';
}
