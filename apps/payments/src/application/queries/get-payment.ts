import { GetPayment } from '@flotilla/contracts-payments';
import type { ReplyOf } from '@flotilla/contracts-protocol';
import { QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { publicStatus } from '../../domain/payment.ts';
import { Payments } from '../../persistence/payments.ts';

@QueryHandler(GetPayment)
export class GetPaymentHandler implements IQueryHandler<GetPayment> {
  constructor(private readonly payments: Payments) {}

  async execute({ payload: { orderId } }: GetPayment): Promise<ReplyOf<GetPayment>> {
    const payment = await this.payments.find(orderId);
    if (payment?.amount === undefined) {
      throw GetPayment.failure('PaymentNotFound', { orderId }, `Order ${orderId} has no payment`);
    }
    const { currency, amountMinor } = payment.amount;
    const wasCaptured = payment.status === 'captured' || payment.status === 'refunded';
    const wasAuthorised = wasCaptured || payment.status === 'authorised' || payment.status === 'voided';
    return {
      paymentId: payment.id,
      orderId,
      status: publicStatus(payment),
      authorised: { amountMinor: wasAuthorised ? amountMinor : 0, currency },
      captured: { amountMinor: wasCaptured ? amountMinor : 0, currency },
      refunded: { amountMinor: wasCaptured ? payment.refundedMinor : 0, currency },
    };
  }
}
