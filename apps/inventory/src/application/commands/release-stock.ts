import { ReleaseStock, StockReleased } from '@flotilla/contracts-inventory';
import type { ReplyOf } from '@flotilla/contracts-protocol';
import { Independent, Locks } from '@flotilla/service';
import { CommandHandler, EventBus, type ICommandHandler } from '@nestjs/cqrs';
import { decideRelease } from '../../domain/reservation.ts';
import { Warehouse } from '../../persistence/warehouse.ts';
import { allStockLocks } from '../stock-locks.ts';

/** Gives back what an order holds. Asked again, it answers as before. */
@CommandHandler(ReleaseStock)
@Locks(allStockLocks)
@Independent()
export class ReleaseStockHandler implements ICommandHandler<ReleaseStock> {
  constructor(
    private readonly warehouse: Warehouse,
    private readonly events: EventBus,
  ) {}

  async execute({ payload: { orderId, reason } }: ReleaseStock): Promise<ReplyOf<ReleaseStock>> {
    const decided = decideRelease(await this.warehouse.release(orderId, reason));
    switch (decided.decision) {
      case 'already-shipped':
        throw ReleaseStock.failure('AlreadyShipped', { orderId });
      case 'already-released':
        return { released: decided.hadLines };
      case 'remember':
        return { released: false };
      case 'give-back':
        this.events.publish(new StockReleased({ orderId, lines: [...decided.lines], reason }));
        return { released: true };
    }
  }
}
