import { FlotillaModule } from '@flotilla/service';
import { Module } from '@nestjs/common';
import { GetOrderHandler } from './application/queries/get-order.ts';
import { GetTimelineHandler } from './application/queries/get-timeline.ts';
import { ListOrdersHandler } from './application/queries/list-orders.ts';
import { OrderViewProjection } from './application/reactions/order-view.ts';
import { PaymentViewProjection } from './application/reactions/payment-view.ts';
import { ReturnViewProjection } from './application/reactions/return-view.ts';
import { trackingMigrations } from './persistence/migrations/index.ts';
import { OrderViewsRepository } from './persistence/order-views.repository.ts';
import { ReturnViewsRepository } from './persistence/return-views.repository.ts';
import { trackingService } from './tracking.service.ts';

@Module({
  imports: [FlotillaModule.forService({ manifest: trackingService, migrations: trackingMigrations })],
  providers: [
    GetOrderHandler,
    ListOrdersHandler,
    GetTimelineHandler,
    OrderViewProjection,
    PaymentViewProjection,
    ReturnViewProjection,
    OrderViewsRepository,
    ReturnViewsRepository,
  ],
})
export class TrackingModule {}
