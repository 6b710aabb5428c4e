import { z } from 'zod';

/** So many pieces of one SKU. */
export const stockLine = z.object({
  sku: z.string().min(1).max(64),
  quantity: z.int().positive().max(1_000_000_000),
});
export type StockLine = z.output<typeof stockLine>;

/** Where a SKU's pieces are. Always: received + restocked = onHand + reserved + shipped. */
export const stockLevels = z.object({
  sku: z.string(),
  /** Free to be reserved. */
  onHand: z.int().nonnegative(),
  /** Promised to orders that are not shipped yet. */
  reserved: z.int().nonnegative(),
  /** All that ever left, also what came back since. */
  shipped: z.int().nonnegative(),
  /** All that ever came in. */
  received: z.int().nonnegative(),
  /** All that came back from customers and can be sold again. */
  restocked: z.int().nonnegative().default(0),
});
export type StockLevels = z.output<typeof stockLevels>;
