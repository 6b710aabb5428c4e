import { FlotillaModule } from '@flotilla/service';
import { Module } from '@nestjs/common';
import { CancelOrderHandler } from './application/commands/cancel-order.ts';
import { DecideReviewHandler } from './application/commands/decide-review.ts';
import { PlaceOrderHandler } from './application/commands/place-order.ts';
import { RequestReturnHandler } from './application/commands/request-return.ts';
import { ScreenOrderHandler } from './application/commands/screen-order.ts';
import { FindOrderHandler } from './application/queries/find-order.ts';
import { ListReturnsHandler } from './application/queries/list-returns.ts';
import { ProductCopy } from './application/reactions/product-copy.ts';
import { OrderFulfilmentActions } from './application/sagas/fulfilment.actions.ts';
import { FULFILMENT, fulfilmentProvider } from './application/sagas/fulfilment.provider.ts';
import { OrderReturnActions } from './application/sagas/return.actions.ts';
import { RETURN, returnProvider } from './application/sagas/return.provider.ts';
import { ordersService } from './orders.service.ts';
import { ordersMigrations } from './persistence/migrations/index.ts';
import { OrdersRepository } from './persistence/orders.repository.ts';
import { ProductsRepository } from './persistence/products.repository.ts';
import { ReturnsRepository } from './persistence/returns.repository.ts';

@Module({
  imports: [
    FlotillaModule.forService({
      manifest: ordersService,
      migrations: ordersMigrations,
      sagas: [
        { definition: FULFILMENT, reaction: 'fulfilment', actions: OrderFulfilmentActions },
        { definition: RETURN, reaction: 'return', actions: OrderReturnActions },
      ],
    }),
  ],
  providers: [
    PlaceOrderHandler,
    CancelOrderHandler,
    DecideReviewHandler,
    RequestReturnHandler,
    ScreenOrderHandler,
    FindOrderHandler,
    ListReturnsHandler,
    ProductCopy,
    fulfilmentProvider,
    OrderFulfilmentActions,
    returnProvider,
    OrderReturnActions,
    OrdersRepository,
    ProductsRepository,
    ReturnsRepository,
  ],
})
export class OrdersModule {}
