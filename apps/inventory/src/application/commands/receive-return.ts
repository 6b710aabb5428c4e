import { ReceiveReturn, StockReturned, StockShipped } from '@flotilla/contracts-inventory';
import type { ReplyOf } from '@flotilla/contracts-protocol';
import { Independent, Locks } from '@flotilla/service';
import { CommandHandler, EventBus, type ICommandHandler } from '@nestjs/cqrs';
import type { ReturnedLine } from '../../domain/lines.ts';
import { decideShip } from '../../domain/reservation.ts';
import { decideReturn } from '../../domain/return.ts';
import { Warehouse } from '../../persistence/warehouse.ts';
import { allStockLocks, orderLock } from '../stock-locks.ts';

/** Books in what came back of an order. Asked again under the same key, it answers as before. */
@CommandHandler(ReceiveReturn)
// All of them: where the dispatch has still to be booked, every SKU of the order moves.
@Locks(({ payload }: ReceiveReturn) => [orderLock(payload.orderId), ...allStockLocks()])
@Independent()
export class ReceiveReturnHandler implements ICommandHandler<ReceiveReturn> {
  constructor(
    private readonly warehouse: Warehouse,
    private readonly events: EventBus,
  ) {}

  async execute({ payload }: ReceiveReturn): Promise<ReplyOf<ReceiveReturn>> {
    const { orderId, returnKey, lines } = payload;
    const found = await this.warehouse.lockShipped(orderId);
    const decided = decideReturn(orderId, found?.reservation, found?.back ?? new Map(), returnKey, lines);
    switch (decided.decision) {
      case 'already-back':
        return countOf(decided.lines);
      case 'not-shipped':
        throw ReceiveReturn.failure('NotShipped', { orderId });
      case 'exceeds':
        throw ReceiveReturn.failure('ExceedsShipped', { lines: [...decided.excess] });
      case 'take-back':
        if (decided.leftUnheard) {
          const shipped = decideShip(orderId, await this.warehouse.ship(orderId));
          if (shipped.decision === 'ship')
            this.events.publish(new StockShipped({ orderId, lines: [...shipped.lines] }));
        }
        await this.warehouse.takeBack(orderId, returnKey, lines);
        this.events.publish(new StockReturned({ orderId, returnKey, lines }));
        return countOf(lines);
    }
  }
}

function countOf(lines: readonly ReturnedLine[]): ReplyOf<ReceiveReturn> {
  const pieces = (damaged: boolean): number =>
    lines.filter((line) => line.damaged === damaged).reduce((sum, { quantity }) => sum + quantity, 0);
  return { restocked: pieces(false), damaged: pieces(true) };
}
