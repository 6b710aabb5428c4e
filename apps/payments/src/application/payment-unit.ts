import type { RunOptions } from '@flotilla/persistence';

/** A unit of work on one payment: it touches rows of its order only, so it overlaps with those of other orders. */
export function paymentUnit(orderId: string): RunOptions {
  return { key: orderId, independent: true };
}
