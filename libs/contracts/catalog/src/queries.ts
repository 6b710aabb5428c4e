import { defineQuery } from '@flotilla/contracts-protocol';
import { z } from 'zod';
import { productView, sku } from './product.ts';

/** One product. */
export class GetProduct extends defineQuery({
  owner: 'catalog',
  name: 'GetProduct',
  version: 1,
  payload: z.object({ sku }),
  reply: productView,
  errors: { ProductNotFound: z.object({ sku }) },
}) {}

/** Those of up to 1,000 products that exist; the others are absent from the answer. */
export class GetProducts extends defineQuery({
  owner: 'catalog',
  name: 'GetProducts',
  version: 1,
  payload: z.object({ skus: z.array(sku).max(1_000) }),
  reply: z.object({ products: z.array(productView) }),
}) {}

/** Products by SKU, a page at a time; `cursor` is the last SKU of the page before. */
export class ListProducts extends defineQuery({
  owner: 'catalog',
  name: 'ListProducts',
  version: 1,
  payload: z.object({ cursor: sku.optional(), limit: z.int().min(1).max(200).default(50) }),
  reply: z.object({ products: z.array(productView), nextCursor: sku.optional() }),
}) {}
