import { ListProducts } from '@flotilla/contracts-catalog';
import type { ReplyOf } from '@flotilla/contracts-protocol';
import { QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { InjectRepository } from '@nestjs/typeorm';
import { MoreThan, type Repository } from 'typeorm';
import { ProductEntity } from '../../persistence/product.entity.ts';
import { viewOf } from './product-view.ts';

/** A page of the catalogue. A page costs the same at the end as at the beginning: it starts at a key, not at a count. */
@QueryHandler(ListProducts)
export class ListProductsHandler implements IQueryHandler<ListProducts> {
  constructor(@InjectRepository(ProductEntity) private readonly products: Repository<ProductEntity>) {}

  async execute({ payload: { cursor, limit } }: ListProducts): Promise<ReplyOf<ListProducts>> {
    const found = await this.products.find({
      where: cursor === undefined ? {} : { sku: MoreThan(cursor) },
      order: { sku: 'ASC' },
      // One more than asked for tells whether there is a next page.
      take: limit + 1,
    });
    const products = found.slice(0, limit).map(viewOf);
    const last = products.at(-1);
    return found.length > limit && last ? { products, nextCursor: last.sku } : { products };
  }
}
