import { defineEvent } from '@flotilla/contracts-protocol';
import { z } from 'zod';
import { stockLevels, stockLine } from './stock.ts';

/** Goods came in; `levels` is the SKU afterwards. */
export class StockReceived extends defineEvent({
  owner: 'inventory',
  name: 'StockReceived',
  version: 1,
  payload: stockLine.extend({ levels: stockLevels }),
  aggregate: (payload) => payload.sku,
}) {}

const orderLines = z.object({ orderId: z.uuid(), lines: z.array(stockLine) });

/** All lines of an order are reserved. */
export class StockReserved extends defineEvent({
  owner: 'inventory',
  name: 'StockReserved',
  version: 1,
  payload: orderLines,
  aggregate: (payload) => payload.orderId,
}) {}

/** An order's reservation was given back. */
export class StockReleased extends defineEvent({
  owner: 'inventory',
  name: 'StockReleased',
  version: 1,
  payload: orderLines.extend({ reason: z.string() }),
  aggregate: (payload) => payload.orderId,
}) {}

/** An order's goods have left the warehouse. */
export class StockShipped extends defineEvent({
  owner: 'inventory',
  name: 'StockShipped',
  version: 1,
  payload: orderLines,
  aggregate: (payload) => payload.orderId,
}) {}
