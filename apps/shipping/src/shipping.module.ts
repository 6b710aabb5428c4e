import { FlotillaModule } from '@flotilla/service';
import { Module } from '@nestjs/common';
import { CarrierJob } from './application/carrier-job.ts';
import { CancelReturnShipmentHandler } from './application/commands/cancel-return-shipment.ts';
import { CancelShipmentHandler } from './application/commands/cancel-shipment.ts';
import { CreateReturnShipmentHandler } from './application/commands/create-return-shipment.ts';
import { CreateShipmentHandler } from './application/commands/create-shipment.ts';
import { GetShipmentHandler } from './application/queries/get-shipment.ts';
import { Carrier } from './carrier/carrier.ts';
import { SimulatedCarrier } from './carrier/simulated-carrier.ts';
import { shippingMigrations } from './persistence/migrations/index.ts';
import { ReturnParcels } from './persistence/return-parcels.ts';
import { Shipments } from './persistence/shipments.ts';
import { shippingService } from './shipping.service.ts';

@Module({
  imports: [
    FlotillaModule.forService({ manifest: shippingService, entities: [], migrations: shippingMigrations }),
  ],
  providers: [
    CreateShipmentHandler,
    CancelShipmentHandler,
    CreateReturnShipmentHandler,
    CancelReturnShipmentHandler,
    GetShipmentHandler,
    CarrierJob,
    Shipments,
    ReturnParcels,
    { provide: Carrier, useClass: SimulatedCarrier },
  ],
})
export class ShippingModule {}
