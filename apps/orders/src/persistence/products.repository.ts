import { UnitOfWork } from '@flotilla/persistence';
import type { Money } from '@flotilla/contracts-money';
import { Injectable } from '@nestjs/common';
import type { KnownProduct } from '../domain/pricing.ts';

interface ProductRow {
  readonly sku: string;
  readonly name: string;
  readonly kind: 'stocked' | 'charge';
  readonly price_minor: string;
  readonly currency: string;
}

/** The orders service's own copy of the catalogue: what it needs to price an order while the catalogue is away. */
@Injectable()
export class ProductsRepository {
  constructor(private readonly unitOfWork: UnitOfWork) {}

  /** Those of the products that are known. */
  async findAll(skus: readonly string[]): Promise<KnownProduct[]> {
    const rows = await this.unitOfWork.query<ProductRow>(
      'SELECT sku, name, kind, price_minor, currency FROM products WHERE sku = ANY($1)',
      [skus],
    );
    return rows.map(({ price_minor, ...row }) => ({ ...row, priceMinor: Number(price_minor) }));
  }

  /** Takes over a product, unless what is known is as new. */
  async define(product: KnownProduct & { readonly version: number }): Promise<void> {
    await this.unitOfWork.query(
      `INSERT INTO products AS known (sku, name, kind, price_minor, currency, version) VALUES ($1, $2, $3, $4, $5, $6)
       ON CONFLICT (sku) DO UPDATE
         SET name = excluded.name, kind = excluded.kind, price_minor = excluded.price_minor,
             currency = excluded.currency, version = excluded.version
         WHERE known.version < excluded.version`,
      [product.sku, product.name, product.kind, product.priceMinor, product.currency, product.version],
    );
  }

  /** Takes over a price, unless what is known is as new; false if the product is not known yet. */
  async changePrice(sku: string, price: Money, version: number): Promise<boolean> {
    const rows = await this.unitOfWork.query(
      `UPDATE products SET price_minor = CASE WHEN version < $4 THEN $2::bigint ELSE price_minor END,
                           currency = CASE WHEN version < $4 THEN $3 ELSE currency END,
                           version = greatest(version, $4)
       WHERE sku = $1 RETURNING sku`,
      [sku, price.amountMinor, price.currency, version],
    );
    return rows.length === 1;
  }
}
