import { z } from 'zod';

/** Where to: a name and a country at the least. */
export const address = z.object({
  name: z.string().min(1).max(200),
  street: z.string().max(200).optional(),
  city: z.string().max(200).optional(),
  postcode: z.string().max(20).optional(),
  country: z.string().min(1).max(100),
});
export type Address = z.output<typeof address>;

/**
 * `failed`: the carrier never took it. `returning`, `returned`: it could not be delivered, is on its way back, is
 * back. `lost`: nobody knows where it is.
 */
export const shipmentStatus = z.enum([
  'created',
  'dispatched',
  'delivered',
  'cancelled',
  'failed',
  'returning',
  'returned',
  'lost',
]);
export type ShipmentStatus = z.output<typeof shipmentStatus>;
