import { ReserveStock, StockReserved } from '@flotilla/contracts-inventory';
import type { ReplyOf } from '@flotilla/contracts-protocol';
import { Independent, Locks } from '@flotilla/service';
import { CommandHandler, EventBus, type ICommandHandler } from '@nestjs/cqrs';
import { sumBySku } from '../../domain/lines.ts';
import { decideReserve } from '../../domain/reservation.ts';
import { Warehouse } from '../../persistence/warehouse.ts';
import { orderLock, stockLocks } from '../stock-locks.ts';

/** Reserves all lines of an order or none, in one statement whatever their number. */
@CommandHandler(ReserveStock)
@Locks(({ payload }: ReserveStock) => [orderLock(payload.orderId), ...stockLocks(payload.lines)])
@Independent()
export class ReserveStockHandler implements ICommandHandler<ReserveStock> {
  constructor(
    private readonly warehouse: Warehouse,
    private readonly events: EventBus,
  ) {}

  async execute({ payload: { orderId, lines: asked } }: ReserveStock): Promise<ReplyOf<ReserveStock>> {
    const lines = sumBySku(asked);
    const { before, shortages } = await this.warehouse.reserve(orderId, lines);
    switch (decideReserve(before)) {
      case 'already-reserved':
        return { orderId };
      case 'already-released':
        throw ReserveStock.failure('AlreadyReleased', { orderId });
      case 'reserve':
        if (shortages.length > 0) throw ReserveStock.failure('OutOfStock', { shortages });
        this.events.publish(new StockReserved({ orderId, lines }));
        return { orderId };
    }
  }
}
