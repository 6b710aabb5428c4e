import type { Money } from '@flotilla/contracts-money';
import { FlotillaError } from '@flotilla/kernel';
import { posting, type Posting } from './ledger.ts';

/** Why the money was not blocked. */
export type RefusalReason = 'declined' | 'insufficient_funds' | 'unknown_token' | 'provider_unavailable';

interface Identity {
  readonly id: string;
  readonly orderId: string;
  /** Counts the changes: whoever changes a payment names the version it decided on. */
  readonly version: number;
}

/** The provider is being asked. */
export interface PendingPayment extends Identity {
  readonly status: 'pending';
  readonly amount: Money;
}

/** A capture or void that the provider is being asked for, under this idempotency key. */
export interface InFlight {
  readonly operation: 'capture' | 'void';
  readonly key: string;
}

export interface AuthorisedPayment extends Identity {
  readonly status: 'authorised';
  readonly amount: Money;
  /** The provider's name for the authorisation. */
  readonly reference: string;
  readonly inFlight: InFlight | undefined;
}

export interface DeclinedPayment extends Identity {
  readonly status: 'declined';
  readonly amount: Money;
  readonly reason: RefusalReason;
}

/** Captured, and perhaps refunded in part (`captured`) or in full (`refunded`). */
export interface CapturedPayment extends Identity {
  readonly status: 'captured' | 'refunded';
  readonly amount: Money;
  readonly reference: string;
  readonly refundedMinor: number;
  /** Of refunds that the provider is being asked for. */
  readonly refundingMinor: number;
}

export interface VoidedPayment extends Identity {
  readonly status: 'voided';
  readonly amount: Money;
  readonly reference: string;
}

/** Voided before it was authorised: nothing was ever blocked, and nothing ever will be. */
export interface ForestalledPayment extends Identity {
  readonly status: 'forestalled';
  /** Known if the void found the authorisation under way. */
  readonly amount: Money | undefined;
}

export type Payment =
  PendingPayment | AuthorisedPayment | DeclinedPayment | CapturedPayment | VoidedPayment | ForestalledPayment;

/** What happened, for those outside. */
export type PaymentFact =
  | { readonly fact: 'authorised' | 'captured' | 'voided'; readonly amount: Money }
  | { readonly fact: 'declined'; readonly amount: Money; readonly reason: RefusalReason }
  | {
      readonly fact: 'refunded';
      readonly amount: Money;
      readonly refundKey: string;
      readonly reason: string;
      /** What went back until then, this included. */
      readonly total: Money;
    };

/** One step of a payment: recorded as a whole or not at all. */
export interface Change<P extends Payment = Payment> {
  readonly before: Payment;
  readonly after: P;
  readonly posting?: Posting;
  readonly fact?: PaymentFact;
}

/** A refund as it was begun. */
export interface Refund {
  readonly refundKey: string;
  readonly amount: Money;
  readonly reason: string;
}

/** Thrown when a payment is asked for a step that its state does not allow. Code `PAYMENT_TRANSITION_REFUSED`. */
export class PaymentTransitionError extends FlotillaError {
  constructor(payment: Payment, to: string) {
    super(
      'PAYMENT_TRANSITION_REFUSED',
      `Payment ${payment.id} of order ${payment.orderId} cannot go from ${describe(payment)} to ${to}`,
      { retry: 'never' },
    );
  }
}

/** Thrown when more would be refunded than was captured. Code `REFUND_EXCEEDS_CAPTURED`. */
export class RefundExceedsCapturedError extends FlotillaError {
  readonly refundable: Money;

  constructor(payment: CapturedPayment, askedMinor: number, refundable: Money) {
    super(
      'REFUND_EXCEEDS_CAPTURED',
      `Order ${payment.orderId}: ${askedMinor} ${payment.amount.currency} (minor units) cannot be refunded, ` +
        `${refundable.amountMinor} is left of what was captured`,
      { retry: 'never' },
    );
    this.refundable = refundable;
  }
}

