import type { ReplyOf } from '@flotilla/contracts-protocol';
import { ListOrders } from '@flotilla/contracts-tracking';
import { QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { readCursor, writeCursor } from '../../domain/cursor.ts';
import { OrderWaits } from '../order-waits.ts';
import { OrderViewsRepository } from '../../persistence/order-views.repository.ts';

@QueryHandler(ListOrders)
export class ListOrdersHandler implements IQueryHandler<ListOrders> {
  constructor(
    private readonly views: OrderViewsRepository,
    private readonly waits: OrderWaits,
  ) {}

  async execute({
    payload: { customerId, status, cursor, limit, atLeast },
  }: ListOrders): Promise<ReplyOf<ListOrders>> {
    const after = cursor === undefined ? undefined : readCursor(cursor);
    if (cursor !== undefined && !after) throw ListOrders.failure('InvalidCursor', { cursor });
    const waitedMs = await this.waits.behindAfterMs(atLeast, customerId);
    if (waitedMs !== undefined) throw ListOrders.failure('NotCaughtUp', { waitedMs });
    // One more than asked for tells whether there is a next page.
    const found = await this.views.list({ customerId, status, after, limit: limit + 1 });
    const orders = found.slice(0, limit);
    const last = orders.at(-1);
    return { orders, ...(found.length > limit && last && { nextCursor: writeCursor(last) }) };
  }
}
