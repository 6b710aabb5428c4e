import type { ReplyOf } from '@flotilla/contracts-protocol';
import { CreateShipment } from '@flotilla/contracts-shipping';
import { newId, type Clock } from '@flotilla/kernel';
import { CLOCK, Independent } from '@flotilla/service';
import { Inject } from '@nestjs/common';
import { CommandHandler, type ICommandHandler } from '@nestjs/cqrs';
import { Carrier } from '../../carrier/carrier.ts';
import { Shipments } from '../../persistence/shipments.ts';
import { CarrierJob } from '../carrier-job.ts';

@CommandHandler(CreateShipment)
@Independent()
export class CreateShipmentHandler implements ICommandHandler<CreateShipment> {
  constructor(
    private readonly shipments: Shipments,
    private readonly carrier: Carrier,
    private readonly job: CarrierJob,
    @Inject(CLOCK) private readonly clock: Clock,
  ) {}

  async execute({ payload }: CreateShipment): Promise<ReplyOf<CreateShipment>> {
    const { orderId } = payload;
    const shipmentId = newId();
    const booking = this.carrier.book(shipmentId, payload.shipTo, new Date(this.clock.now()));
    if (await this.shipments.create(shipmentId, payload, booking)) {
      this.job.wakeAfterCommit(booking.collectAt);
      return { shipmentId };
    }
    const existing = await this.shipments.find(orderId);
    if (!existing || existing.status === 'cancelled' || existing.status === 'forestalled') {
      throw CreateShipment.failure(
        'AlreadyCancelled',
        { orderId },
        `The shipment of order ${orderId} was cancelled`,
      );
    }
    return { shipmentId: existing.id };
  }
}
