import { ScreenOrder } from '@flotilla/contracts-fraud';
import type { ReplyOf } from '@flotilla/contracts-protocol';
import { Independent } from '@flotilla/service';
import { CommandHandler, type ICommandHandler } from '@nestjs/cqrs';
import { screen } from '../../domain/screening.ts';
import { OrdersConfig } from '../../orders.config.ts';

/** Screens orders by simple rules, in place of a screening service. */
@CommandHandler(ScreenOrder)
@Independent()
export class ScreenOrderHandler implements ICommandHandler<ScreenOrder> {
  constructor(private readonly config: OrdersConfig) {}

  execute({ payload }: ScreenOrder): Promise<ReplyOf<ScreenOrder>> {
    return Promise.resolve(screen(payload, this.config));
  }
}
