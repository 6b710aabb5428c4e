import { money } from '@flotilla/contracts-money';
import { defineCommand } from '@flotilla/contracts-protocol';
import { z } from 'zod';
import { productKind, sku } from './product.ts';

/** Creates a product or changes what differs; the same content again changes nothing. */
export class DefineProduct extends defineCommand({
  owner: 'catalog',
  name: 'DefineProduct',
  version: 1,
  payload: z.object({
    sku,
    name: z.string().min(1).max(200),
    kind: productKind,
    price: money.refine(({ amountMinor }) => amountMinor >= 0, 'must not be negative'),
  }),
  reply: z.object({ sku, version: z.int().positive(), created: z.boolean() }),
  errors: {
    /** Stock may lie behind it: a product cannot turn from stocked into a charge, or back. */
    KindIsFixed: z.object({ sku, kind: productKind }),
    /** Prices of one product stay in one currency. */
    CurrencyIsFixed: z.object({ sku, currency: z.string() }),
  },
  key: (payload) => payload.sku,
}) {}
