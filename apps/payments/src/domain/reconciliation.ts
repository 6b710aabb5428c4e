import type { Money } from '@flotilla/contracts-money';
import type { Payment } from './payment.ts';

/** A payment as our books have it. */
export interface OurRecord {
  readonly status: Payment['status'];
  readonly amount: Money | undefined;
  readonly reference: string | undefined;
  readonly refundedMinor: number;
  /** The provider was asked for something, and its answer is not written down yet. */
  readonly underWay: boolean;
}

/** A payment as the provider's books have it. */
export interface TheirRecord {
  readonly reference: string;
  readonly status: 'authorised' | 'captured' | 'voided';
  readonly amount: Money;
  readonly refundedMinor: number;
}

/** How the two differ: the first thing that does. */
export type DifferenceKind =
  'unknown-to-us' | 'unknown-to-provider' | 'reference' | 'status' | 'amount' | 'refunded';

/** What our status means to the provider; undefined: it has nothing to do with it. */
const theirStatus: Readonly<Record<Payment['status'], TheirRecord['status'] | undefined>> = {
  pending: undefined,
  declined: undefined,
  forestalled: undefined,
  authorised: 'authorised',
  captured: 'captured',
  refunded: 'captured',
  voided: 'voided',
};

/** How the two books differ about one order; undefined when they agree, or when it is under way. */
export function differenceOf(
  ours: OurRecord | undefined,
  theirs: TheirRecord | undefined,
): DifferenceKind | undefined {
  if (ours?.underWay === true) return undefined;
  const expected = ours && theirStatus[ours.status];
  if (theirs === undefined) return expected === undefined ? undefined : 'unknown-to-provider';
  if (ours === undefined || expected === undefined) return 'unknown-to-us';
  if (ours.reference !== theirs.reference) return 'reference';
  if (expected !== theirs.status) return 'status';
  if (ours.amount?.amountMinor !== theirs.amount.amountMinor) return 'amount';
  if (ours.amount.currency !== theirs.amount.currency) return 'amount';
  if (ours.refundedMinor !== theirs.refundedMinor) return 'refunded';
  return undefined;
}
