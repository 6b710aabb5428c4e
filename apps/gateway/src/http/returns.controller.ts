import { formatMoney } from '@flotilla/contracts-money';
import { ListReturns, RequestReturn, type OrderReturn } from '@flotilla/contracts-orders';
import { deterministicId } from '@flotilla/kernel';
import { withMessageId } from '@flotilla/service';
import { Controller, Req, Res } from '@nestjs/common';
import { CommandBus, QueryBus } from '@nestjs/cqrs';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { z } from 'zod';
import { callerOf, visibleCustomer } from '../auth/caller.ts';
import { commandIdOf } from './idempotency.ts';
import { HttpProblem } from './problem.ts';
import { read } from './read-request.ts';
import { Serves } from './route.ts';
import { routes } from './routes.ts';
import type { orderReturn, orderReturns } from './schemas/orders.schemas.ts';
import { TrackedOrders } from './tracked-orders.ts';

/** What comes back of orders; read from the orders service itself, so that a return is there once it is accepted. */
@Controller()
export class ReturnsController {
  constructor(
    private readonly commands: CommandBus,
    private readonly queries: QueryBus,
    private readonly orders: TrackedOrders,
  ) {}

  @Serves(routes.requestReturn)
  async request(@Req() request: FastifyRequest, @Res({ passthrough: true }) reply: FastifyReply) {
    const caller = callerOf(request);
    const { id: orderId } = read('path', routes.requestReturn.params, request.params);
    const { lines, reason } = read('body', routes.requestReturn.body, request.body);
    const commandId = commandIdOf(routes.requestReturn, request, caller.subject);
    if (!caller.scopes.has('orders:place-for-any')) await this.orders.assertPlaced(orderId, caller.subject);
    const wanted = new RequestReturn({
      orderId,
      // The same request names the same return.
      returnId: deterministicId('return', commandId),
      lines,
      ...(reason !== undefined && { reason }),
    });
    const accepted = await this.commands.execute(withMessageId(wanted, commandId));
    void reply.header('location', `/v1/orders/${orderId}/returns/${accepted.returnId}`);
    return accepted;
  }

  @Serves(routes.listReturns)
  async list(@Req() request: FastifyRequest): Promise<z.output<typeof orderReturns>> {
    const { id } = read('path', routes.listReturns.params, request.params);
    return { returns: (await this.#returnsOf(id, request)).map(toReturn) };
  }

  @Serves(routes.getReturn)
  async get(@Req() request: FastifyRequest): Promise<z.output<typeof orderReturn>> {
    const { id, returnId } = read('path', routes.getReturn.params, request.params);
    const found = (await this.#returnsOf(id, request)).find((each) => each.returnId === returnId);
    if (!found) throw new HttpProblem(404, 'return-not-found', 'The order has no such return');
    return toReturn(found);
  }

  async #returnsOf(orderId: string, request: FastifyRequest): Promise<OrderReturn[]> {
    const visible = visibleCustomer(callerOf(request));
    const { customerId, returns } = await this.queries.execute(new ListReturns({ orderId }));
    // Whether it exists is not for others to know: the answer is the same.
    if (visible !== undefined && customerId !== visible)
      throw ListReturns.failure('OrderNotFound', { orderId });
    return returns;
  }
}

function toReturn({ lines, refund, ...rest }: OrderReturn): z.output<typeof orderReturn> {
  return {
    ...rest,
    lines: lines.map(({ unitPriceMinor, ...line }) => ({
      ...line,
      unitPrice: formatMoney({ amountMinor: unitPriceMinor, currency: refund.currency }),
    })),
    refund: formatMoney(refund),
  };
}
