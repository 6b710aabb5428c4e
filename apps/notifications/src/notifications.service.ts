import { ListNotifications } from '@flotilla/contracts-notifications';
import {
  OrderCancelled,
  OrderCompleted,
  OrderConfirmed,
  OrderPlaced,
  OrderRejected,
  OrderReturnClosed,
  OrderReturned,
  OrderReturnRequested,
  OrderShipped,
} from '@flotilla/contracts-orders';
import { defineService } from '@flotilla/contracts-protocol';

/** What notifications says of itself on the wire. That an order awaits review is no business of the customer's. */
export const notificationsService = defineService({
  name: 'notifications',
  handles: [ListNotifications],
  reacts: {
    'customer-messages': {
      events: [
        OrderPlaced,
        OrderConfirmed,
        OrderShipped,
        OrderCompleted,
        OrderRejected,
        OrderCancelled,
        OrderReturnRequested,
        OrderReturned,
        OrderReturnClosed,
      ],
    },
  },
});
