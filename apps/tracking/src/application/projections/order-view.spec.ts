import {
  OrderAwaitingReview,
  OrderCancelled,
  OrderCompleted,
  OrderConfirmed,
  OrderPlaced,
  OrderRejected,
  OrderReviewed,
  OrderShipped,
} from '@flotilla/contracts-orders';
import { PaymentAuthorised, PaymentCaptured, PaymentRefunded } from '@flotilla/contracts-payments';
import { viewOf } from '@flotilla/service';
import { orderViews, paymentEntries, timelineEntries } from '../../persistence/view-tables.ts';
import { orderView } from './order-view.ts';
import { paymentView } from './payment-view.ts';

const orderId = '018f6f2e-0000-7000-8000-000000000001';
const fact = (version: number) => ({
  orderId,
  customerId: 'c-1',
  version,
  at: `2026-01-02T03:04:0${version}.000Z`,
});
const money = { amountMinor: 1_530, currency: 'GBP' };
const placed = new OrderPlaced({
  ...fact(1),
  reference: '536365',
  lines: [{ sku: 'A', name: 'Lantern', kind: 'stocked', quantity: 6, unitPriceMinor: 255 }],
  total: money,
  shipTo: { name: 'Ada', country: 'France' },
});

describe('the view of an order', () => {
  it('is the newest status and what was told on the way, whatever the order', () => {
    const history = [
      placed,
      new OrderConfirmed(fact(2)),
      new OrderShipped({ ...fact(3), trackingNumber: 'T-1' }),
      new OrderCompleted({ ...fact(4), total: money }),
    ];
    const view = viewOf(orderView, history);
    expect(view.of(orderViews)).toEqual([
      expect.objectContaining({
        order_id: orderId,
        version: 4,
        status: 'completed',
        updated_at: '2026-01-02T03:04:04.000Z',
        placed_at: '2026-01-02T03:04:01.000Z',
        tracking_number: 'T-1',
        total_minor: 1_530,
        reference: '536365',
      }),
    ]);
    const late = viewOf(orderView, [...history.toReversed(), ...history]);
    expect(late.of(orderViews)).toEqual(view.of(orderViews));
    expect(late.of(timelineEntries)).toHaveLength(4);
  });

  it.each([
    [new OrderAwaitingReview({ ...fact(2), why: 'large' }), 'awaiting_review', 'large', null],
    [
      new OrderReviewed({ ...fact(2), decision: 'approve', reviewer: 'eve' }),
      'pending',
      'approve by eve',
      null,
    ],
    [
      new OrderRejected({ ...fact(2), reason: 'out_of_stock', detail: 'A: 2 of 6' }),
      'rejected',
      'out_of_stock: A: 2 of 6',
      'out_of_stock',
    ],
    [new OrderCancelled({ ...fact(2), reason: 'customer request' }), 'cancelled', 'customer request', null],
  ])('after %o', (event, status, detail, rejection) => {
    const view = viewOf(orderView, [placed, event]);
    expect(view.of(orderViews)[0]).toMatchObject({ status, rejection_reason: rejection });
    expect(view.of(timelineEntries)[1]).toMatchObject({ position: 2, status, detail });
  });
});

describe('the view of payments', () => {
  it('has an entry for each movement, once', () => {
    const payment = { paymentId: orderId, orderId, amount: money };
    const refunded = new PaymentRefunded({ ...payment, refundKey: 'k', reason: 'late' });
    const events = [
      refunded,
      new PaymentCaptured(payment),
      refunded,
      new PaymentAuthorised(payment),
      new PaymentRefunded({ ...payment, refundKey: 'k2', reason: 'late' }),
    ];
    expect(
      viewOf(paymentView, events)
        .of(paymentEntries)
        .map(({ entry }) => entry),
    ).toEqual(['refunded:k', 'captured', 'authorised', 'refunded:k2']);
  });
});
