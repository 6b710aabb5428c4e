import { ProductDefined, ProductPriceChanged } from '@flotilla/contracts-catalog';
import { ScreenOrder } from '@flotilla/contracts-fraud';
import { ReceiveReturn, ReleaseStock, ReserveStock } from '@flotilla/contracts-inventory';
import {
  CancelOrder,
  DecideReview,
  FindOrder,
  ListReturns,
  OrderAwaitingReview,
  OrderCancellationRefused,
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
  PlaceOrder,
  RequestReturn,
} from '@flotilla/contracts-orders';
import { AuthorisePayment, CapturePayment, RefundPayment, VoidPayment } from '@flotilla/contracts-payments';
import { defineService } from '@flotilla/contracts-protocol';
import {
  CancelReturnShipment,
  CancelShipment,
  CreateReturnShipment,
  CreateShipment,
  ReturnReceived,
  ShipmentDelivered,
  ShipmentDispatched,
  ShipmentFailed,
  ShipmentLost,
  ShipmentReturned,
} from '@flotilla/contracts-shipping';

export const ordersService = defineService({
  name: 'orders',
  handles: [PlaceOrder, CancelOrder, DecideReview, RequestReturn, FindOrder, ListReturns],
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
    CreateReturnShipment,
    CancelReturnShipment,
    ReceiveReturn,
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
    OrderCancellationRefused,
    OrderReturnRequested,
    OrderReturned,
    OrderReturnClosed,
  ],
  reacts: {
    'product-copy': { events: [ProductDefined, ProductPriceChanged] },
    fulfilment: {
      events: [
        OrderReviewed,
        ShipmentDispatched,
        ShipmentDelivered,
        ShipmentFailed,
        ShipmentReturned,
        ShipmentLost,
      ],
    },
    return: { events: [ReturnReceived] },
  },
});
