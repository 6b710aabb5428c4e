import { GetProducts } from '@flotilla/contracts-catalog';
import { formatMoney, parseAmountMinor, type DecimalMoney } from '@flotilla/contracts-money';
import { ListNotifications } from '@flotilla/contracts-notifications';
import { CancelOrder, DecideReview, FindOrder, PlaceOrder } from '@flotilla/contracts-orders';
import type { PayloadOf, ReplyOf } from '@flotilla/contracts-protocol';
import { GetOrder, ListOrders, type OrderView } from '@flotilla/contracts-tracking';
import { deterministicId, FlotillaError, type Clock } from '@flotilla/kernel';
import { CLOCK, wasReplayed, withMessageId } from '@flotilla/service';
import { Controller, Inject, Req, Res } from '@nestjs/common';
import { CommandBus, QueryBus } from '@nestjs/cqrs';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { z } from 'zod';
import { callerOf, requireScope, visibleCustomer, type Caller } from '../auth/caller.ts';
import { commandIdOf } from './idempotency.ts';
import { HttpProblem } from './problem.ts';
import { read } from './read-request.ts';
import { Serves } from './route.ts';
import { routes } from './routes.ts';
import type { order, orderList } from './schemas/orders.schemas.ts';

/** How long an eventually consistent copy may lag before its answer is believed. */
const COPY_LAG_MS = 2_000;
const COPY_POLL_MS = 50;

/** `Idempotency-Replayed: true` tells a caller that this is the answer of an earlier time. */
const REPLAYED = 'idempotency-replayed';

@Controller()
export class OrdersController {
  constructor(
    private readonly commands: CommandBus,
    private readonly queries: QueryBus,
    @Inject(CLOCK) private readonly clock: Clock,
  ) {}

  @Serves(routes.placeOrder)
  async place(@Req() request: FastifyRequest, @Res({ passthrough: true }) reply: FastifyReply) {
    const caller = callerOf(request);
    const body = read('body', routes.placeOrder.body, request.body);
    const commandId = commandIdOf(routes.placeOrder, request, caller.subject);
    const customerId = body.customerId ?? caller.subject;
    if (customerId !== caller.subject) requireScope(caller, 'orders:place-for-any', 'An order for another customer');
    if (body.lines.some(({ unitPrice }) => unitPrice)) requireScope(caller, 'orders:agree-price', 'An agreed price');
    const payload: PayloadOf<PlaceOrder> = {
      // The same request names the same order.
      orderId: deterministicId('order', commandId),
      customerId,
      email: body.email,
      reference: body.reference,
      lines: body.lines.map(({ sku, quantity, unitPrice }) => ({
        sku,
        quantity,
        ...(unitPrice && { unitPriceMinor: minorUnits(unitPrice) }),
      })),
      paymentToken: body.payment.token,
      shipTo: body.shipTo,
    };
    const placed = await this.#place(payload, commandId);
    void reply.header('location', `/v1/orders/${placed.orderId}`);
    if (wasReplayed(placed)) void reply.header(REPLAYED, 'true');
    return placed;
  }

  @Serves(routes.listOrders)
  async list(@Req() request: FastifyRequest): Promise<z.output<typeof orderList>> {
    const { customerId, ...filter } = read('query', routes.listOrders.query, request.query);
    const visible = visibleCustomer(callerOf(request));
    // Asking for another's orders without the scope finds none, like asking for one of them.
    if (visible !== undefined && customerId !== undefined && customerId !== visible) return { orders: [] };
    const page = await this.queries.execute(new ListOrders({ ...filter, customerId: customerId ?? visible }));
    return { ...page, orders: page.orders.map(toSummary) };
  }

  @Serves(routes.getOrder)
  async get(@Req() request: FastifyRequest): Promise<z.output<typeof order>> {
    const { id } = read('path', routes.getOrder.params, request.params);
    const { lines, timeline, ...rest } = await this.#find(id, visibleCustomer(callerOf(request)));
    return {
      ...toSummary(rest),
      lines: lines.map(({ unitPriceMinor, ...line }) => ({
        ...line,
        unitPrice: formatMoney({ amountMinor: unitPriceMinor, currency: rest.total.currency }),
      })),
      timeline,
    };
  }

