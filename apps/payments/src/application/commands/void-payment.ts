import { VoidPayment } from '@flotilla/contracts-payments';
import type { ReplyOf } from '@flotilla/contracts-protocol';
import { newId } from '@flotilla/kernel';
import { UnitOfWork } from '@flotilla/persistence';
import { OutsideUnitOfWork } from '@flotilla/service';
import { CommandHandler, type ICommandHandler } from '@nestjs/cqrs';
import { begin, forestallPayment, publicStatus, type Payment } from '../../domain/payment.ts';
import { Payments } from '../../persistence/payments.ts';
import { ProviderClient } from '../../provider/provider-client.ts';
import { InFlightSettlement, isInFlight } from '../in-flight-settlement.ts';
import { inRounds } from '../rounds.ts';
import { paymentUnit } from '../payment-unit.ts';

@CommandHandler(VoidPayment)
@OutsideUnitOfWork()
export class VoidPaymentHandler implements ICommandHandler<VoidPayment> {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly payments: Payments,
    private readonly provider: ProviderClient,
    private readonly inFlight: InFlightSettlement,
  ) {}

  async execute({ payload: { orderId } }: VoidPayment): Promise<ReplyOf<VoidPayment>> {
    return inRounds(orderId, async () => {
      let payment = await this.unitOfWork.run(() => this.#begin(orderId), paymentUnit(orderId));
      if (payment.status === 'pending') payment = await this.inFlight.withdrawAuthorisation(payment);
      else if (payment.status === 'authorised' && isInFlight(payment)) {
        const { key, operation } = payment.inFlight;
        payment =
          operation === 'capture'
            ? await this.inFlight.withdraw(payment)
            : await this.inFlight.finish(
                payment,
                await this.provider.void({ key, reference: payment.reference }),
              );
      }
      if (payment.status === 'authorised' || payment.status === 'pending') return 'again';
      return { voided: payment.amount !== undefined && publicStatus(payment) === 'voided' };
    });
  }

  async #begin(orderId: string): Promise<Payment> {
    const payment = await this.payments.find(orderId);
    if (!payment) return (await this.payments.open(forestallPayment(newId(), orderId))).payment;
    const canBegin = payment.status === 'authorised' && !isInFlight(payment);
    return canBegin ? this.payments.record(begin(payment, 'void')) : payment;
  }
}
