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

/** An order's reservation was given back because the order was not confirmed in time. */
export class StockReservationExpired extends defineEvent({
  owner: 'inventory',
  name: 'StockReservationExpired',
  version: 1,
  payload: orderLines.extend({ heldUntil: z.iso.datetime() }),
  aggregate: (payload) => payload.orderId,
}) {}

/** Pieces of an order came back; those that are not damaged are on hand again. */
export class StockReturned extends defineEvent({
  owner: 'inventory',
  name: 'StockReturned',
  version: 1,
  payload: z.object({
    orderId: z.uuid(),
    returnKey: z.string(),
    lines: z.array(stockLine.extend({ damaged: z.boolean().default(false) })),
  }),
  aggregate: (payload) => payload.orderId,
}) {}
