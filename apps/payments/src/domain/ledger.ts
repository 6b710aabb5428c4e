import type { Money } from '@flotilla/contracts-money';
import { deterministicId } from '@flotilla/kernel';

/**
 * The accounts. An authorisation blocks money that is not ours yet, so it lives in two memorandum accounts that
 * only it moves; captured money is what the provider owes us (`provider_clearing`) for what was sold.
 */
export type Account =
  'customer_authorised' | 'authorisation_hold' | 'provider_clearing' | 'sales' | 'refunds';

export type Direction = 'debit' | 'credit';

export interface LedgerEntry {
  readonly account: Account;
  readonly direction: Direction;
  readonly amountMinor: number;
}

export type PostingKind = 'authorise' | 'capture' | 'void' | 'refund';

/** One balanced transaction of the ledger. Its id follows from its cause, so that it can be posted only once. */
export interface Posting {
  readonly transactionId: string;
  readonly kind: PostingKind;
  readonly currency: string;
  readonly entries: readonly LedgerEntry[];
}

type Move = readonly [debit: Account, credit: Account];

const moves: Readonly<Record<PostingKind, readonly Move[]>> = {
  authorise: [['customer_authorised', 'authorisation_hold']],
  void: [['authorisation_hold', 'customer_authorised']],
  capture: [
    ['authorisation_hold', 'customer_authorised'],
    ['provider_clearing', 'sales'],
  ],
  refund: [['refunds', 'provider_clearing']],
};

/** The posting of one step of a payment; without entries if no money moves. `cause` tells refunds apart. */
export function posting(kind: PostingKind, paymentId: string, amount: Money, cause = ''): Posting {
  const { amountMinor, currency } = amount;
  return {
    transactionId: deterministicId('ledger', paymentId, kind, cause),
    kind,
    currency,
    entries:
      amountMinor === 0
        ? []
        : moves[kind].flatMap(([debit, credit]): LedgerEntry[] => [
            { account: debit, direction: 'debit', amountMinor },
            { account: credit, direction: 'credit', amountMinor },
          ]),
  };
}
