import { CapturePayment } from '@flotilla/contracts-payments';
import type { ReplyOf } from '@flotilla/contracts-protocol';
import { UnitOfWork } from '@flotilla/persistence';
import { OutsideUnitOfWork } from '@flotilla/service';
import { CommandHandler, type ICommandHandler } from '@nestjs/cqrs';
import { begin, publicStatus, type Payment } from '../../domain/payment.ts';
import { Payments } from '../../persistence/payments.ts';
import { ProviderClient } from '../../provider/provider-client.ts';
import { InFlightSettlement, isInFlight } from '../in-flight-settlement.ts';
import { inRounds } from '../rounds.ts';
import { paymentUnit } from '../payment-unit.ts';

@CommandHandler(CapturePayment)
@OutsideUnitOfWork()
export class CapturePaymentHandler implements ICommandHandler<CapturePayment> {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly payments: Payments,
    private readonly provider: ProviderClient,
    private readonly inFlight: InFlightSettlement,
  ) {}

  async execute({ payload: { orderId } }: CapturePayment): Promise<ReplyOf<CapturePayment>> {
    return inRounds(orderId, async () => {
      let payment = await this.unitOfWork.run(() => this.#begin(orderId), paymentUnit(orderId));
      if (payment?.status === 'authorised') {
        if (!isInFlight(payment)) return 'again';
        const { key, operation } = payment.inFlight;
        payment =
          operation === 'void'
            ? await this.inFlight.withdraw(payment)
            : await this.inFlight.finish(
                payment,
                await this.provider.capture({ key, reference: payment.reference }),
              );
        if (payment.status === 'authorised') return 'again';
      }
      if (payment?.status === 'captured' || payment?.status === 'refunded')
        return { captured: payment.amount };
      const status = payment && publicStatus(payment);
      throw CapturePayment.failure(
        'NotAuthorised',
        { status },
        `The payment of order ${orderId} cannot be captured: ${status ?? 'there is none'}`,
      );
    });
  }

  async #begin(orderId: string): Promise<Payment | undefined> {
    const payment = await this.payments.find(orderId);
    const canBegin = payment?.status === 'authorised' && !isInFlight(payment);
    return canBegin ? this.payments.record(begin(payment, 'capture')) : payment;
  }
}
