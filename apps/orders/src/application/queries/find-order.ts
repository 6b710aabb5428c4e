import { FindOrder } from '@flotilla/contracts-orders';
import type { ReplyOf } from '@flotilla/contracts-protocol';
import { QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { OrdersRepository } from '../../persistence/orders.repository.ts';

@QueryHandler(FindOrder)
export class FindOrderHandler implements IQueryHandler<FindOrder> {
  constructor(private readonly orders: OrdersRepository) {}

  async execute({ payload: { orderId } }: FindOrder): Promise<ReplyOf<FindOrder>> {
    const order = await this.orders.find(orderId);
    if (!order) throw FindOrder.failure('OrderNotFound', { orderId });
    const { customerId, status, version, totalMinor, currency } = order.state;
    return { orderId, customerId, status, version, total: { amountMinor: totalMinor, currency } };
  }
}
