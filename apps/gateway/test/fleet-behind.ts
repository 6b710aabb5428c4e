import {
  DefineProduct,
  GetProduct,
  GetProducts,
  ListProducts,
  type ProductView,
} from '@flotilla/contracts-catalog';
import { GetStock, ReceiveStock } from '@flotilla/contracts-inventory';
import { ListNotifications } from '@flotilla/contracts-notifications';
import {
  CancelOrder,
  DecideReview,
  FindOrder,
  isTerminal,
  ListReturns,
  OrderPlaced,
  PlaceOrder,
  RequestReturn,
  type OrderReturn,
  type OrderStatus,
} from '@flotilla/contracts-orders';
import { eventSubject, type PayloadOf } from '@flotilla/contracts-protocol';
import { GetOrder, GetTimeline, ListOrders, type OrderView } from '@flotilla/contracts-tracking';
import { newId } from '@flotilla/kernel';
import type { FakeServices } from './fake-services.ts';

const AT = '2026-01-02T03:04:05.000Z';
const pounds = (amountMinor: number) => ({ amountMinor, currency: 'GBP' });
const eventOf: Readonly<Record<OrderStatus, string>> = {
  pending: 'OrderPlaced',
  awaiting_review: 'OrderAwaitingReview',
  confirmed: 'OrderConfirmed',
  shipped: 'OrderShipped',
  completed: 'OrderCompleted',
  rejected: 'OrderRejected',
  cancelled: 'OrderCancelled',
};

/** A small fleet in memory: two products, and the orders that the test placed. */
export class FleetBehind {
  readonly products = new Map<string, ProductView>();
  readonly orders = new Map<string, OrderView>();
  readonly returns = new Map<string, OrderReturn[]>();
  readonly #fakes: FakeServices;

  constructor(fakes: FakeServices) {
    this.#fakes = fakes;
    this.define('LAMP', 255);
    this.define('POST', 1_800, 'charge');
  }

  define(sku: string, priceMinor: number, kind: ProductView['kind'] = 'stocked'): void {
    this.products.set(sku, { sku, name: `The ${sku}`, kind, price: pounds(priceMinor), version: 1 });
  }

  /** An order that is there already. */
  add(customerId: string, statuses: readonly OrderStatus[] = ['pending']): string {
    const orderId = newId();
    this.#track(orderId, { customerId, lines: [{ sku: 'LAMP', quantity: 2 }] });
    for (const status of statuses.slice(1)) this.becomes(orderId, status);
    return orderId;
  }

  /** Moves an order on, as its read side sees it. */
  becomes(orderId: string, status: OrderStatus): void {
    const order = this.#order(orderId);
    const entry = { position: order.timeline.length + 1, at: AT, event: eventOf[status], status };
    this.orders.set(orderId, { ...order, status, timeline: [...order.timeline, entry] });
  }

  /** The subject of the hint that an order's event sends around. */
  hintSubject(orderId: string): string {
    return eventSubject(OrderPlaced.contract, orderId);
  }

