import { money } from '@flotilla/contracts-money';
import { defineEvent } from '@flotilla/contracts-protocol';
import { z } from 'zod';
import { productKind, sku } from './product.ts';

/** A product is new, or its name changed: the whole product as it now is. */
export class ProductDefined extends defineEvent({
  owner: 'catalog',
  name: 'ProductDefined',
  version: 1,
  payload: z.object({ sku, name: z.string(), kind: productKind, price: money, version: z.int().positive() }),
  aggregate: (payload) => payload.sku,
  aggregateVersion: (payload) => payload.version,
}) {}

/** The list price of a product changed, from `validFrom` on. */
export class ProductPriceChanged extends defineEvent({
  owner: 'catalog',
  name: 'ProductPriceChanged',
  version: 1,
  payload: z.object({
    sku,
    price: money,
    previousPrice: money,
    validFrom: z.iso.datetime(),
    version: z.int().positive(),
  }),
  aggregate: (payload) => payload.sku,
  aggregateVersion: (payload) => payload.version,
}) {}
