import { ProductDefined, ProductPriceChanged } from '@flotilla/contracts-catalog';
import { ScreenOrder } from '@flotilla/contracts-fraud';
import { ReleaseStock, ReserveStock } from '@flotilla/contracts-inventory';
import {
  CancelOrder,
  DecideReview,
  FindOrder,
  OrderAwaitingReview,
  OrderCancelled,
  OrderCompleted,
  OrderConfirmed,
  OrderPlaced,
  OrderRejected,
  OrderReviewed,
  OrderShipped,
  PlaceOrder,
} from '@flotilla/contracts-orders';
import { AuthorisePayment, CapturePayment, RefundPayment, VoidPayment } from '@flotilla/contracts-payments';
import { defineService } from '@flotilla/contracts-protocol';
import {
  CancelShipment,
  CreateShipment,
  ShipmentDelivered,
  ShipmentDispatched,
} from '@flotilla/contracts-shipping';

export const ordersService = defineService({
  name: 'orders',
  handles: [PlaceOrder, CancelOrder, DecideReview, FindOrder],
  // Until a screening service exists.
  standsInFor: [ScreenOrder],
  sends: [
    ScreenOrder,
    ReserveStock,
    ReleaseStock,
    AuthorisePayment,
    VoidPayment,
    CapturePayment,
    RefundPayment,
    CreateShipment,
    CancelShipment,
  ],
  publishes: [
    OrderPlaced,
    OrderAwaitingReview,
    OrderReviewed,
    OrderConfirmed,
    OrderShipped,
    OrderCompleted,
    OrderRejected,
    OrderCancelled,
  ],
  reacts: {
    'product-copy': { events: [ProductDefined, ProductPriceChanged] },
    fulfilment: { events: [OrderReviewed, ShipmentDispatched, ShipmentDelivered] },
  },
});