  @Serves(routes.cancelOrder)
  async cancel(@Req() request: FastifyRequest, @Res({ passthrough: true }) reply: FastifyReply) {
    const caller = callerOf(request);
    const { id: orderId } = read('path', routes.cancelOrder.params, request.params);
    const body = read('body', routes.cancelOrder.body, request.body ?? undefined);
    const commandId = commandIdOf(routes.cancelOrder, request, caller.subject);
    await this.#assertOwn(orderId, caller);
    const cancelled = await this.commands.execute(
      withMessageId(new CancelOrder({ orderId, ...(body?.reason !== undefined && { reason: body.reason }) }), commandId),
    );
    if (wasReplayed(cancelled)) void reply.header(REPLAYED, 'true');
    return cancelled;
  }

  @Serves(routes.reviewOrder)
  async review(@Req() request: FastifyRequest) {
    const caller = callerOf(request);
    const { id: orderId } = read('path', routes.reviewOrder.params, request.params);
    const { decision } = read('body', routes.reviewOrder.body, request.body);
    const commandId = commandIdOf(routes.reviewOrder, request, caller.subject);
    const review = new DecideReview({ orderId, decision, reviewer: caller.subject });
    return this.commands.execute(withMessageId(review, commandId));
  }

  @Serves(routes.orderNotifications)
  async notifications(@Req() request: FastifyRequest) {
    const { id: orderId } = read('path', routes.orderNotifications.params, request.params);
    await this.#find(orderId, visibleCustomer(callerOf(request)));
    const { notifications } = await this.queries.execute(new ListNotifications({ orderId }));
    return { notifications: notifications.map(({ orderId: _of, ...notification }) => notification) };
  }

  /**
   * Places the order. A product that was defined a moment ago may not have reached the orders service: as long as
   * the catalogue knows all products, it is tried again, each time under an id that follows from the first.
   */
  async #place(payload: PayloadOf<PlaceOrder>, commandId: string): Promise<ReplyOf<PlaceOrder>> {
    const deadline = this.clock.monotonicMs() + COPY_LAG_MS;
    for (let attempt = 0; ; attempt++) {
      const id = attempt === 0 ? commandId : deterministicId(commandId, 'again', attempt);
      try {
        return await this.commands.execute(withMessageId(new PlaceOrder(payload), id));
      } catch (error) {
        if (!PlaceOrder.isFailure(error, 'UnknownProduct')) throw error;
        // A repeated request walks through the remembered refusals without waiting.
        if (wasReplayed(error)) continue;
        if (this.clock.monotonicMs() >= deadline || !(await this.#catalogueKnows(error.data.skus))) throw error;
        await this.clock.sleep(COPY_POLL_MS);
      }
    }
  }

  async #catalogueKnows(skus: readonly string[]): Promise<boolean> {
    try {
      const { products } = await this.queries.execute(new GetProducts({ skus: [...skus] }));
      return products.length === skus.length;
    } catch (error) {
      // Ordering goes on without the catalogue: what the orders service knows then decides.
      if (error instanceof FlotillaError && error.retry === 'later') return false;
      throw error;
    }
  }

  /** The tracked order; one that was placed a moment ago is waited for. */
  async #find(orderId: string, customerId: string | undefined): Promise<OrderView> {
    const query = new GetOrder({ orderId, customerId });
    try {
      return await this.queries.execute(query);
    } catch (error) {
      if (!GetOrder.isFailure(error, 'OrderNotFound')) throw error;
    }
    const found = await this.queries.execute(new FindOrder({ orderId }));
    if (customerId !== undefined && found.customerId !== customerId) throw notFound(orderId);
    const deadline = this.clock.monotonicMs() + COPY_LAG_MS;
    for (;;) {
      try {
        return await this.queries.execute(query);
      } catch (error) {
        if (!GetOrder.isFailure(error, 'OrderNotFound')) throw error;
        if (this.clock.monotonicMs() >= deadline) {
          throw new HttpProblem(503, 'order-not-visible-yet', 'The order is placed, but not to be seen yet; try again', {
            headers: { 'retry-after': '1' },
          });
        }
        await this.clock.sleep(COPY_POLL_MS);
      }
    }
  }

  async #assertOwn(orderId: string, caller: Caller): Promise<void> {
    if (caller.scopes.has('orders:place-for-any')) return;
    const { customerId } = await this.queries.execute(new FindOrder({ orderId }));
    if (customerId !== caller.subject) throw notFound(orderId);
  }
}

function minorUnits({ amount, currency }: DecimalMoney): number {
  const minor = parseAmountMinor(amount, currency);
  if (minor < 0) throw new HttpProblem(400, 'invalid-request', 'A unit price must not be negative');
  return minor;
}

// Whether it exists is not for others to know: the answer is the same.
function notFound(orderId: string): Error {
  return GetOrder.failure('OrderNotFound', { orderId });
}

function toSummary(view: Omit<OrderView, 'lines' | 'timeline'>) {
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
