import { OrderReturnClosed, OrderReturned } from '@flotilla/contracts-orders';
import { FlotillaError, type Clock } from '@flotilla/kernel';
import type { SagaReason } from '@flotilla/saga';
import { CLOCK } from '@flotilla/service';
import { Inject, Injectable } from '@nestjs/common';
import { EventBus } from '@nestjs/cqrs';
import { OrdersRepository } from '../../persistence/orders.repository.ts';
import { ReturnsRepository } from '../../persistence/returns.repository.ts';
import type { ReturnActions, ReturnData } from './return.saga.ts';

type ReturnFact = ConstructorParameters<typeof OrderReturned>[0];

/** What the return saga does to the return, and to its order's version and events. */
@Injectable()
export class OrderReturnActions implements ReturnActions {
  constructor(
    private readonly orders: OrdersRepository,
    private readonly returns: ReturnsRepository,
    private readonly events: EventBus,
    @Inject(CLOCK) private readonly clock: Clock,
  ) {}

  async receive({ returnId }: ReturnData): Promise<void> {
    await this.returns.become(returnId, 'received', new Date(this.clock.now()));
  }

  async complete(data: ReturnData): Promise<void> {
    const at = new Date(this.clock.now());
    const fact = await this.#note(data, at);
    await this.returns.become(data.returnId, 'completed', at);
    this.events.publish(new OrderReturned(fact));
  }

  async close(data: ReturnData, { code, message: detail }: SagaReason): Promise<void> {
    const at = new Date(this.clock.now());
    const outcome = code === 'expired' ? 'expired' : 'cancelled';
    const fact = await this.#note(data, at);
    await this.returns.become(data.returnId, outcome, at, detail);
    this.events.publish(new OrderReturnClosed({ ...fact, outcome, detail }));
  }

  /** Counts one more event of the order. */
  async #note({ orderId, customerId, returnId, lines, refund }: ReturnData, at: Date): Promise<ReturnFact> {
    const found = await this.returns.lockOrder(orderId);
    if (!found) throw new FlotillaError('ORDER_MISSING', `There is no order ${orderId}, but a return of it`);
    const order = found.order.noteReturn();
    await this.orders.save(order, at);
    const { version } = order.state;
    return { orderId, customerId, version, at: at.toISOString(), returnId, lines: [...lines], refund };
  }
}