/** Thrown when an amount is negative, or not in the payment's currency. Code `PAYMENT_AMOUNT_REFUSED`. */
export class PaymentAmountError extends FlotillaError {
  constructor(orderId: string, { amountMinor, currency }: Money, why: string) {
    super('PAYMENT_AMOUNT_REFUSED', `Order ${orderId}: ${amountMinor} ${currency} (minor units) ${why}`, {
      retry: 'never',
    });
  }
}

/** The idempotency key of an order's one authorisation. */
export function authorisationKey(orderId: string): string {
  return `${orderId}:authorise`;
}

/** The idempotency key of a refund. */
export function refundOperationKey(orderId: string, refundKey: string): string {
  return `${orderId}:refund:${refundKey}`;
}

/** A payment that the provider is about to be asked for. */
export function openPayment(id: string, orderId: string, amount: Money): PendingPayment {
  if (amount.amountMinor < 0)
    throw new PaymentAmountError(orderId, amount, 'is negative: a payment takes money');
  return { status: 'pending', id, orderId, version: 1, amount };
}

/** A void that came before its payment. */
export function forestallPayment(id: string, orderId: string): ForestalledPayment {
  return { status: 'forestalled', id, orderId, version: 1, amount: undefined };
}

/** The provider blocked the amount. */
export function authorise(payment: Payment, reference: string): Change<AuthorisedPayment> {
  if (payment.status !== 'pending') throw new PaymentTransitionError(payment, 'authorised');
  const { amount } = payment;
  return {
    before: payment,
    after: { ...next(payment), status: 'authorised', amount, reference, inFlight: undefined },
    posting: posting('authorise', payment.id, amount),
    fact: { fact: 'authorised', amount },
  };
}

/** The provider refused, or can never accept any more. */
export function decline(payment: Payment, reason: RefusalReason): Change<DeclinedPayment> {
  if (payment.status !== 'pending') throw new PaymentTransitionError(payment, 'declined');
  const { amount } = payment;
  return {
    before: payment,
    after: { ...next(payment), status: 'declined', amount, reason },
    fact: { fact: 'declined', amount, reason },
  };
}

/** The payment was voided while the provider was being asked, and the provider promised never to accept it. */
export function forestall(payment: Payment): Change<ForestalledPayment> {
  if (payment.status !== 'pending') throw new PaymentTransitionError(payment, 'forestalled');
  return { before: payment, after: { ...next(payment), status: 'forestalled', amount: payment.amount } };
}

/**
 * The provider is going to be asked. Each beginning has a key of its own (the version is in it), because a key
 * that was given up is dead at the provider for ever.
 */
export function begin(payment: Payment, operation: InFlight['operation']): Change<AuthorisedPayment> {
  if (payment.status !== 'authorised' || payment.inFlight) {
    throw new PaymentTransitionError(payment, operation === 'capture' ? 'being captured' : 'being voided');
  }
  const key = `${payment.orderId}:${operation}:${payment.version}`;
  return { before: payment, after: { ...payment, ...next(payment), inFlight: { operation, key } } };
}

/** What the provider was being asked for did not happen, and now never will under that key. */
export function giveUp(payment: Payment): Change<AuthorisedPayment> {
  if (payment.status !== 'authorised' || !payment.inFlight)
    throw new PaymentTransitionError(payment, 'authorised');
  return { before: payment, after: { ...payment, ...next(payment), inFlight: undefined } };
}

/** The provider took the amount. */
export function capture(payment: Payment): Change<CapturedPayment> {
  if (payment.status !== 'authorised') throw new PaymentTransitionError(payment, 'captured');
  const { amount, reference } = payment;
  return {
    before: payment,
    after: { ...next(payment), status: 'captured', amount, reference, refundedMinor: 0, refundingMinor: 0 },
    posting: posting('capture', payment.id, amount),
    fact: { fact: 'captured', amount },
  };
}

