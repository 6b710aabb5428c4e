import type { Money } from '@flotilla/contracts-money';

/** One authorisation as the provider has it now. */
export interface StatementLine {
  /** The key that it was asked for with. */
  readonly key: string;
  readonly reference: string;
  readonly status: 'authorised' | 'captured' | 'voided';
  readonly amount: Money;
  readonly refundedMinor: number;
}

/**
 * What the provider says it did, for comparing its books with ours: the authorisations that it granted, and what
 * became of them. An abstract class, so that it is its own injection token.
 */
export abstract class ProviderStatement {
  /** A page in the provider's own order, after the key of the page before; an empty one is the end. */
  abstract page(
    after: string | undefined,
    limit: number,
    signal: AbortSignal,
  ): Promise<readonly StatementLine[]>;

  /** The lines of these keys; those that it granted nothing for are left out. */
  abstract lines(keys: readonly string[], signal: AbortSignal): Promise<readonly StatementLine[]>;
}
