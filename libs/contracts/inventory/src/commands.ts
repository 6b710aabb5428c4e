import { defineCommand } from '@flotilla/contracts-protocol';
import { z } from 'zod';
import { stockLevels, stockLine } from './stock.ts';

/** Books goods that came in. */
export class ReceiveStock extends defineCommand({
  owner: 'inventory',
  name: 'ReceiveStock',
  version: 1,
  payload: stockLine,
  reply: stockLevels,
  errors: {
    /** The product is a charge: there is no stock behind it. */
    NotStocked: z.object({ sku: z.string() }),
  },
  key: (payload) => payload.sku,
}) {}

/** Reserves all lines of an order, or none. Asked again for the same order, it answers as before. */
export class ReserveStock extends defineCommand({
  owner: 'inventory',
  name: 'ReserveStock',
  version: 1,
  payload: z.object({ orderId: z.uuid(), lines: z.array(stockLine).min(1).max(1_000) }),
  reply: z.object({ orderId: z.uuid() }),
  errors: {
    /** Every SKU that is short, with what was asked and what is free. */
    OutOfStock: z.object({
      shortages: z.array(z.object({ sku: z.string(), requested: z.int(), available: z.int() })),
    }),
    /** The order's reservation was released before: an order does not come back. */
    AlreadyReleased: z.object({ orderId: z.uuid() }),
  },
  key: (payload) => payload.orderId,
}) {}

/**
 * Gives an order's reservation back. Without a reservation it is remembered, so that a reservation that
 * arrives late is refused.
 */
export class ReleaseStock extends defineCommand({
  owner: 'inventory',
  name: 'ReleaseStock',
  version: 1,
  payload: z.object({ orderId: z.uuid(), reason: z.string().max(200) }),
  reply: z.object({ released: z.boolean() }),
  errors: {
    /** The goods have left. */
    AlreadyShipped: z.object({ orderId: z.uuid() }),
  },
  key: (payload) => payload.orderId,
}) {}
