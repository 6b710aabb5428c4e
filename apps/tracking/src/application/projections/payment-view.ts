import { PaymentAuthorised, PaymentCaptured, PaymentRefunded } from '@flotilla/contracts-payments';
import { defineProjection, on, type ViewRow } from '@flotilla/service';
import { paymentEntries } from '../../persistence/view-tables.ts';

/** What was paid for an order. An entry has a key, so that an event which comes twice adds nothing twice. */
export const paymentView = defineProjection('payment-view', {
  version: 1,
  tables: [paymentEntries],
  on: [
    on(PaymentAuthorised, (event) => entry(event, 'authorised', 'authorised')),
    on(PaymentCaptured, (event) => entry(event, 'captured', 'captured')),
    on(PaymentRefunded, (event) => entry(event, 'refunded', `refunded:${event.payload.refundKey}`)),
  ],
});

function entry(
  { payload: { orderId, amount } }: PaymentAuthorised | PaymentCaptured | PaymentRefunded,
  kind: 'authorised' | 'captured' | 'refunded',
  name: string,
): ViewRow[] {
  return [
    paymentEntries.row({
      order_id: orderId,
      entry: name,
      kind,
      amount_minor: amount.amountMinor,
      currency: amount.currency,
    }),
  ];
}
