import { z } from 'zod';

export const orderStatus = z.enum([
  'pending',
  'awaiting_review',
  'confirmed',
  'shipped',
  'completed',
  'rejected',
  'cancelled',
]);
export type OrderStatus = z.output<typeof orderStatus>;

/** Whether an order in this status never changes again. */
export function isTerminal(status: OrderStatus): boolean {
  return status === 'completed' || status === 'rejected' || status === 'cancelled';
}

export const rejectionReason = z.enum(['out_of_stock', 'payment_declined', 'fraud', 'unknown_product']);
export type RejectionReason = z.output<typeof rejectionReason>;

/** One line of an order as it was priced when it was placed; the price is per piece, in the order's currency. */
export const orderLine = z.object({
  sku: z.string(),
  name: z.string(),
  kind: z.enum(['stocked', 'charge']),
  quantity: z.int().positive(),
  unitPriceMinor: z.int().nonnegative(),
});
export type OrderLine = z.output<typeof orderLine>;

/**
 * Where a return stands: `requested` (the parcel is awaited), `received` (it is here), and the last ones `completed`
 * (the money is back), `expired` (the parcel did not come in time) and `cancelled` (given up for another reason).
 */
export const returnStatus = z.enum(['requested', 'received', 'completed', 'expired', 'cancelled']);
export type ReturnStatus = z.output<typeof returnStatus>;

/** Pieces of one line of the order that come back; the price is what was paid per piece. */
export const returnLine = z.object({
  sku: z.string(),
  quantity: z.int().positive(),
  unitPriceMinor: z.int().nonnegative(),
  /** Damaged pieces are paid back too, and not sold again. */
  damaged: z.boolean().default(false),
});
export type ReturnLine = z.output<typeof returnLine>;
