import { Column, Entity, PrimaryColumn } from 'typeorm';
import type { ProductKind } from '../domain/product.ts';
import { minorUnits } from './minor-units.ts';

/** An amount in columns of its table. */
export class PriceColumns {
  @Column({ name: 'price_minor', type: 'bigint', transformer: minorUnits })
  amountMinor!: number;

  @Column({ type: 'text' })
  currency!: string;
}

/** A product as it is now: a row of `products`, shaped like the domain's `Product`. */
@Entity({ name: 'products' })
export class ProductEntity {
  @PrimaryColumn({ type: 'text' })
  sku!: string;

  @Column({ type: 'text' })
  name!: string;

  @Column({ type: 'text' })
  kind!: ProductKind;

  @Column(() => PriceColumns, { prefix: false })
  price!: PriceColumns;

  @Column({ name: 'price_valid_from', type: 'timestamptz' })
  priceValidFrom!: Date;

  @Column({ type: 'integer' })
  version!: number;
}