/** The provider gave the authorisation up. */
export function voidAuthorisation(payment: Payment): Change<VoidedPayment> {
  if (payment.status !== 'authorised') throw new PaymentTransitionError(payment, 'voided');
  const { amount, reference } = payment;
  return {
    before: payment,
    after: { ...next(payment), status: 'voided', amount, reference },
    posting: posting('void', payment.id, amount),
    fact: { fact: 'voided', amount },
  };
}

/** What can still be refunded; refunds that are under way count as done. */
export function refundable(payment: CapturedPayment): Money {
  const { amount, refundedMinor, refundingMinor } = payment;
  return { amountMinor: amount.amountMinor - refundedMinor - refundingMinor, currency: amount.currency };
}

/** Sets an amount aside for a refund: `asked`, or the whole of what is left. */
export function beginRefund(
  payment: Payment,
  asked: Money | undefined,
): { readonly change: Change<CapturedPayment>; readonly amount: Money } {
  if (payment.status !== 'captured' && payment.status !== 'refunded') {
    throw new PaymentTransitionError(payment, 'refunded');
  }
  const left = refundable(payment);
  const amount = asked ?? left;
  if (asked && asked.amountMinor <= 0) {
    throw new PaymentAmountError(payment.orderId, asked, 'is no refund: it must be more than nothing');
  }
  if (amount.currency !== left.currency) {
    throw new PaymentAmountError(
      payment.orderId,
      amount,
      `is not in the currency of the payment, ${left.currency}`,
    );
  }
  // An order that cost nothing can be refunded too, so that cancelling it is like cancelling any other.
  const nothingLeft = left.amountMinor === 0 && payment.amount.amountMinor > 0;
  if (amount.amountMinor > left.amountMinor || nothingLeft) {
    throw new RefundExceedsCapturedError(payment, amount.amountMinor, left);
  }
  const refundingMinor = payment.refundingMinor + amount.amountMinor;
  return { amount, change: { before: payment, after: { ...payment, ...next(payment), refundingMinor } } };
}

/** The provider refused to give the amount back: it is free for another refund. */
export function giveUpRefund(payment: Payment, amount: Money): Change<CapturedPayment> {
  if (payment.status !== 'captured' && payment.status !== 'refunded') {
    throw new PaymentTransitionError(payment, 'captured');
  }
  const refundingMinor = payment.refundingMinor - amount.amountMinor;
  return { before: payment, after: { ...payment, ...next(payment), refundingMinor } };
}

/** The provider gave the amount back. */
export function finishRefund(
  payment: Payment,
  { amount, refundKey, reason }: Refund,
): Change<CapturedPayment> {
  if (payment.status !== 'captured' && payment.status !== 'refunded') {
    throw new PaymentTransitionError(payment, 'refunded');
  }
  const refundedMinor = payment.refundedMinor + amount.amountMinor;
  return {
    before: payment,
    after: {
      ...payment,
      ...next(payment),
      status: refundedMinor === payment.amount.amountMinor ? 'refunded' : 'captured',
      refundedMinor,
      refundingMinor: payment.refundingMinor - amount.amountMinor,
    },
    posting: posting('refund', payment.id, amount, refundKey),
    fact: {
      fact: 'refunded',
      amount,
      refundKey,
      reason,
      total: { amountMinor: refundedMinor, currency: amount.currency },
    },
  };
}

/** The state as others are told it: forestalled is how we remember a void. */
export function publicStatus({ status }: Payment): Exclude<Payment['status'], 'forestalled'> {
  return status === 'forestalled' ? 'voided' : status;
}

function next({ id, orderId, version }: Identity): Identity {
  return { id, orderId, version: version + 1 };
}

function describe(payment: Payment): string {
  return payment.status === 'authorised' && payment.inFlight
    ? `authorised (${payment.inFlight.operation} under way)`
    : payment.status;
}