  async start(): Promise<void> {
    await this.#startOrders();
    await this.#startTracking();
    await this.#startCatalogue();
    const levels = (sku: string) => ({
      sku,
      onHand: 10,
      reserved: 0,
      shipped: 0,
      received: 10,
      restocked: 0,
    });
    await this.#fakes.answer(ReceiveStock, ({ sku, quantity }) => {
      if (this.products.get(sku)?.kind === 'charge') throw ReceiveStock.failure('NotStocked', { sku });
      return { ...levels(sku), onHand: quantity, received: quantity };
    });
    await this.#fakes.answer(GetStock, ({ sku }) => {
      if (!this.products.has(sku)) throw GetStock.failure('SkuNotFound', { sku });
      return levels(sku);
    });
    await this.#fakes.answer(ListNotifications, ({ orderId }) => ({
      notifications: [
        {
          notificationId: newId(),
          orderId,
          recipient: 'ada@example.org',
          subject: 'Thank you',
          body: 'We have your order.',
          status: 'sent' as const,
          createdAt: AT,
          sentAt: AT,
        },
      ],
    }));
  }

  async #startOrders(): Promise<void> {
    await this.#fakes.answer(PlaceOrder, (payload) => {
      const skus = payload.lines.map(({ sku }) => sku).filter((sku) => !this.products.has(sku));
      if (skus.length > 0)
        throw PlaceOrder.failure('UnknownProduct', { skus }, `Unknown products: ${skus.join(', ')}`);
      this.#track(payload.orderId, payload);
      return { orderId: payload.orderId, status: 'pending' as const };
    });
    await this.#fakes.answer(FindOrder, ({ orderId }) => {
      const order = this.orders.get(orderId);
      if (!order) throw FindOrder.failure('OrderNotFound', { orderId });
      const { customerId, status, total } = order;
      return { orderId, customerId, status, total, version: order.timeline.length };
    });
    await this.#fakes.answer(CancelOrder, ({ orderId }) => {
      const order = this.orders.get(orderId);
      if (!order) throw CancelOrder.failure('OrderNotFound', { orderId });
      if (order.status === 'shipped' || isTerminal(order.status)) {
        throw CancelOrder.failure('NotCancellable', { status: order.status, why: 'it has left' });
      }
      return { orderId, status: order.status };
    });
    await this.#fakes.answer(RequestReturn, ({ orderId, returnId, lines, reason }) => {
      const { status } = this.#order(orderId);
      if (status !== 'completed') {
        const refusal = { reason: 'not_completed' as const, status, lines: [] };
        throw RequestReturn.failure('NotReturnable', refusal, `The order is ${status}`);
      }
      const refund = pounds(lines.reduce((sum, { quantity }) => sum + quantity * 255, 0));
      this.returns.set(orderId, [
        ...(this.returns.get(orderId) ?? []),
        {
          returnId,
          status: 'requested',
          lines: lines.map((line) => ({ ...line, unitPriceMinor: 255 })),
          refund,
          reason,
          requestedAt: AT,
          updatedAt: AT,
        },
      ]);
      return { orderId, returnId, status: 'requested' as const };
    });
    await this.#fakes.answer(ListReturns, ({ orderId }) => {
      const order = this.orders.get(orderId);
      if (!order) throw ListReturns.failure('OrderNotFound', { orderId });
      return { orderId, customerId: order.customerId, returns: this.returns.get(orderId) ?? [] };
    });
    await this.#fakes.answer(DecideReview, ({ orderId, decision }) => {
      const { status } = this.#order(orderId);
      if (status !== 'awaiting_review') throw DecideReview.failure('NotAwaitingReview', { status });
      return { orderId, decision };
    });
  }

  async #startTracking(): Promise<void> {
    const visible = (orderId: string, customerId: string | undefined) => {
      const order = this.orders.get(orderId);
      return order && (customerId === undefined || order.customerId === customerId) ? order : undefined;
    };
    await this.#fakes.answer(GetOrder, ({ orderId, customerId }) => {
      const order = visible(orderId, customerId);
      if (!order) throw GetOrder.failure('OrderNotFound', { orderId });
      return order;
    });
    await this.#fakes.answer(GetTimeline, ({ orderId, after }) => {
      const order = visible(orderId, undefined);
      if (!order) throw GetTimeline.failure('OrderNotFound', { orderId });
      const { customerId, status, timeline } = order;
      return { customerId, status, entries: timeline.filter(({ position }) => position > after) };
    });
    await this.#fakes.answer(ListOrders, ({ customerId, status, cursor, limit }) => {
      if (cursor === 'broken') throw ListOrders.failure('InvalidCursor', { cursor });
      const found = [...this.orders.values()].filter(
        (order) =>
          (customerId === undefined || order.customerId === customerId) &&
          (status === undefined || order.status === status),
      );
      const orders = found
        .slice(0, limit)
        .map(({ lines: _lines, timeline: _timeline, returns: _returns, ...order }) => order);
      return { orders, ...(found.length > orders.length && { nextCursor: 'next' }) };
    });
  }

  async #startCatalogue(): Promise<void> {
    await this.#fakes.answer(DefineProduct, ({ sku, name, kind, price }) => {
      const known = this.products.get(sku);
      if (known && known.kind !== kind) throw DefineProduct.failure('KindIsFixed', { sku, kind: known.kind });
      const version = (known?.version ?? 0) + 1;
      this.products.set(sku, { sku, name, kind, price, version });
      return { sku, version, created: !known };
    });
    await this.#fakes.answer(GetProduct, ({ sku }) => {
      const product = this.products.get(sku);
      if (!product) throw GetProduct.failure('ProductNotFound', { sku });
      return product;
    });
    await this.#fakes.answer(GetProducts, ({ skus }) => ({
      products: skus.flatMap((sku) => this.products.get(sku) ?? []),
    }));
    await this.#fakes.answer(ListProducts, ({ limit }) => ({
      products: [...this.products.values()].slice(0, limit),
      ...(this.products.size > limit && { nextCursor: 'next' }),
    }));
  }

  #order(orderId: string): OrderView {
    const order = this.orders.get(orderId);
    if (!order) throw new Error(`the test has no order ${orderId}`);
    return order;
  }

  #track(
    orderId: string,
    { customerId, lines, reference }: Pick<PayloadOf<PlaceOrder>, 'customerId' | 'lines' | 'reference'>,
  ): void {
    const priced = lines.map(({ sku, quantity, unitPriceMinor }) => {
      const product = this.products.get(sku);
      if (!product) throw new Error(`the test has no product ${sku}`);
      return {
        sku,
        name: product.name,
        kind: product.kind,
        quantity,
        unitPriceMinor: unitPriceMinor ?? product.price.amountMinor,
      };
    });
    const totalMinor = priced.reduce((sum, line) => sum + line.quantity * line.unitPriceMinor, 0);
    this.orders.set(orderId, {
      orderId,
      customerId,
      status: 'pending',
      ...(reference !== undefined && { reference }),
      lines: priced,
      total: pounds(totalMinor),
      shipTo: { name: 'Ada', country: 'United Kingdom' },
      payment: { authorised: pounds(0), captured: pounds(0), refunded: pounds(0) },
      placedAt: AT,
      updatedAt: AT,
      timeline: [{ position: 1, at: AT, event: 'OrderPlaced', status: 'pending' }],
    });
  }
}
