import type { ReplyOf } from '@flotilla/contracts-protocol';
import { CancelReturnShipment } from '@flotilla/contracts-shipping';
import { newId } from '@flotilla/kernel';
import { Independent } from '@flotilla/service';
import { CommandHandler, type ICommandHandler } from '@nestjs/cqrs';
import { ReturnParcels } from '../../persistence/return-parcels.ts';

@CommandHandler(CancelReturnShipment)
@Independent()
export class CancelReturnShipmentHandler implements ICommandHandler<CancelReturnShipment> {
  constructor(private readonly parcels: ReturnParcels) {}

  async execute({ payload }: CancelReturnShipment): Promise<ReplyOf<CancelReturnShipment>> {
    const { returnId, orderId, reason } = payload;
    let parcel = await this.parcels.lock(returnId);
    if (!parcel) {
      if (await this.parcels.forestall(newId(), returnId, orderId, reason)) return { cancelled: false };
      // Created by another replica since we looked.
      parcel = await this.parcels.lock(returnId);
    }
    switch (parcel?.status) {
      case undefined:
      case 'forestalled':
        return { cancelled: false };
      case 'cancelled':
        return { cancelled: true };
      case 'received':
        throw CancelReturnShipment.failure(
          'AlreadyReceived',
          { returnId, receivedAt: (parcel.receivedAt ?? new Date(0)).toISOString() },
          `The parcel of return ${returnId} is here`,
        );
      case 'created':
        await this.parcels.cancel(returnId, reason);
        return { cancelled: true };
    }
  }
}
