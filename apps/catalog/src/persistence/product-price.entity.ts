import { Column, Entity, PrimaryColumn } from 'typeorm';
import { minorUnits } from './minor-units.ts';

/** One list price that a product has or had: a row of `product_prices`. It holds until the next version's. */
@Entity({ name: 'product_prices' })
export class ProductPriceEntity {
  @PrimaryColumn({ type: 'text' })
  sku!: string;

  /** The version of the product that brought the price. */
  @PrimaryColumn({ type: 'integer' })
  version!: number;

  @Column({ name: 'valid_from', type: 'timestamptz' })
  validFrom!: Date;

  @Column({ name: 'price_minor', type: 'bigint', transformer: minorUnits })
  priceMinor!: number;
}
