import { ProductDefined } from '@flotilla/contracts-catalog';
import {
  GetStock,
  ReceiveStock,
  ReleaseStock,
  ReserveStock,
  StockReceived,
  StockReleased,
  StockReserved,
  StockShipped,
} from '@flotilla/contracts-inventory';
import { defineService } from '@flotilla/contracts-protocol';
import { ShipmentDispatched } from '@flotilla/contracts-shipping';

/** What inventory says of itself on the wire. */
export const inventoryService = defineService({
  name: 'inventory',
  handles: [ReceiveStock, ReserveStock, ReleaseStock, GetStock],
  publishes: [StockReceived, StockReserved, StockReleased, StockShipped],
  reacts: {
    dispatch: { events: [ShipmentDispatched] },
    'product-copy': { events: [ProductDefined] },
  },
});
