import { PaymentAuthorised, PaymentCaptured, PaymentRefunded } from '@flotilla/contracts-payments';
import { Independent, Reaction } from '@flotilla/service';
import { EventsHandler, type IEventHandler } from '@nestjs/cqrs';
import { OrderViewsRepository } from '../../persistence/order-views.repository.ts';

type PaymentEvent = PaymentAuthorised | PaymentCaptured | PaymentRefunded;

/** Projects what was paid for an order. */
@EventsHandler(PaymentAuthorised, PaymentCaptured, PaymentRefunded)
@Reaction('payment-view')
@Independent()
export class PaymentViewProjection implements IEventHandler<PaymentEvent> {
  constructor(private readonly views: OrderViewsRepository) {}

  async handle(event: PaymentEvent): Promise<void> {
    const { orderId, amount } = event.payload;
    const { kind, entry } = entryOf(event);
    await this.views.addPayment({
      orderId,
      entry,
      kind,
      amountMinor: amount.amountMinor,
      currency: amount.currency,
    });
  }
}

function entryOf(event: PaymentEvent): { kind: 'authorised' | 'captured' | 'refunded'; entry: string } {
  if (event instanceof PaymentAuthorised) return { kind: 'authorised', entry: 'authorised' };
  if (event instanceof PaymentCaptured) return { kind: 'captured', entry: 'captured' };
  return { kind: 'refunded', entry: `refunded:${event.payload.refundKey}` };
}
