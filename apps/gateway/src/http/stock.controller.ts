import { GetStock, ReceiveStock } from '@flotilla/contracts-inventory';
import { withMessageId } from '@flotilla/service';
import { Controller, Req } from '@nestjs/common';
import { CommandBus, QueryBus } from '@nestjs/cqrs';
import type { FastifyRequest } from 'fastify';
import { callerOf } from '../auth/caller.ts';
import { commandIdOf } from './idempotency.ts';
import { read } from './read-request.ts';
import { Serves } from './route.ts';
import { routes } from './routes.ts';

@Controller()
export class StockController {
  constructor(
    private readonly commands: CommandBus,
    private readonly queries: QueryBus,
  ) {}

  @Serves(routes.getStock)
  get(@Req() request: FastifyRequest) {
    return this.queries.execute(new GetStock(read('path', routes.getStock.params, request.params)));
  }

  @Serves(routes.receiveStock)
  receive(@Req() request: FastifyRequest) {
    const { sku } = read('path', routes.receiveStock.params, request.params);
    const { quantity } = read('body', routes.receiveStock.body, request.body);
    const commandId = commandIdOf(routes.receiveStock, request, callerOf(request).subject);
    return this.commands.execute(withMessageId(new ReceiveStock({ sku, quantity }), commandId));
  }
}
