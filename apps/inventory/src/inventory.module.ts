import { FlotillaModule } from '@flotilla/service';
import { Module } from '@nestjs/common';
import { ReceiveReturnHandler } from './application/commands/receive-return.ts';
import { ReceiveStockHandler } from './application/commands/receive-stock.ts';
import { ReleaseStockHandler } from './application/commands/release-stock.ts';
import { ReserveStockHandler } from './application/commands/reserve-stock.ts';
import { ExpireReservations } from './application/jobs/expire-reservations.ts';
import { GetStockHandler } from './application/queries/get-stock.ts';
import { CopyProductHandler } from './application/reactions/copy-product.ts';
import { ShipReservationHandler } from './application/reactions/ship-reservation.ts';
import { inventoryService } from './inventory.service.ts';
import { inventoryMigrations } from './persistence/migrations/index.ts';
import { Warehouse } from './persistence/warehouse.ts';

@Module({
  imports: [
    FlotillaModule.forService({ manifest: inventoryService, entities: [], migrations: inventoryMigrations }),
  ],
  providers: [
    ReceiveStockHandler,
    ReserveStockHandler,
    ReleaseStockHandler,
    ReceiveReturnHandler,
    GetStockHandler,
    ShipReservationHandler,
    CopyProductHandler,
    ExpireReservations,
    Warehouse,
  ],
})
export class InventoryModule {}
