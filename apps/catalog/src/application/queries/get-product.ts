import { GetProduct } from '@flotilla/contracts-catalog';
import type { ReplyOf } from '@flotilla/contracts-protocol';
import { QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { InjectRepository } from '@nestjs/typeorm';
import type { Repository } from 'typeorm';
import { ProductEntity } from '../../persistence/product.entity.ts';
import { viewOf } from './product-view.ts';

/** One product, or `ProductNotFound`. */
@QueryHandler(GetProduct)
export class GetProductHandler implements IQueryHandler<GetProduct> {
  constructor(@InjectRepository(ProductEntity) private readonly products: Repository<ProductEntity>) {}

  async execute({ payload: { sku } }: GetProduct): Promise<ReplyOf<GetProduct>> {
    const product = await this.products.findOneBy({ sku });
    if (!product) throw GetProduct.failure('ProductNotFound', { sku });
    return viewOf(product);
  }
}
