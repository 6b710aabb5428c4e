import { ProductDefined, ProductPriceChanged } from '@flotilla/contracts-catalog';
import { FlotillaError } from '@flotilla/kernel';
import { Independent, Reaction } from '@flotilla/service';
import { EventsHandler, type IEventHandler } from '@nestjs/cqrs';
import { ProductsRepository } from '../../persistence/products.repository.ts';

/** Keeps the copy of the catalogue; a late event changes nothing, because the newer version wins. */
@EventsHandler(ProductDefined, ProductPriceChanged)
@Reaction('product-copy')
@Independent()
export class ProductCopy implements IEventHandler<ProductDefined | ProductPriceChanged> {
  constructor(private readonly products: ProductsRepository) {}

  async handle(event: ProductDefined | ProductPriceChanged): Promise<void> {
    if (event instanceof ProductDefined) {
      const { sku, name, kind, price, version } = event.payload;
      await this.products.define({
        sku,
        name,
        kind,
        priceMinor: price.amountMinor,
        currency: price.currency,
        version,
      });
      return;
    }
    const { sku, price, version } = event.payload;
    if (!(await this.products.changePrice(sku, price, version))) {
      // The definition is on its way: the price is tried again after it.
      throw new FlotillaError('PRODUCT_NOT_KNOWN_YET', `The price of ${sku} came before its definition`);
    }
  }
}
