import { DefineProduct, GetProduct, GetProducts, ListProducts } from '@flotilla/contracts-catalog';
import { GetStock, ReceiveStock } from '@flotilla/contracts-inventory';
import { ListNotifications } from '@flotilla/contracts-notifications';
import {
  CancelOrder,
  DecideReview,
  FindOrder,
  ListReturns,
  PlaceOrder,
  RequestReturn,
} from '@flotilla/contracts-orders';
import { defineService } from '@flotilla/contracts-protocol';
import { GetOrder, GetTimeline, ListOrders } from '@flotilla/contracts-tracking';

export const gatewayService = defineService({
  name: 'gateway',
  database: false,
  calls: [
    PlaceOrder,
    CancelOrder,
    DecideReview,
    FindOrder,
    RequestReturn,
    ListReturns,
    GetOrder,
    ListOrders,
    GetTimeline,
    DefineProduct,
    GetProduct,
    GetProducts,
    ListProducts,
    GetStock,
    ReceiveStock,
    ListNotifications,
  ],
  // What wakes the streams of order events.
  watches: ['orders'],
});
