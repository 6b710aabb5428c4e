import { ReceiveStock, StockReceived } from '@flotilla/contracts-inventory';
import type { ReplyOf } from '@flotilla/contracts-protocol';
import { Independent, Locks } from '@flotilla/service';
import { CommandHandler, EventBus, type ICommandHandler } from '@nestjs/cqrs';
import { Warehouse } from '../../persistence/warehouse.ts';
import { stockLocks } from '../stock-locks.ts';

/** Books goods that came in. SKUs that the catalogue has not told of are booked too: goods are there when they are. */
@CommandHandler(ReceiveStock)
@Locks(({ payload }: ReceiveStock) => stockLocks([payload]))
@Independent()
export class ReceiveStockHandler implements ICommandHandler<ReceiveStock> {
  constructor(
    private readonly warehouse: Warehouse,
    private readonly events: EventBus,
  ) {}

  async execute({ payload }: ReceiveStock): Promise<ReplyOf<ReceiveStock>> {
    const levels = await this.warehouse.receive(payload);
    if (!levels) throw ReceiveStock.failure('NotStocked', { sku: payload.sku });
    this.events.publish(new StockReceived({ ...payload, levels }));
    return levels;
  }
}
