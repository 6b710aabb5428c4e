import { CancelOrder } from '@flotilla/contracts-orders';
import type { ReplyOf } from '@flotilla/contracts-protocol';
import { Independent, Sagas } from '@flotilla/service';
import { Inject } from '@nestjs/common';
import { CommandHandler, type ICommandHandler } from '@nestjs/cqrs';
import { OrdersRepository } from '../../persistence/orders.repository.ts';
import { FULFILMENT, type Fulfilment } from '../sagas/fulfilment.provider.ts';

/**
 * Tells the fulfilment to stop and undo; the order becomes cancelled when all is undone. While it is being handed over,
 * shipping decides: it becomes cancelled, or `OrderCancellationRefused` says why not.
 */
@CommandHandler(CancelOrder)
@Independent()
export class CancelOrderHandler implements ICommandHandler<CancelOrder> {
  constructor(
    private readonly orders: OrdersRepository,
    private readonly sagas: Sagas,
    @Inject(FULFILMENT) private readonly fulfilment: Fulfilment,
  ) {}

  async execute({ payload: { orderId, reason } }: CancelOrder): Promise<ReplyOf<CancelOrder>> {
    const order = await this.orders.find(orderId);
    if (!order) throw CancelOrder.failure('OrderNotFound', { orderId });
    const { status, version } = order.state;
    // Asked twice, it is cancelled once, and the answer is the same.
    if (status === 'cancelled') return { orderId, status, version };
    if (order.isTerminal) {
      throw CancelOrder.failure('NotCancellable', { status, why: `it is ${status}` });
    }
    const cancellation = await this.sagas.cancel(this.fulfilment, orderId, reason);
    if (!cancellation.accepted) {
      throw CancelOrder.failure('NotCancellable', { status, why: cancellation.why });
    }
    // With nothing to undo, the order is cancelled already, one version later.
    const now = (await this.orders.find(orderId)) ?? order;
    return { orderId, status, version: now.state.version };
  }
}
