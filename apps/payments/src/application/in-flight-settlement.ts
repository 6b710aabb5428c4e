import { FlotillaError } from '@flotilla/kernel';
import { UnitOfWork } from '@flotilla/persistence';
import { Injectable } from '@nestjs/common';
import {
  authorisationKey,
  authorise,
  capture,
  decline,
  forestall,
  giveUp,
  voidAuthorisation,
  type AuthorisedPayment,
  type Change,
  type Payment,
  type PendingPayment,
} from '../domain/payment.ts';
import { Payments } from '../persistence/payments.ts';
import type { ProviderAnswer } from '../provider/payment-provider.ts';
import { ProviderClient } from '../provider/provider-client.ts';
import { paymentUnit } from './payment-unit.ts';

/** An authorised payment with a capture or void under way. */
export type PaymentInFlight = AuthorisedPayment & {
  readonly inFlight: NonNullable<AuthorisedPayment['inFlight']>;
};

/**
 * Thrown when the provider refuses what our books say is possible. A person has to compare the two; until then the
 * message is in the dead letters. Code `PROVIDER_REFUSED`.
 */
export class ProviderRefusedError extends FlotillaError {
  constructor(what: string, orderId: string, reason: string) {
    super(
      'PROVIDER_REFUSED',
      `The payment provider refused to ${what} the payment of order ${orderId}: ${reason}. ` +
        'Its books and ours differ: compare them for this order, then replay the message',
      { retry: 'never' },
    );
  }
}

/** Brings what the provider was asked for to a known end, also when another command, or a dead process, asked. */
@Injectable()
export class InFlightSettlement {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly payments: Payments,
    private readonly provider: ProviderClient,
  ) {}

  /** Writes down what the provider answered to the capture or void under way. */
  async finish(payment: PaymentInFlight, answer: ProviderAnswer): Promise<Payment> {
    const settled = await this.#record(changeFor(payment, answer));
    if (answer.outcome === 'refused') {
      throw new ProviderRefusedError(payment.inFlight.operation, payment.orderId, answer.reason);
    }
    return settled;
  }

  /** Makes sure that the capture or void under way has either happened or never will. */
  async withdraw(payment: PaymentInFlight): Promise<Payment> {
    return this.finish(payment, await this.provider.cancel(payment.inFlight.key));
  }

  /** Makes sure that the authorisation under way has either been decided or never will be. */
  async withdrawAuthorisation(payment: PendingPayment): Promise<Payment> {
    const answer = await this.provider.cancel(authorisationKey(payment.orderId));
    if (answer.outcome === 'authorised') return this.#record(authorise(payment, answer.reference));
    if (answer.outcome === 'declined') return this.#record(decline(payment, answer.reason));
    return this.#record(forestall(payment));
  }

  /** Answers the payment as it is then: somebody else may have been first. */
  #record(change: Change): Promise<Payment> {
    return this.unitOfWork.run(() => this.payments.record(change), paymentUnit(change.before.orderId));
  }
}

/** Whether a capture or void of the payment is under way. */
export function isInFlight(payment: AuthorisedPayment): payment is PaymentInFlight {
  return payment.inFlight !== undefined;
}

function changeFor(payment: PaymentInFlight, { outcome }: ProviderAnswer): Change {
  if (outcome === 'captured') return capture(payment);
  if (outcome === 'voided') return voidAuthorisation(payment);
  return giveUp(payment);
}
