import { productKind } from '@flotilla/contracts-catalog';
import { decimalMoney } from '@flotilla/contracts-money';
import { z } from 'zod';
import { price } from './price.schema.ts';

export const skuParams = z.strictObject({ sku: z.string().min(1).max(64) });

export const listProductsQuery = z.strictObject({
  cursor: z.string().min(1).max(64).optional(),
  limit: z.coerce.number().int().min(1).max(200).default(50),
});

export const defineProductBody = z.strictObject({
  name: z.string().min(1).max(200),
  kind: productKind,
  price,
});

export const product = z.object({
  sku: z.string(),
  name: z.string(),
  kind: productKind,
  price: decimalMoney,
  version: z.int(),
});

export const definedProduct = z.object({ sku: z.string(), version: z.int(), created: z.boolean() });

export const productList = z.object({ products: z.array(product), nextCursor: z.string().optional() });

export const receiveStockBody = z.strictObject({ quantity: z.int().min(1).max(1_000_000_000) });

export const stockLevels = z.object({
  sku: z.string(),
  onHand: z.int(),
  reserved: z.int(),
  shipped: z.int(),
  received: z.int(),
  restocked: z.int(),
});
