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

/**
 * Reserves all lines of an order, or none. Asked again for the same order, it answers as before. With `holdMs` the
 * reservation is held for so long unless the order is confirmed by then; whoever confirms must do so before
 * `heldUntil`. Without it, it is held for ever.
 */
export class ReserveStock extends defineCommand({
  owner: 'inventory',
  name: 'ReserveStock',
  version: 1,
  payload: z.object({
    orderId: z.uuid(),
    lines: z.array(stockLine).min(1).max(1_000),
    holdMs: z.int().positive().optional(),
  }),
  reply: z.object({ orderId: z.uuid(), heldUntil: z.iso.datetime().optional() }),
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

/**
 * Books in what came back of an order that had left: a customer's return, or a parcel that could not be delivered.
 * Once per `returnKey`: asked again, it answers as before.
 */
export class ReceiveReturn extends defineCommand({
  owner: 'inventory',
  name: 'ReceiveReturn',
  version: 1,
  payload: z.object({
    orderId: z.uuid(),
    returnKey: z.string().min(1).max(100),
    /** `damaged` pieces are noted and not put on hand. */
    lines: z
      .array(stockLine.extend({ damaged: z.boolean().default(false) }))
      .min(1)
      .max(1_000),
  }),
  reply: z.object({ restocked: z.int().nonnegative(), damaged: z.int().nonnegative() }),
  errors: {
    /** Nothing of this order ever left: its reservation was released. */
    NotShipped: z.object({ orderId: z.uuid() }),
    /** More would come back than left. */
    ExceedsShipped: z.object({
      lines: z.array(z.object({ sku: z.string(), requested: z.int(), shipped: z.int() })),
    }),
  },
  key: (payload) => payload.orderId,
}) {}
