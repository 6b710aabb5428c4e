import { GetProducts } from '@flotilla/contracts-catalog';
import type { ReplyOf } from '@flotilla/contracts-protocol';
import { QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { InjectRepository } from '@nestjs/typeorm';
import { Any, type Repository } from 'typeorm';
import { ProductEntity } from '../../persistence/product.entity.ts';
import { viewOf } from './product-view.ts';

/** The products of a list of SKUs that exist, by SKU. */
@QueryHandler(GetProducts)
export class GetProductsHandler implements IQueryHandler<GetProducts> {
  constructor(@InjectRepository(ProductEntity) private readonly products: Repository<ProductEntity>) {}

  async execute({ payload: { skus } }: GetProducts): Promise<ReplyOf<GetProducts>> {
    // One array instead of up to 1,000 parameters.
    const products = await this.products.find({ where: { sku: Any(skus) }, order: { sku: 'ASC' } });
    return { products: products.map(viewOf) };
  }
}
