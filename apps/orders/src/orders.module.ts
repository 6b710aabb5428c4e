import { FlotillaModule } from '@flotilla/service';
import { Module } from '@nestjs/common';
import { CancelOrderHandler } from './application/commands/cancel-order.ts';
import { DecideReviewHandler } from './application/commands/decide-review.ts';
import { PlaceOrderHandler } from './application/commands/place-order.ts';
import { ScreenOrderHandler } from './application/commands/screen-order.ts';
import { FindOrderHandler } from './application/queries/find-order.ts';
import { ProductCopy } from './application/reactions/product-copy.ts';
import { OrderFulfilmentActions } from './application/sagas/fulfilment.actions.ts';
import { FULFILMENT, fulfilmentProvider } from './application/sagas/fulfilment.provider.ts';
import { ordersService } from './orders.service.ts';
import { ordersMigrations } from './persistence/migrations/index.ts';
import { OrdersRepository } from './persistence/orders.repository.ts';
import { ProductsRepository } from './persistence/products.repository.ts';

@Module({
  imports: [
    FlotillaModule.forService({
      manifest: ordersService,
      migrations: ordersMigrations,
      sagas: [{ definition: FULFILMENT, reaction: 'fulfilment', actions: OrderFulfilmentActions }],
    }),
  ],
  providers: [
    PlaceOrderHandler,
    CancelOrderHandler,
    DecideReviewHandler,
    ScreenOrderHandler,
    FindOrderHandler,
    ProductCopy,
    fulfilmentProvider,
    OrderFulfilmentActions,
    OrdersRepository,
    ProductsRepository,
  ],
})
export class OrdersModule {}
