import { StockShipped } from '@flotilla/contracts-inventory';
import { ShipmentDispatched } from '@flotilla/contracts-shipping';
import { Independent, Locks, Reaction } from '@flotilla/service';
import { EventBus, EventsHandler, type IEventHandler } from '@nestjs/cqrs';
import { decideShip } from '../../domain/reservation.ts';
import { Warehouse } from '../../persistence/warehouse.ts';
import { allStockLocks } from '../stock-locks.ts';

/**
 * The carrier took the parcel: what the order held has left the warehouse. A dispatch without a reservation to
 * ship throws, and so ends in the dead letters, where a person sees it.
 */
@EventsHandler(ShipmentDispatched)
@Reaction('dispatch')
@Locks(allStockLocks)
@Independent()
export class ShipReservationHandler implements IEventHandler<ShipmentDispatched> {
  constructor(
    private readonly warehouse: Warehouse,
    private readonly events: EventBus,
  ) {}

  async handle({ payload: { orderId } }: ShipmentDispatched): Promise<void> {
    const decided = decideShip(orderId, await this.warehouse.ship(orderId));
    if (decided.decision === 'ship')
      this.events.publish(new StockShipped({ orderId, lines: [...decided.lines] }));
  }
}
