import { ListNotifications } from '@flotilla/contracts-notifications';
import type { ReplyOf } from '@flotilla/contracts-protocol';
import { QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { Mailbox } from '../../persistence/mailbox.ts';

/** The messages about one order; none is an answer too. */
@QueryHandler(ListNotifications)
export class ListNotificationsHandler implements IQueryHandler<ListNotifications> {
  constructor(private readonly mailbox: Mailbox) {}

  async execute({ payload: { orderId } }: ListNotifications): Promise<ReplyOf<ListNotifications>> {
    return { notifications: await this.mailbox.listOf(orderId) };
  }
}
