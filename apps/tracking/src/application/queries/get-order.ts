import type { ReplyOf } from '@flotilla/contracts-protocol';
import { GetOrder } from '@flotilla/contracts-tracking';
import { QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { OrderWaits } from '../order-waits.ts';
import { OrderViewsRepository } from '../../persistence/order-views.repository.ts';

@QueryHandler(GetOrder)
export class GetOrderHandler implements IQueryHandler<GetOrder> {
  constructor(
    private readonly views: OrderViewsRepository,
    private readonly waits: OrderWaits,
  ) {}

  async execute({ payload: { orderId, customerId, atLeast } }: GetOrder): Promise<ReplyOf<GetOrder>> {
    const waitedMs = await this.waits.behindAfterMs(atLeast, customerId);
    if (waitedMs !== undefined) throw GetOrder.failure('NotCaughtUp', { waitedMs });
    const view = await this.views.find(orderId, customerId);
    if (!view) throw GetOrder.failure('OrderNotFound', { orderId });
    return view;
  }
}
