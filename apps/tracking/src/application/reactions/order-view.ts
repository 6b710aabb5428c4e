import {
  OrderAwaitingReview,
  OrderCancelled,
  OrderCompleted,
  OrderConfirmed,
  OrderPlaced,
  OrderRejected,
  OrderReviewed,
  OrderShipped,
  type OrderStatus,
} from '@flotilla/contracts-orders';
import { contractOf } from '@flotilla/contracts-protocol';
import { Independent, Reaction } from '@flotilla/service';
import { EventsHandler, type IEventHandler } from '@nestjs/cqrs';
import { OrderViewsRepository, type OrderStep } from '../../persistence/order-views.repository.ts';

type OrderEvent =
  | OrderPlaced
  | OrderAwaitingReview
  | OrderReviewed
  | OrderConfirmed
  | OrderShipped
  | OrderCompleted
  | OrderRejected
  | OrderCancelled;

/** Projects an order's own events: its timeline, and its newest status, whatever order they come in. */
@EventsHandler(
  OrderPlaced,
  OrderAwaitingReview,
  OrderReviewed,
  OrderConfirmed,
  OrderShipped,
  OrderCompleted,
  OrderRejected,
  OrderCancelled,
)
@Reaction('order-view')
@Independent()
export class OrderViewProjection implements IEventHandler<OrderEvent> {
  constructor(private readonly views: OrderViewsRepository) {}

  async handle(event: OrderEvent): Promise<void> {
    await this.views.add(stepOf(event), event instanceof OrderPlaced ? event.payload : undefined);
  }
}

function stepOf(event: OrderEvent): OrderStep {
  const { orderId, customerId, version, at } = event.payload;
  const step = (status: OrderStatus, detail?: string): OrderStep => ({
    orderId,
    customerId,
    version,
    at,
    event: contractOf(event).name,
    status,
    detail,
    rejectionReason: event instanceof OrderRejected ? event.payload.reason : undefined,
    trackingNumber: event instanceof OrderShipped ? event.payload.trackingNumber : undefined,
  });
  if (event instanceof OrderPlaced) return step('pending');
  if (event instanceof OrderAwaitingReview) return step('awaiting_review', event.payload.why);
  if (event instanceof OrderReviewed) {
    return step('pending', `${event.payload.decision} by ${event.payload.reviewer}`);
  }
  if (event instanceof OrderConfirmed) return step('confirmed');
  if (event instanceof OrderShipped) return step('shipped', event.payload.trackingNumber);
  if (event instanceof OrderCompleted) return step('completed');
  if (event instanceof OrderRejected)
    return step('rejected', `${event.payload.reason}: ${event.payload.detail}`);
  return step('cancelled', event.payload.reason);
}
