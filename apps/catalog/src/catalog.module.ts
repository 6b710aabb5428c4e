import { FlotillaModule } from '@flotilla/service';
import { Module } from '@nestjs/common';
import { DefineProductHandler } from './application/commands/define-product.ts';
import { GetProductHandler } from './application/queries/get-product.ts';
import { GetProductsHandler } from './application/queries/get-products.ts';
import { ListProductsHandler } from './application/queries/list-products.ts';
import { catalogService } from './catalog.service.ts';
import { catalogMigrations } from './persistence/migrations/index.ts';
import { ProductPriceEntity } from './persistence/product-price.entity.ts';
import { ProductEntity } from './persistence/product.entity.ts';

@Module({
  imports: [
    FlotillaModule.forService({
      manifest: catalogService,
      entities: [ProductEntity, ProductPriceEntity],
      migrations: catalogMigrations,
    }),
  ],
  providers: [DefineProductHandler, GetProductHandler, GetProductsHandler, ListProductsHandler],
})
export class CatalogModule {}
