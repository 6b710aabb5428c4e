import { FindOrder } from '@flotilla/contracts-orders';
import type { ReplyOf } from '@flotilla/contracts-protocol';
import { GetOrder, GetTimeline, type OrderVersion, type OrderView } from '@flotilla/contracts-tracking';
import type { Clock } from '@flotilla/kernel';
import { CLOCK } from '@flotilla/service';
import { Inject, Injectable } from '@nestjs/common';
import { QueryBus } from '@nestjs/cqrs';
import { HttpProblem } from './problem.ts';

/** How long the read side may lag behind the orders service before a caller is sent away. */
const LAG_MS = 2_000;
const POLL_MS = 50;

/**
 * Orders as the read side shows them. One that was placed a moment ago is waited for. `customerId` is whose orders
 * may be seen (undefined: everybody's): to others an order does not exist.
 */
@Injectable()
export class TrackedOrders {
  constructor(
    private readonly queries: QueryBus,
    @Inject(CLOCK) private readonly clock: Clock,
  ) {}

  /** The order, at least as new as the versions of it and of others that `atLeast` names. */
  find(
    orderId: string,
    customerId: string | undefined,
    atLeast?: readonly OrderVersion[],
  ): Promise<OrderView> {
    return this.#onceTracked(orderId, customerId, () =>
      this.queries.execute(new GetOrder({ orderId, customerId, ...(atLeast && { atLeast: [...atLeast] }) })),
    );
  }

  /** What happened to the order after a position. */
  async timeline(
    orderId: string,
    customerId: string | undefined,
    after: number,
  ): Promise<ReplyOf<GetTimeline>> {
    const timeline = await this.#onceTracked(orderId, customerId, () =>
      this.queries.execute(new GetTimeline({ orderId, after })),
    );
    if (customerId !== undefined && timeline.customerId !== customerId) throw orderNotFound(orderId);
    return timeline;
  }

  /** Throws `OrderNotFound` unless the orders service itself knows the order as the customer's. */
  async assertPlaced(orderId: string, customerId: string | undefined): Promise<void> {
    const order = await this.queries.execute(new FindOrder({ orderId }));
    if (customerId !== undefined && order.customerId !== customerId) throw orderNotFound(orderId);
  }

  async #onceTracked<T>(orderId: string, customerId: string | undefined, ask: () => Promise<T>): Promise<T> {
    const deadline = this.clock.monotonicMs() + LAG_MS;
    for (let attempt = 0; ; attempt++) {
      try {
        return await ask();
      } catch (error) {
        if (!GetOrder.isFailure(error, 'OrderNotFound') && !GetTimeline.isFailure(error, 'OrderNotFound')) {
          throw error;
        }
      }
      if (attempt === 0) await this.assertPlaced(orderId, customerId);
      if (this.clock.monotonicMs() >= deadline) throw notVisibleYet();
      await this.clock.sleep(POLL_MS);
    }
  }
}

// Whether it exists is not for others to know: the answer is the same.
function orderNotFound(orderId: string): Error {
  return GetOrder.failure('OrderNotFound', { orderId });
}

function notVisibleYet(): HttpProblem {
  return new HttpProblem(
    503,
    'order-not-visible-yet',
    'The order is placed, but not to be seen yet; try again',
    {
      headers: { 'retry-after': '1' },
    },
  );
}
