import { ListReturns } from '@flotilla/contracts-orders';
import type { ReplyOf } from '@flotilla/contracts-protocol';
import { QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { OrdersRepository } from '../../persistence/orders.repository.ts';
import { ReturnsRepository } from '../../persistence/returns.repository.ts';

@QueryHandler(ListReturns)
export class ListReturnsHandler implements IQueryHandler<ListReturns> {
  constructor(
    private readonly orders: OrdersRepository,
    private readonly returns: ReturnsRepository,
  ) {}

  async execute({ payload: { orderId } }: ListReturns): Promise<ReplyOf<ListReturns>> {
    const order = await this.orders.find(orderId);
    if (!order) throw ListReturns.failure('OrderNotFound', { orderId });
    const returns = await this.returns.listOf(orderId);
    return {
      orderId,
      customerId: order.state.customerId,
      returns: returns.map(({ refundMinor, currency, lines, requestedAt, updatedAt, ...each }) => ({
        ...each,
        lines: [...lines],
        refund: { amountMinor: refundMinor, currency },
        requestedAt: requestedAt.toISOString(),
        updatedAt: updatedAt.toISOString(),
      })),
    };
  }
}
