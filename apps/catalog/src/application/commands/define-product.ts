import { DefineProduct, ProductDefined, ProductPriceChanged } from '@flotilla/contracts-catalog';
import type { ReplyOf } from '@flotilla/contracts-protocol';
import { FlotillaError, type Clock } from '@flotilla/kernel';
import { CLOCK, Independent, Locks } from '@flotilla/service';
import { Inject } from '@nestjs/common';
import { CommandHandler, EventBus, type ICommandHandler } from '@nestjs/cqrs';
import { InjectRepository } from '@nestjs/typeorm';
import type { Repository } from 'typeorm';
import { defineProduct, type Product, type ProductFact } from '../../domain/product.ts';
import { ProductPriceEntity } from '../../persistence/product-price.entity.ts';
import { ProductEntity } from '../../persistence/product.entity.ts';

/** Creates a product or changes what differs. Definitions of one SKU run one after another, in all replicas. */
@CommandHandler(DefineProduct)
@Locks(({ payload }: DefineProduct) => [payload.sku])
@Independent()
export class DefineProductHandler implements ICommandHandler<DefineProduct> {
  constructor(
    @InjectRepository(ProductEntity) private readonly products: Repository<ProductEntity>,
    @InjectRepository(ProductPriceEntity) private readonly prices: Repository<ProductPriceEntity>,
    private readonly events: EventBus,
    @Inject(CLOCK) private readonly clock: Clock,
  ) {}

  async execute({ payload }: DefineProduct): Promise<ReplyOf<DefineProduct>> {
    const { sku } = payload;
    const current = await this.products.findOneBy({ sku });
    const decided = defineProduct(current ?? undefined, payload, new Date(this.clock.now()));
    switch (decided.outcome) {
      case 'kind-is-fixed':
        throw DefineProduct.failure('KindIsFixed', { sku, kind: decided.kind });
      case 'currency-is-fixed':
        throw DefineProduct.failure('CurrencyIsFixed', { sku, currency: decided.currency });
      case 'unchanged':
        return { sku, version: decided.product.version, created: false };
      case 'created':
      case 'changed': {
        const { product, facts } = decided;
        if (current) await this.#update(current.version, product);
        else await this.products.insert(product);
        if (!current || product.price.amountMinor !== current.price.amountMinor) {
          await this.prices.insert({
            sku,
            version: product.version,
            validFrom: product.priceValidFrom,
            priceMinor: product.price.amountMinor,
          });
        }
        this.events.publishAll(facts.map(eventOf));
        return { sku, version: product.version, created: !current };
      }
    }
  }

  async #update(from: number, product: Product): Promise<void> {
    const { sku, name, price, priceValidFrom, version } = product;
    const { affected } = await this.products.update(
      { sku, version: from },
      { name, price, priceValidFrom, version },
    );
    if (affected !== 1) throw new ProductChangedError(sku, from);
  }
}

/** Thrown when a product changed between reading and writing it, which the lock on its SKU rules out. */
class ProductChangedError extends FlotillaError {
  constructor(sku: string, version: number) {
    super(
      'PRODUCT_CHANGED',
      `Product "${sku}" is no longer at version ${version}: its definition is tried again`,
    );
  }
}

function eventOf(fact: ProductFact): ProductDefined | ProductPriceChanged {
  switch (fact.fact) {
    case 'defined':
      return new ProductDefined({ ...fact.product, version: fact.version });
    case 'price-changed':
      return new ProductPriceChanged({ ...fact, validFrom: fact.validFrom.toISOString() });
  }
}
