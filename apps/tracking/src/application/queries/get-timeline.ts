import type { ReplyOf } from '@flotilla/contracts-protocol';
import { GetTimeline } from '@flotilla/contracts-tracking';
import { QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { OrderViewsRepository } from '../../persistence/order-views.repository.ts';

@QueryHandler(GetTimeline)
export class GetTimelineHandler implements IQueryHandler<GetTimeline> {
  constructor(private readonly views: OrderViewsRepository) {}

  async execute({ payload: { orderId, after } }: GetTimeline): Promise<ReplyOf<GetTimeline>> {
    const timeline = await this.views.timeline(orderId, after);
    if (!timeline) throw GetTimeline.failure('OrderNotFound', { orderId });
    return timeline;
  }
}
