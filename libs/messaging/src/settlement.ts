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

/** How many ack waits a message is waited with whose handler says `not-yet`. */
const ACK_WAITS = 3;

/**
 * How long a message waits for what its handler misses, in milliseconds: whoever was killed with it holds it for one ack
 * wait, and may be killed once more. It follows from the ack wait of the consumer as the server has it, so that neither
 * can be changed without the other.
 */
export function patienceMs(ackWaitMs: number): number {
  return ACK_WAITS * ackWaitMs;
}

/** The delay before try number `attempt` + 1 of a message that is waited with: growing, up to a third of an ack wait. */
export function waitingDelayMs(
  attempt: number,
  ackWaitMs: number,
  backoff: BackoffOptions,
  random: () => number = Math.random,
): number {
  const maxMs = Math.min(backoff.maxMs, ackWaitMs / 3);
  return Math.max(1, backoffDelayMs(attempt, { ...backoff, maxMs }, random));
}

/** Whether a handler says that it is too early: its message depends on something that has not arrived. */
export function saysNotYet(error: unknown): boolean {
  return adviceOf(error) === 'not-yet';
}

function isFinal(error: unknown): boolean {
  return adviceOf(error) === 'never';
}

function adviceOf(error: unknown): unknown {
  return typeof error === 'object' && error !== null && 'retry' in error ? error.retry : undefined;
}
