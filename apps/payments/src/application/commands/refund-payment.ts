import type { Money } from '@flotilla/contracts-money';
import { RefundPayment } from '@flotilla/contracts-payments';
import type { PayloadOf, ReplyOf } from '@flotilla/contracts-protocol';
import { FlotillaError } from '@flotilla/kernel';
import { UnitOfWork } from '@flotilla/persistence';
import { OutsideUnitOfWork } from '@flotilla/service';
import { CommandHandler, type ICommandHandler } from '@nestjs/cqrs';
import {
  beginRefund,
  finishRefund,
  giveUpRefund,
  publicStatus,
  RefundExceedsCapturedError,
  refundOperationKey,
  type CapturedPayment,
  type Payment,
} from '../../domain/payment.ts';
import { Payments, type StoredRefund } from '../../persistence/payments.ts';
import type { ProviderAnswer } from '../../provider/payment-provider.ts';
import { ProviderClient } from '../../provider/provider-client.ts';
import {
  InFlightSettlement,
  isInFlight,
  ProviderRefusedError,
  type PaymentInFlight,
} from '../in-flight-settlement.ts';
import { inRounds } from '../rounds.ts';
import { paymentUnit } from '../payment-unit.ts';

/** Thrown when one refund key is used for two amounts. Code `REFUND_KEY_REUSED`. */
export class RefundKeyReusedError extends FlotillaError {
  constructor(refundKey: string, before: Money, now: Money) {
    super(
      'REFUND_KEY_REUSED',
      `The refund "${refundKey}" was asked for with ${before.amountMinor} ${before.currency} before and with ` +
        `${now.amountMinor} ${now.currency} now (minor units): use another key for another refund`,
      { retry: 'never' },
    );
  }
}

type Begun =
  | { readonly refund: StoredRefund; readonly payment: CapturedPayment }
  | { readonly captureUnderWay: PaymentInFlight }
  | 'again';

@CommandHandler(RefundPayment)
@OutsideUnitOfWork()
export class RefundPaymentHandler implements ICommandHandler<RefundPayment> {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly payments: Payments,
    private readonly provider: ProviderClient,
    private readonly inFlight: InFlightSettlement,
  ) {}

  async execute({ payload }: RefundPayment): Promise<ReplyOf<RefundPayment>> {
    const { orderId } = payload;
    return inRounds(orderId, async () => {
      const begun = await this.unitOfWork.run(() => this.#begin(payload), paymentUnit(orderId));
      if (begun === 'again') return 'again';
      if ('captureUnderWay' in begun) {
        await this.inFlight.withdraw(begun.captureUnderWay);
        return 'again';
      }
      const { payment, refund } = begun;
      if (refund.status === 'refunded') return { refunded: refund.amount };
      if (refund.status === 'refused')
        throw new ProviderRefusedError('refund', orderId, 'it refused this refund before');

      const answer = await this.provider.refund({
        key: refundOperationKey(orderId, refund.refundKey),
        reference: payment.reference,
        amount: refund.amount,
      });
      const settled = await inRounds(orderId, () =>
        this.unitOfWork.run(() => this.#finish(orderId, refund.refundKey, answer), paymentUnit(orderId)),
      );
      if (settled.status === 'refunded') return { refunded: settled.amount };
      throw new ProviderRefusedError('refund', orderId, 'reason' in answer ? answer.reason : answer.outcome);
    });
  }

  async #begin({ orderId, refundKey, amount: asked, reason }: PayloadOf<RefundPayment>): Promise<Begun> {
    const payment = await this.payments.find(orderId);
    if (payment?.status === 'authorised' && isInFlight(payment) && payment.inFlight.operation === 'capture') {
      return { captureUnderWay: payment };
    }
    if (payment?.status !== 'captured' && payment?.status !== 'refunded') throw notCaptured(orderId, payment);
    const known = await this.payments.findRefund(payment.id, refundKey);
    if (known) {
      const other =
        asked && (asked.amountMinor !== known.amount.amountMinor || asked.currency !== known.amount.currency);
      if (other) throw new RefundKeyReusedError(refundKey, known.amount, asked);
      return { payment, refund: known };
    }
    const { change, amount } = setAside(payment, asked);
    if ((await this.payments.record(change)) !== change.after) return 'again';
    const refund = { refundKey, amount, reason };
    await this.payments.addRefund(payment.id, refund);
    return { payment: change.after, refund: { ...refund, status: 'pending' } };
  }

  async #finish(
    orderId: string,
    refundKey: string,
    { outcome }: ProviderAnswer,
  ): Promise<StoredRefund | 'again'> {
    const payment = await this.payments.find(orderId);
    const refund = payment && (await this.payments.findRefund(payment.id, refundKey));
    if (!refund)
      throw new Error(`The refund "${refundKey}" of order ${orderId} is gone: refunds are never deleted`);
    if (refund.status !== 'pending') return refund;
    const change =
      outcome === 'refunded' ? finishRefund(payment, refund) : giveUpRefund(payment, refund.amount);
    if ((await this.payments.record(change)) !== change.after) return 'again';
    const status = outcome === 'refunded' ? 'refunded' : 'refused';
    await this.payments.settleRefund(payment.id, refundKey, status);
    return { ...refund, status };
  }
}

function setAside(payment: CapturedPayment, asked: Money | undefined): ReturnType<typeof beginRefund> {
  try {
    return beginRefund(payment, asked);
  } catch (error) {
    if (!(error instanceof RefundExceedsCapturedError)) throw error;
    throw RefundPayment.failure('ExceedsCaptured', { refundable: error.refundable }, error.message);
  }
}

function notCaptured(orderId: string, payment: Payment | undefined): Error {
  const status = payment && publicStatus(payment);
  return RefundPayment.failure(
    'NotCaptured',
    { status },
    `The payment of order ${orderId} cannot be refunded: ${status ?? 'there is none'}`,
  );
}
