import type { OrderVersion } from '@flotilla/contracts-tracking';
import type { Clock } from '@flotilla/kernel';
import { CLOCK, Projections, ViewWaits } from '@flotilla/service';
import { Inject, Injectable } from '@nestjs/common';
import { OrderViewsRepository, type WantedOrder } from '../persistence/order-views.repository.ts';
import { orderViews } from '../persistence/view-tables.ts';
import { TrackingConfig } from '../tracking.config.ts';
import { orderView } from './projections/order-view.ts';

/** Lets a reader wait until it can see its own write. */
@Injectable()
export class OrderWaits {
  readonly #waits: ViewWaits<WantedOrder>;
  readonly #waitMs: number;
  readonly #clock: Clock;

  constructor(
    views: OrderViewsRepository,
    projections: Projections,
    config: TrackingConfig,
    @Inject(CLOCK) clock: Clock,
  ) {
    this.#clock = clock;
    this.#waitMs = config.consistencyWaitMs;
    this.#waits = new ViewWaits<WantedOrder>({
      clock,
      reached: (wanted) => views.reached(wanted),
      // Those who wait hold places of those who do not.
      maxWaiting: Math.max(1, Math.floor(config.maxInFlight / 2)),
    });
    projections.onWritten(orderView, (rows) =>
      this.#waits.written(() => rows.of(orderViews).map(({ order_id }) => String(order_id))),
    );
  }

  /**
   * Undefined once the views show the orders at least as new as that; else how long it waited for it, in milliseconds.
   * Another customer's order never gets there: that it exists is not for others to know.
   */
  async behindAfterMs(
    atLeast: readonly OrderVersion[] = [],
    customerId: string | undefined,
  ): Promise<number | undefined> {
    const sinceMs = this.#clock.monotonicMs();
    const wanted = atLeast.map(({ orderId, version }) => ({ id: orderId, version, customerId }));
    if (await this.#waits.caughtUp(wanted, this.#waitMs)) return undefined;
    return Math.round(this.#clock.monotonicMs() - sinceMs);
  }
}
