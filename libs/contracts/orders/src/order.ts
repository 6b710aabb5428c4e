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
