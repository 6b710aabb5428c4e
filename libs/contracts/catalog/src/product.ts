import { money } from '@flotilla/contracts-money';
import { z } from 'zod';

/** A stock-keeping unit: the shop's own code of a product, up to 64 characters. */
export const sku = z.string().min(1).max(64);

/** `stocked`: there is stock behind it; `charge`: postage, fees and the like, which nobody reserves or ships. */
export const productKind = z.enum(['stocked', 'charge']);
export type ProductKind = z.output<typeof productKind>;

/** A product as the catalogue shows it. `version` counts its changes, from 1. */
export const productView = z.object({
  sku,
  name: z.string(),
  kind: productKind,
  price: money,
  version: z.int().positive(),
});
export type ProductView = z.output<typeof productView>;
