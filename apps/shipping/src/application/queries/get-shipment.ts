import type { ReplyOf } from '@flotilla/contracts-protocol';
import { GetShipment } from '@flotilla/contracts-shipping';
import { QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { Shipments } from '../../persistence/shipments.ts';

@QueryHandler(GetShipment)
export class GetShipmentHandler implements IQueryHandler<GetShipment> {
  constructor(private readonly shipments: Shipments) {}

  async execute({ payload: { orderId } }: GetShipment): Promise<ReplyOf<GetShipment>> {
    const shipment = await this.shipments.find(orderId);
    if (!shipment || shipment.status === 'forestalled') {
      throw GetShipment.failure('ShipmentNotFound', { orderId }, `Order ${orderId} has no shipment`);
    }
    return {
      shipmentId: shipment.id,
      orderId,
      status: shipment.status,
      trackingNumber: shipment.trackingNumber,
      ...('dispatchedAt' in shipment && { dispatchedAt: shipment.dispatchedAt.toISOString() }),
      ...('deliveredAt' in shipment && { deliveredAt: shipment.deliveredAt.toISOString() }),
      ...('reason' in shipment && { reason: shipment.reason }),
    };
  }
}
