import type { ProductView } from '@flotilla/contracts-catalog';
import type { ProductEntity } from '../../persistence/product.entity.ts';

/** A product as callers see it. */
export function viewOf({ sku, name, kind, price, version }: ProductEntity): ProductView {
  return { sku, name, kind, price: { amountMinor: price.amountMinor, currency: price.currency }, version };
}
