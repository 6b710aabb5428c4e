import type { Money } from '@flotilla/contracts-money';

/** What the provider decided about a request, once and for all, under the request's key. */
export type ProviderAnswer =
  | { readonly outcome: 'authorised'; readonly reference: string }
  | { readonly outcome: 'declined'; readonly reason: ProviderDeclineReason }
  | { readonly outcome: 'captured' | 'voided' | 'refunded' }
  /** The authorisation is not in a state that allows it; `reason` says which. */
  | { readonly outcome: 'refused'; readonly reason: string }
  /** The key was cancelled before a request with it came. */
  | { readonly outcome: 'cancelled' };

export type ProviderDeclineReason = 'declined' | 'insufficient_funds' | 'unknown_token';

interface ProviderRequest {
  /** Asked again with the same key, the provider does nothing and answers as before. */
  readonly key: string;
}

export interface AuthoriseRequest extends ProviderRequest {
  readonly token: string;
  readonly amount: Money;
}

export interface SettleRequest extends ProviderRequest {
  /** The authorisation, by the provider's own name for it. */
  readonly reference: string;
}

export interface RefundRequest extends SettleRequest {
  readonly amount: Money;
}

/**
 * The company that moves the money. A call that rejects, or that `signal` ends, has an unknown outcome: ask for
 * it with `lookup`, and end all doubt with `cancel`. An abstract class, so that it is its own injection token.
 */
export abstract class PaymentProvider {
  abstract authorise(request: AuthoriseRequest, signal: AbortSignal): Promise<ProviderAnswer>;
  abstract capture(request: SettleRequest, signal: AbortSignal): Promise<ProviderAnswer>;
  abstract void(request: SettleRequest, signal: AbortSignal): Promise<ProviderAnswer>;
  abstract refund(request: RefundRequest, signal: AbortSignal): Promise<ProviderAnswer>;

  /** What was decided under this key; undefined: no request with it has arrived, yet. */
  abstract lookup(key: string, signal: AbortSignal): Promise<ProviderAnswer | undefined>;

  /**
   * Kills the key: a request with it that arrives later is answered `cancelled` and does nothing. If a request
   * arrived before, this changes nothing and answers what was decided then.
   */
  abstract cancel(key: string, signal: AbortSignal): Promise<ProviderAnswer>;
}
