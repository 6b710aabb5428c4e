import { ReserveStock, StockReserved } from '@flotilla/contracts-inventory';
import type { ReplyOf } from '@flotilla/contracts-protocol';
import type { Clock } from '@flotilla/kernel';
import { CLOCK, Independent, Locks } from '@flotilla/service';
import { Inject } from '@nestjs/common';
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
    @Inject(CLOCK) private readonly clock: Clock,
  ) {}

  async execute({ payload }: ReserveStock): Promise<ReplyOf<ReserveStock>> {
    const { orderId, holdMs } = payload;
    const lines = sumBySku(payload.lines);
    const heldUntil = holdMs === undefined ? undefined : new Date(this.clock.now() + holdMs);
    const { before, heldBefore, shortages } = await this.warehouse.reserve(orderId, lines, heldUntil);
    switch (decideReserve(before)) {
      case 'already-reserved':
        return answer(orderId, heldBefore);
      case 'already-released':
        throw ReserveStock.failure('AlreadyReleased', { orderId });
      case 'reserve':
        if (shortages.length > 0) throw ReserveStock.failure('OutOfStock', { shortages });
        this.events.publish(new StockReserved({ orderId, lines }));
        return answer(orderId, heldUntil);
    }
  }
}

function answer(orderId: string, heldUntil: Date | undefined): ReplyOf<ReserveStock> {
  return { orderId, ...(heldUntil && { heldUntil: heldUntil.toISOString() }) };
}
