import {
  OrderReturnClosed,
  OrderReturned,
  OrderReturnRequested,
  type ReturnStatus,
} from '@flotilla/contracts-orders';
import { defineProjection, on, type ViewRow } from '@flotilla/service';
import { returnViews } from '../../persistence/view-tables.ts';

type ReturnEvent = OrderReturnRequested | OrderReturned | OrderReturnClosed;

/** What comes back of an order: a view of each return. Its steps are in the order's timeline (`order-view`). */
export const returnView = defineProjection('return-view', {
  version: 1,
  tables: [returnViews],
  on: [
    on(OrderReturnRequested, (event) => returned(event, 'requested')),
    on(OrderReturned, (event) => returned(event, 'completed')),
    on(OrderReturnClosed, (event) => returned(event, event.payload.outcome)),
  ],
});

function returned({ payload }: ReturnEvent, status: ReturnStatus): ViewRow[] {
  const { returnId, orderId, version, at, lines, refund } = payload;
  return [
    returnViews.row({
      return_id: returnId,
      order_id: orderId,
      version,
      status,
      lines,
      refund_minor: refund.amountMinor,
      currency: refund.currency,
      ...(status === 'requested' ? { requested_at: at } : { ended_at: at }),
    }),
  ];
}
