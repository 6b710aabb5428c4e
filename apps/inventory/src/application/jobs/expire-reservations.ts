import { StockReservationExpired } from '@flotilla/contracts-inventory';
import { FindOrder, type OrderStatus } from '@flotilla/contracts-orders';
import { errorMessage, type Clock } from '@flotilla/kernel';
import { UnitOfWork } from '@flotilla/persistence';
import { CLOCK, Jobs } from '@flotilla/service';
import { Inject, Injectable, Logger, type OnModuleInit } from '@nestjs/common';
import { EventBus, QueryBus } from '@nestjs/cqrs';
import { decideRelease } from '../../domain/reservation.ts';
import { InventoryConfig } from '../../inventory.config.ts';
import { Warehouse, type OverdueReservation } from '../../persistence/warehouse.ts';
import { allStockLocks } from '../stock-locks.ts';

const JOB = 'expire-reservations';
/** Orders that are asked about at a time. */
const BATCH = 20;
/** When orders could not be asked, or this process died while it asked: then it, or another, looks again. */
const LOOK_AGAIN_MS = 60_000;

/** Orders in these statuses got their stock for good. */
const confirmed: ReadonlySet<OrderStatus> = new Set(['confirmed', 'shipped', 'completed']);

/**
 * Gives back the stock of orders that were not confirmed in time. The orders service confirms no order whose
 * reservation is about to end, so what it answers after the end does not change any more: an order that is not confirmed
 * then never will be. While it does not answer, nothing is given back.
 */
@Injectable()
export class ExpireReservations implements OnModuleInit {
  readonly #logger = new Logger(ExpireReservations.name);

  constructor(
    private readonly warehouse: Warehouse,
    private readonly unitOfWork: UnitOfWork,
    private readonly queries: QueryBus,
    private readonly events: EventBus,
    private readonly jobs: Jobs,
    private readonly config: InventoryConfig,
    @Inject(CLOCK) private readonly clock: Clock,
  ) {}

  onModuleInit(): void {
    this.jobs.register(JOB, { intervalMs: this.config.expiryIntervalMs, run: () => this.run() });
  }

  /** Looks at a batch of reservations whose time is over; true: there may be more. */
  async run(): Promise<boolean> {
    const now = this.clock.now();
    const overdue = await this.unitOfWork.run(() =>
      this.warehouse.claimOverdue(new Date(now), new Date(now + LOOK_AGAIN_MS), BATCH),
    );
    await Promise.all(overdue.map((reservation) => this.#look(reservation)));
    return overdue.length === BATCH;
  }

  async #look(reservation: OverdueReservation): Promise<void> {
    const { orderId } = reservation;
    let status: OrderStatus | undefined;
    try {
      status = await this.#statusOf(orderId);
    } catch (error) {
      this.#logger.warn(
        `The reservation of order ${orderId} has ended, but orders cannot be asked about it: ${errorMessage(error)}`,
      );
      return;
    }
    if (status !== undefined && confirmed.has(status)) {
      await this.unitOfWork.run(() => this.warehouse.holdForGood(orderId), { key: orderId });
      return;
    }
    await this.unitOfWork.run(() => this.#expire(reservation), { key: orderId, locks: allStockLocks() });
  }

  /** Undefined: there is no such order, so nobody will ever confirm it. */
  async #statusOf(orderId: string): Promise<OrderStatus | undefined> {
    try {
      return (await this.queries.execute(new FindOrder({ orderId }))).status;
    } catch (error) {
      if (FindOrder.isFailure(error, 'OrderNotFound')) return undefined;
      throw error;
    }
  }

  async #expire({ orderId, heldUntil }: OverdueReservation): Promise<void> {
    const decided = decideRelease(
      await this.warehouse.release(orderId, `not confirmed by ${heldUntil.toISOString()}`),
    );
    // Released or shipped meanwhile, it has its end.
    if (decided.decision !== 'give-back') return;
    this.#logger.warn(`Order ${orderId} was not confirmed in time: its stock is free again`);
    this.events.publish(
      new StockReservationExpired({
        orderId,
        lines: [...decided.lines],
        heldUntil: heldUntil.toISOString(),
      }),
    );
  }
}
