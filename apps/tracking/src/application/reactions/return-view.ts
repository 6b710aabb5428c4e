import {
  OrderReturnClosed,
  OrderReturned,
  OrderReturnRequested,
  type ReturnStatus,
} from '@flotilla/contracts-orders';
import { contractOf } from '@flotilla/contracts-protocol';
import { Independent, Reaction } from '@flotilla/service';
import { EventsHandler, type IEventHandler } from '@nestjs/cqrs';
import { OrderViewsRepository } from '../../persistence/order-views.repository.ts';
import { ReturnViewsRepository } from '../../persistence/return-views.repository.ts';

type ReturnEvent = OrderReturnRequested | OrderReturned | OrderReturnClosed;

/** Projects what comes back of an order: a view of each return, and its steps in the order's timeline. */
@EventsHandler(OrderReturnRequested, OrderReturned, OrderReturnClosed)
@Reaction('return-view')
@Independent()
export class ReturnViewProjection implements IEventHandler<ReturnEvent> {
  constructor(
    private readonly returns: ReturnViewsRepository,
    private readonly views: OrderViewsRepository,
  ) {}

  async handle(event: ReturnEvent): Promise<void> {
    const { orderId, customerId, version, at, returnId, lines, refund } = event.payload;
    await this.returns.add({ orderId, returnId, version, at, status: statusOf(event), lines, refund });
    await this.views.add({
      orderId,
      customerId,
      version,
      at,
      event: contractOf(event).name,
      // A return leaves the order as it is.
      status: 'completed',
      detail: detailOf(event),
      rejectionReason: undefined,
      trackingNumber: undefined,
    });
  }
}

function statusOf(event: ReturnEvent): ReturnStatus {
  if (event instanceof OrderReturnRequested) return 'requested';
  return event instanceof OrderReturned ? 'completed' : event.payload.outcome;
}

function detailOf(event: ReturnEvent): string {
  if (event instanceof OrderReturnClosed) return `${event.payload.outcome}: ${event.payload.detail}`;
  const pieces = event.payload.lines.map(({ sku, quantity }) => `${quantity} x ${sku}`);
  const listed = pieces.slice(0, 10).join(', ');
  return pieces.length > 10 ? `${listed} and ${pieces.length - 10} more` : listed;
}
