import { ProductDefined } from '@flotilla/contracts-catalog';
import {
  GetStock,
  ReceiveReturn,
  ReceiveStock,
  ReleaseStock,
  ReserveStock,
  StockReceived,
  StockReleased,
  StockReservationExpired,
  StockReserved,
  StockReturned,
  StockShipped,
} from '@flotilla/contracts-inventory';
import { FindOrder } from '@flotilla/contracts-orders';
import { defineService } from '@flotilla/contracts-protocol';
import { ShipmentDispatched } from '@flotilla/contracts-shipping';

/** What inventory says of itself on the wire. */
export const inventoryService = defineService({
  name: 'inventory',
  handles: [ReceiveStock, ReserveStock, ReleaseStock, ReceiveReturn, GetStock],
  calls: [FindOrder],
  publishes: [
    StockReceived,
    StockReserved,
    StockReleased,
    StockReservationExpired,
    StockShipped,
    StockReturned,
  ],
  reacts: {
    dispatch: { events: [ShipmentDispatched] },
    'product-copy': { events: [ProductDefined] },
  },
});
