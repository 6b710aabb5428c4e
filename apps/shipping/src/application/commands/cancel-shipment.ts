import type { ReplyOf } from '@flotilla/contracts-protocol';
import { CancelShipment, ShipmentCancelled } from '@flotilla/contracts-shipping';
import { newId } from '@flotilla/kernel';
import { Independent } from '@flotilla/service';
import { CommandHandler, EventBus, type ICommandHandler } from '@nestjs/cqrs';
import { cancel } from '../../domain/shipment.ts';
import { Shipments } from '../../persistence/shipments.ts';

@CommandHandler(CancelShipment)
@Independent()
export class CancelShipmentHandler implements ICommandHandler<CancelShipment> {
  constructor(
    private readonly shipments: Shipments,
    private readonly events: EventBus,
  ) {}

  async execute({ payload: { orderId, reason } }: CancelShipment): Promise<ReplyOf<CancelShipment>> {
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
      case 'returned':
      case 'lost':
        // There is nothing to stop: it never was, never left, is back, or nobody knows where it is.
        return { cancelled: false };
      case 'cancelled':
        return { cancelled: true };
      case 'dispatched':
      case 'returning':
      case 'delivered':
        throw CancelShipment.failure(
          'AlreadyDispatched',
          { orderId, dispatchedAt: shipment.dispatchedAt.toISOString() },
          `The shipment of order ${orderId} cannot be cancelled: it is ${shipment.status}`,
        );
      case 'created': {
        const { id: shipmentId } = cancel(shipment);
        await this.shipments.cancel(shipmentId, reason);
        this.events.publish(new ShipmentCancelled({ shipmentId, orderId, reason }));
        return { cancelled: true };
      }
    }
  }
}
