import type { ReplyOf } from '@flotilla/contracts-protocol';
import { GetOrder, type OrderView, type ReturnView } from '@flotilla/contracts-tracking';
import { QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { OrderWaits } from '../order-waits.ts';
import { OrderViewsRepository } from '../../persistence/order-views.repository.ts';
import { ReturnViewsRepository } from '../../persistence/return-views.repository.ts';

@QueryHandler(GetOrder)
export class GetOrderHandler implements IQueryHandler<GetOrder> {
  constructor(
    private readonly views: OrderViewsRepository,
    private readonly waits: OrderWaits,
    private readonly returns: ReturnViewsRepository,
  ) {}

  async execute({ payload: { orderId, customerId, atLeast } }: GetOrder): Promise<ReplyOf<GetOrder>> {
    const waitedMs = await this.waits.behindAfterMs(atLeast, customerId);
    if (waitedMs !== undefined) throw GetOrder.failure('NotCaughtUp', { waitedMs });
    const view = await this.views.find(orderId, customerId);
    if (!view) throw GetOrder.failure('OrderNotFound', { orderId });
    const returns = await this.returns.of(orderId);
    return returns.length === 0 ? view : { ...view, lines: withReturned(view.lines, returns), returns };
  }
}

/** Says of each line how many of its pieces came back; equal lines share them in their order. */
function withReturned(lines: OrderView['lines'], returns: readonly ReturnView[]): OrderView['lines'] {
  const keyOf = ({ sku, unitPriceMinor }: { sku: string; unitPriceMinor: number }): string =>
    `${unitPriceMinor} ${sku}`;
  const left = new Map<string, number>();
  for (const line of returns.filter(({ status }) => status === 'completed').flatMap((each) => each.lines)) {
    left.set(keyOf(line), (left.get(keyOf(line)) ?? 0) + line.quantity);
  }
  return lines.map((line) => {
    const returned = Math.min(line.quantity, left.get(keyOf(line)) ?? 0);
    if (returned === 0) return line;
    left.set(keyOf(line), (left.get(keyOf(line)) ?? 0) - returned);
    return { ...line, returned };
  });
}
