import { z } from 'zod';

/** So many pieces of one SKU. */
export const stockLine = z.object({
  sku: z.string().min(1).max(64),
  quantity: z.int().positive().max(1_000_000_000),
});
export type StockLine = z.output<typeof stockLine>;

/** Where a SKU's pieces are. Always: received = onHand + reserved + shipped. */
export const stockLevels = z.object({
  sku: z.string(),
  /** Free to be reserved. */
  onHand: z.int().nonnegative(),
  /** Promised to orders that are not shipped yet. */
  reserved: z.int().nonnegative(),
  shipped: z.int().nonnegative(),
  /** All that ever came in. */
  received: z.int().nonnegative(),
});
export type StockLevels = z.output<typeof stockLevels>;
