import { AuthorisePayment } from '@flotilla/contracts-payments';
import type { ReplyOf } from '@flotilla/contracts-protocol';
import { newId } from '@flotilla/kernel';
import { UnitOfWork } from '@flotilla/persistence';
import { OutsideUnitOfWork } from '@flotilla/service';
import { CommandHandler, type ICommandHandler } from '@nestjs/cqrs';
import {
  authorisationKey,
  authorise,
  decline,
  openPayment,
  PaymentAmountError,
  PaymentTransitionError,
  type Payment,
} from '../../domain/payment.ts';
import { Payments } from '../../persistence/payments.ts';
import { ProviderClient } from '../../provider/provider-client.ts';
import { paymentUnit } from '../payment-unit.ts';

@CommandHandler(AuthorisePayment)
@OutsideUnitOfWork()
export class AuthorisePaymentHandler implements ICommandHandler<AuthorisePayment> {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly payments: Payments,
    private readonly provider: ProviderClient,
  ) {}

  async execute({ payload }: AuthorisePayment): Promise<ReplyOf<AuthorisePayment>> {
    const { orderId, customerId, amount, token } = payload;
    const { opened, payment } = await this.unitOfWork.run(
      () => this.payments.open(openPayment(newId(), orderId, amount), customerId),
      paymentUnit(orderId),
    );
    if (payment.amount && !sameMoney(payment.amount, amount)) {
      throw new PaymentAmountError(
        orderId,
        amount,
        `is not what its payment was opened with, ${payment.amount.amountMinor} ${payment.amount.currency}`,
      );
    }
    if (payment.status !== 'pending') return answer(payment);

    const outcome = await this.provider.authorise(
      { key: authorisationKey(orderId), token, amount },
      // Somebody may have asked for it and died before writing the answer down.
      { askedBefore: !opened },
    );
    const change =
      outcome.outcome === 'authorised'
        ? authorise(payment, outcome.reference)
        : decline(payment, outcome.reason);
    return answer(await this.unitOfWork.run(() => this.payments.record(change), paymentUnit(orderId)));
  }
}

function answer(payment: Payment): ReplyOf<AuthorisePayment> {
  switch (payment.status) {
    case 'authorised':
    case 'captured':
    case 'refunded':
      return { paymentId: payment.id, amount: payment.amount };
    case 'declined':
      throw AuthorisePayment.failure(
        'PaymentDeclined',
        { reason: payment.reason },
        `The payment of order ${payment.orderId} was declined: ${payment.reason}`,
      );
    case 'voided':
    case 'forestalled':
      throw AuthorisePayment.failure(
        'AlreadyVoided',
        { orderId: payment.orderId },
        `The payment of order ${payment.orderId} was voided before it was authorised`,
      );
    case 'pending':
      throw new PaymentTransitionError(payment, 'answered');
  }
}

function sameMoney(
  a: { amountMinor: number; currency: string },
  b: { amountMinor: number; currency: string },
): boolean {
  return a.amountMinor === b.amountMinor && a.currency === b.currency;
}
