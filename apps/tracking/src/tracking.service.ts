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
} from '@flotilla/contracts-orders';
import { PaymentAuthorised, PaymentCaptured, PaymentRefunded } from '@flotilla/contracts-payments';
import { defineService } from '@flotilla/contracts-protocol';
import { GetOrder, GetTimeline, ListOrders } from '@flotilla/contracts-tracking';

export const trackingService = defineService({
  name: 'tracking',
  handles: [GetOrder, ListOrders, GetTimeline],
  reacts: {
    'order-view': {
      events: [
        OrderPlaced,
        OrderAwaitingReview,
        OrderReviewed,
        OrderConfirmed,
        OrderShipped,
        OrderCompleted,
        OrderRejected,
        OrderCancelled,
        OrderReturnRequested,
        OrderReturned,
        OrderReturnClosed,
      ],
      replayable: true,
    },
    'return-view': { events: [OrderReturnRequested, OrderReturned, OrderReturnClosed], replayable: true },
    'payment-view': { events: [PaymentAuthorised, PaymentCaptured, PaymentRefunded], replayable: true },
  },
});
