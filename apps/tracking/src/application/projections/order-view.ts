import {
  OrderAwaitingReview,
  OrderCancelled,
  OrderCompleted,
  OrderConfirmed,
  OrderPlaced,
  OrderRejected,
  OrderReturnClosed,
  OrderReturned,
  OrderReturnRequested,
  OrderReviewed,
  OrderShipped,
  type OrderStatus,
} from '@flotilla/contracts-orders';
import { contractOf } from '@flotilla/contracts-protocol';
import { defineProjection, on, type ViewRow } from '@flotilla/service';
import { orderViews, timelineEntries } from '../../persistence/view-tables.ts';

/** An order as its own events tell it: its timeline, and its newest status, whatever order they come in. */
export const orderView = defineProjection('order-view', {
  version: 1,
  tables: [orderViews, timelineEntries],
  history: { table: timelineEntries, column: 'position' },
  on: [
    on(OrderPlaced, (event) => {
      const { at, reference, lines, total, shipTo } = event.payload;
      return step(event, 'pending', undefined, {
        reference,
        lines,
        total_minor: total.amountMinor,
        currency: total.currency,
        ship_to: shipTo,
        placed_at: at,
      });
    }),
    on(OrderAwaitingReview, (event) => step(event, 'awaiting_review', event.payload.why)),
    on(OrderReviewed, (event) =>
      step(event, 'pending', `${event.payload.decision} by ${event.payload.reviewer}`),
    ),
    on(OrderConfirmed, (event) => step(event, 'confirmed')),
    on(OrderShipped, (event) => {
      const { trackingNumber } = event.payload;
      return step(event, 'shipped', trackingNumber, { tracking_number: trackingNumber });
    }),
    on(OrderCompleted, (event) => step(event, 'completed')),
    on(OrderRejected, (event) => {
      const { reason, detail } = event.payload;
      return step(event, 'rejected', `${reason}: ${detail}`, { rejection_reason: reason });
    }),
    on(OrderCancelled, (event) => step(event, 'cancelled', event.payload.reason)),
    // A return leaves the order as it is.
    on(OrderReturnRequested, (event) => step(event, 'completed', piecesOf(event))),
    on(OrderReturned, (event) => step(event, 'completed', piecesOf(event))),
    on(OrderReturnClosed, (event) =>
      step(event, 'completed', `${event.payload.outcome}: ${event.payload.detail}`),
    ),
  ],
});

interface OrderFact {
  readonly payload: {
    readonly orderId: string;
    readonly customerId: string;
    readonly version: number;
    readonly at: string;
  };
}

/** What every event says: an entry of the timeline, and the status if it is the newest. */
function step(
  event: OrderFact,
  status: OrderStatus,
  detail?: string,
  more: Partial<Parameters<typeof orderViews.row>[0]> = {},
): ViewRow[] {
  const { orderId, customerId, version, at } = event.payload;
  return [
    orderViews.row({ order_id: orderId, customer_id: customerId, version, status, updated_at: at, ...more }),
    timelineEntries.row({
      order_id: orderId,
      position: version,
      at,
      event: contractOf(event).name,
      status,
      detail,
    }),
  ];
}

function piecesOf({ payload: { lines } }: OrderReturnRequested | OrderReturned): string {
  const pieces = lines.map(({ sku, quantity }) => `${quantity} x ${sku}`);
  const listed = pieces.slice(0, 10).join(', ');
  return pieces.length > 10 ? `${listed} and ${pieces.length - 10} more` : listed;
}
