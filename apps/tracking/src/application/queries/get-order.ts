import type { ReplyOf } from '@flotilla/contracts-protocol';
import { GetOrder } from '@flotilla/contracts-tracking';
import { QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { OrderViewsRepository } from '../../persistence/order-views.repository.ts';

@QueryHandler(GetOrder)
export class GetOrderHandler implements IQueryHandler<GetOrder> {
  constructor(private readonly views: OrderViewsRepository) {}

  async execute({ payload: { orderId, customerId } }: GetOrder): Promise<ReplyOf<GetOrder>> {
    const view = await this.views.find(orderId, customerId);
    if (!view) throw GetOrder.failure('OrderNotFound', { orderId });
    return view;
  }
}
