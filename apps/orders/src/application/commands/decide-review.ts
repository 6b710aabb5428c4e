import { DecideReview, OrderReviewed } from '@flotilla/contracts-orders';
import type { ReplyOf } from '@flotilla/contracts-protocol';
import type { Clock } from '@flotilla/kernel';
import { CLOCK, Independent } from '@flotilla/service';
import { Inject } from '@nestjs/common';
import { CommandHandler, EventBus, type ICommandHandler } from '@nestjs/cqrs';
import { OrdersRepository } from '../../persistence/orders.repository.ts';

/** Records a person's decision; the fulfilment, which waits for it, goes on or gives up. */
@CommandHandler(DecideReview)
@Independent()
export class DecideReviewHandler implements ICommandHandler<DecideReview> {
  constructor(
    private readonly orders: OrdersRepository,
    private readonly events: EventBus,
    @Inject(CLOCK) private readonly clock: Clock,
  ) {}

  async execute({ payload: { orderId, decision, reviewer } }: DecideReview): Promise<ReplyOf<DecideReview>> {
    const order = await this.orders.find(orderId);
    if (!order) throw DecideReview.failure('OrderNotFound', { orderId });
    const { status, customerId } = order.state;
    if (status !== 'awaiting_review') throw DecideReview.failure('NotAwaitingReview', { status });
    // Decided is no longer awaiting: a second decision is refused, and a rejection follows from the saga.
    const reviewed = order.become('pending');
    const at = new Date(this.clock.now());
    await this.orders.save(reviewed, at);
    const { version } = reviewed.state;
    this.events.publish(
      new OrderReviewed({ orderId, customerId, version, at: at.toISOString(), decision, reviewer }),
    );
    return { orderId, decision, version };
  }
}
