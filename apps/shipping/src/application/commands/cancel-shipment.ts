import type { ReplyOf } from '@flotilla/contracts-protocol';
import { CancelShipment, ShipmentCancelled } from '@flotilla/contracts-shipping';
import { newId } from '@flotilla/kernel';
import { Independent } from '@flotilla/service';
import { CommandHandler, EventBus, type ICommandHandler } from '@nestjs/cqrs';
import {
  cancel,
  type DeliveredShipment,
  type DispatchedShipment,
  type UndeliveredShipment,
} from '../../domain/shipment.ts';
import { Shipments } from '../../persistence/shipments.ts';

@CommandHandler(CancelShipment)
@Independent()
export class CancelShipmentHandler implements ICommandHandler<CancelShipment> {
  constructor(
    private readonly shipments: Shipments,
    private readonly events: EventBus,
  ) {}

  async execute({ payload }: CancelShipment): Promise<ReplyOf<CancelShipment>> {
    const { orderId, reason, takenBack = false } = payload;
    let shipment = await this.shipments.lock(orderId);
    if (!shipment) {
      if (await this.shipments.forestall(newId(), orderId, reason)) return { cancelled: false };
      // Created by another replica since we looked.
      shipment = await this.shipments.lock(orderId);
    }
    switch (shipment?.status) {
      case undefined:
      case 'forestalled':
      case 'failed':
      case 'lost':
        // There is nothing to stop: it never was, never left, or nobody knows where it is.
        return { cancelled: false };
      case 'returned':
        if (takenBack) return { cancelled: false };
        // Its sender does not know yet that it came back, and would not book it in.
        throw alreadyDispatched(shipment);
      case 'cancelled':
        return { cancelled: true };
      case 'dispatched':
      case 'returning':
      case 'delivered':
        throw alreadyDispatched(shipment);
      case 'created': {
        const { id: shipmentId } = cancel(shipment);
        await this.shipments.cancel(shipmentId, reason);
        this.events.publish(new ShipmentCancelled({ shipmentId, orderId, reason }));
        return { cancelled: true };
      }
    }
  }
}

function alreadyDispatched({
  orderId,
  status,
  dispatchedAt,
}: DispatchedShipment | DeliveredShipment | UndeliveredShipment): ReturnType<typeof CancelShipment.failure> {
  return CancelShipment.failure(
    'AlreadyDispatched',
    { orderId, dispatchedAt: dispatchedAt.toISOString() },
    `The shipment of order ${orderId} cannot be cancelled: it is ${status}`,
  );
}
