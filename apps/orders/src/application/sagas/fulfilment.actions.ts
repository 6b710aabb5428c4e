import {
  OrderAwaitingReview,
  OrderCancellationRefused,
  OrderCancelled,
  OrderCompleted,
  OrderConfirmed,
  OrderRejected,
  OrderShipped,
  rejectionReason,
} from '@flotilla/contracts-orders';
import { FlotillaError, type Clock } from '@flotilla/kernel';
import { CLOCK } from '@flotilla/service';
import type { SagaReason } from '@flotilla/saga';
import { Inject, Injectable } from '@nestjs/common';
import { EventBus, type IEvent } from '@nestjs/cqrs';
import type { Order, OrderStatus } from '../../domain/order.ts';
import { OrdersRepository, type Ending } from '../../persistence/orders.repository.ts';
import { HOLD_MARGIN_MS, type FulfilmentActions } from './fulfilment.saga.ts';

interface Fact {
  readonly orderId: string;
  readonly customerId: string;
  readonly version: number;
  readonly at: string;
}

/** What the fulfilment does to the order itself: each a change of status and its event. */
@Injectable()
export class OrderFulfilmentActions implements FulfilmentActions {
  constructor(
    private readonly orders: OrdersRepository,
    private readonly events: EventBus,
    @Inject(CLOCK) private readonly clock: Clock,
  ) {}

  awaitReview(orderId: string, why: string): Promise<void> {
    return this.#become(orderId, 'awaiting_review', (fact) => new OrderAwaitingReview({ ...fact, why }));
  }

  isHeld(until: string): boolean {
    return this.clock.now() < Date.parse(until) - HOLD_MARGIN_MS;
  }

  confirm(orderId: string): Promise<void> {
    return this.#become(orderId, 'confirmed', (fact) => new OrderConfirmed(fact));
  }

  ship(orderId: string, trackingNumber: string): Promise<void> {
    return this.#become(orderId, 'shipped', (fact) => new OrderShipped({ ...fact, trackingNumber }));
  }

  complete(orderId: string): Promise<void> {
    return this.#become(orderId, 'completed', (fact, { state }) => {
      const total = { amountMinor: state.totalMinor, currency: state.currency };
      return new OrderCompleted({ ...fact, total });
    });
  }

  giveUp(orderId: string, reason: SagaReason): Promise<void> {
    const rejection = rejectionReason.safeParse(reason.code);
    const detail = reason.message;
    if (rejection.success) {
      return this.#become(
        orderId,
        'rejected',
        (fact) => new OrderRejected({ ...fact, reason: rejection.data, detail }),
        { rejectionReason: rejection.data, detail },
      );
    }
    // The customer's wish, the carrier, or a technical reason that an operator ended: nothing that the order is to
    // blame for.
    return this.#become(
      orderId,
      'cancelled',
      (fact) => new OrderCancelled({ ...fact, reason: detail, code: reason.code }),
      { detail },
    );
  }

  async refuseCancel(orderId: string, why: string): Promise<void> {
    const { customerId } = (await this.#find(orderId)).state;
    const at = new Date(this.clock.now()).toISOString();
    this.events.publish(new OrderCancellationRefused({ orderId, customerId, at, why }));
  }

  async #find(orderId: string): Promise<Order> {
    const order = await this.orders.find(orderId);
    if (!order)
      throw new FlotillaError('ORDER_MISSING', `There is no order ${orderId}, but its fulfilment runs`);
    return order;
  }

  async #become(
    orderId: string,
    status: OrderStatus,
    event: (fact: Fact, order: Order) => IEvent,
    ending?: Ending,
  ): Promise<void> {
    const order = await this.#find(orderId);
    const changed = order.become(status);
    const at = new Date(this.clock.now());
    await this.orders.save(changed, at, ending);
    const { customerId, version } = changed.state;
    this.events.publish(event({ orderId, customerId, version, at: at.toISOString() }, changed));
  }
}
