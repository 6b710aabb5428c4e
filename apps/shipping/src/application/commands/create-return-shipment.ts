import type { ReplyOf } from '@flotilla/contracts-protocol';
import { CreateReturnShipment } from '@flotilla/contracts-shipping';
import { newId, type Clock } from '@flotilla/kernel';
import { CLOCK, Independent } from '@flotilla/service';
import { Inject } from '@nestjs/common';
import { CommandHandler, type ICommandHandler } from '@nestjs/cqrs';
import { Carrier } from '../../carrier/carrier.ts';
import { ReturnParcels } from '../../persistence/return-parcels.ts';
import { CarrierJob } from '../carrier-job.ts';

@CommandHandler(CreateReturnShipment)
@Independent()
export class CreateReturnShipmentHandler implements ICommandHandler<CreateReturnShipment> {
  constructor(
    private readonly parcels: ReturnParcels,
    private readonly carrier: Carrier,
    private readonly job: CarrierJob,
    @Inject(CLOCK) private readonly clock: Clock,
  ) {}

  async execute({ payload }: CreateReturnShipment): Promise<ReplyOf<CreateReturnShipment>> {
    const { returnId } = payload;
    const shipmentId = newId();
    const booking = this.carrier.bookReturn(shipmentId, payload.shipFrom, new Date(this.clock.now()));
    if (await this.parcels.create(shipmentId, payload, booking)) {
      if (booking.receiveAt) this.job.wakeAfterCommit(booking.receiveAt);
      return { shipmentId, trackingNumber: booking.trackingNumber };
    }
    const existing = await this.parcels.lock(returnId);
    if (!existing || existing.status === 'cancelled' || existing.status === 'forestalled') {
      throw CreateReturnShipment.failure(
        'AlreadyCancelled',
        { returnId },
        `The parcel of return ${returnId} was cancelled`,
      );
    }
    return { shipmentId: existing.id, trackingNumber: existing.trackingNumber ?? '' };
  }
}
