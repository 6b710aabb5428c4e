import { formatMoney } from '@flotilla/contracts-money';
import { ListNotifications } from '@flotilla/contracts-notifications';
import { CancelOrder, DecideReview, type PlaceOrder } from '@flotilla/contracts-orders';
import type { PayloadOf } from '@flotilla/contracts-protocol';
import { ListOrders, type OrderView } from '@flotilla/contracts-tracking';
import { deterministicId } from '@flotilla/kernel';
import { withMessageId } from '@flotilla/service';
import { Controller, Req, Res } from '@nestjs/common';
import { CommandBus, QueryBus } from '@nestjs/cqrs';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { z } from 'zod';
import { callerOf, requireScope, visibleCustomer } from '../auth/caller.ts';
import { atLeastOf, noteWrite } from './consistency.ts';
import { commandIdOf } from './idempotency.ts';
import { Placement } from './placement.ts';
import { read } from './read-request.ts';
import { Serves } from './route.ts';
import { routes } from './routes.ts';
import type { order, orderList } from './schemas/orders.schemas.ts';
import { TrackedOrders } from './tracked-orders.ts';

@Controller()
export class OrdersController {
  constructor(
    private readonly commands: CommandBus,
    private readonly queries: QueryBus,
    private readonly placement: Placement,
    private readonly orders: TrackedOrders,
  ) {}

  @Serves(routes.placeOrder)
  async place(@Req() request: FastifyRequest, @Res({ passthrough: true }) reply: FastifyReply) {
    const caller = callerOf(request);
    const body = read('body', routes.placeOrder.body, request.body);
    const commandId = commandIdOf(routes.placeOrder, request, caller.subject);
    const customerId = body.customerId ?? caller.subject;
    if (customerId !== caller.subject)
      requireScope(caller, 'orders:place-for-any', 'An order for another customer');
    if (body.lines.some(({ unitPrice }) => unitPrice))
      requireScope(caller, 'orders:agree-price', 'An agreed price');
    // The same request names the same order.
    const orderId = deterministicId('order', commandId);
    const placed = await this.placement.place(toPlacement(orderId, customerId, body), commandId);
    void reply.header('location', `/v1/orders/${placed.orderId}`);
    noteWrite(reply, placed);
    return placed;
  }

  @Serves(routes.listOrders)
  async list(@Req() request: FastifyRequest): Promise<z.output<typeof orderList>> {
    const { customerId, ...filter } = read('query', routes.listOrders.query, request.query);
    const atLeast = atLeastOf(request);
    const visible = visibleCustomer(callerOf(request));
    // Asking for another's orders without the scope finds none, like asking for one of them.
    if (visible !== undefined && customerId !== undefined && customerId !== visible) return { orders: [] };
    const page = await this.queries.execute(
      new ListOrders({ ...filter, customerId: customerId ?? visible, atLeast }),
    );
    return { ...page, orders: page.orders.map(toSummary) };
  }

  @Serves(routes.getOrder)
  async get(@Req() request: FastifyRequest): Promise<z.output<typeof order>> {
    const { id } = read('path', routes.getOrder.params, request.params);
    const { lines, timeline, returns, ...rest } = await this.orders.find(
      id,
      visibleCustomer(callerOf(request)),
      atLeastOf(request),
    );
    return {
      ...toSummary(rest),
      lines: lines.map((line) => withUnitPrice(line, rest.total.currency)),
      timeline,
      ...(returns && {
        returns: returns.map(({ lines: returned, refund, ...each }) => ({
          ...each,
          lines: returned.map((line) => withUnitPrice(line, refund.currency)),
          refund: formatMoney(refund),
        })),
      }),
    };
  }

  @Serves(routes.cancelOrder)
  async cancel(@Req() request: FastifyRequest, @Res({ passthrough: true }) reply: FastifyReply) {
    const caller = callerOf(request);
    const { id: orderId } = read('path', routes.cancelOrder.params, request.params);
    const { reason } = read('body', routes.cancelOrder.body, request.body ?? undefined) ?? {};
    const commandId = commandIdOf(routes.cancelOrder, request, caller.subject);
    if (!caller.scopes.has('orders:place-for-any')) await this.orders.assertPlaced(orderId, caller.subject);
    const cancel = new CancelOrder({ orderId, ...(reason !== undefined && { reason }) });
    const cancelled = await this.commands.execute(withMessageId(cancel, commandId));
    noteWrite(reply, cancelled);
    return cancelled;
  }

  @Serves(routes.reviewOrder)
  async review(@Req() request: FastifyRequest, @Res({ passthrough: true }) reply: FastifyReply) {
    const { subject } = callerOf(request);
    const { id: orderId } = read('path', routes.reviewOrder.params, request.params);
    const { decision } = read('body', routes.reviewOrder.body, request.body);
    const commandId = commandIdOf(routes.reviewOrder, request, subject);
    const review = new DecideReview({ orderId, decision, reviewer: subject });
    const reviewed = await this.commands.execute(withMessageId(review, commandId));
    noteWrite(reply, reviewed);
    return reviewed;
  }

  @Serves(routes.orderNotifications)
  async notifications(@Req() request: FastifyRequest) {
    const { id: orderId } = read('path', routes.orderNotifications.params, request.params);
    await this.orders.assertPlaced(orderId, visibleCustomer(callerOf(request)));
    const { notifications } = await this.queries.execute(new ListNotifications({ orderId }));
    return { notifications: notifications.map(({ orderId: _of, ...notification }) => notification) };
  }
}

function toPlacement(
  orderId: string,
  customerId: string,
  { email, reference, lines, payment, shipTo }: z.output<typeof routes.placeOrder.body>,
): PayloadOf<PlaceOrder> {
  const agreed = lines.find(({ unitPrice }) => unitPrice)?.unitPrice;
  return {
    orderId,
    customerId,
    email,
    reference,
    ...(agreed && { currency: agreed.currency }),
    lines: lines.map(({ sku, quantity, unitPrice }) => ({
      sku,
      quantity,
      ...(unitPrice && { unitPriceMinor: unitPrice.amountMinor }),
    })),
    paymentToken: payment.token,
    shipTo,
  };
}

function withUnitPrice<L extends { readonly unitPriceMinor: number }>(
  { unitPriceMinor, ...line }: L,
  currency: string,
) {
  return { ...line, unitPrice: formatMoney({ amountMinor: unitPriceMinor, currency }) };
}

function toSummary(view: Omit<OrderView, 'lines' | 'timeline' | 'returns'>) {
  const { total, payment, ...rest } = view;
  return {
    ...rest,
    total: formatMoney(total),
    payment: {
      authorised: formatMoney(payment.authorised),
      captured: formatMoney(payment.captured),
      refunded: formatMoney(payment.refunded),
    },
  };
}
