import { FlotillaModule } from '@flotilla/service';
import { Module } from '@nestjs/common';
import { OrderWaits } from './application/order-waits.ts';
import { projections } from './application/projections/projections.ts';
import { GetOrderHandler } from './application/queries/get-order.ts';
import { GetTimelineHandler } from './application/queries/get-timeline.ts';
import { ListOrdersHandler } from './application/queries/list-orders.ts';
import { trackingMigrations } from './persistence/migrations/index.ts';
import { OrderViewsRepository } from './persistence/order-views.repository.ts';
import { ReturnViewsRepository } from './persistence/return-views.repository.ts';
import { trackingService } from './tracking.service.ts';

@Module({
  imports: [
    FlotillaModule.forService({ manifest: trackingService, migrations: trackingMigrations, projections }),
  ],
  providers: [
    GetOrderHandler,
    ListOrdersHandler,
    GetTimelineHandler,
    OrderViewsRepository,
    ReturnViewsRepository,
    OrderWaits,
  ],
})
export class TrackingModule {}
