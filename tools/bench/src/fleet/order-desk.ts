import type { NatsConnection } from '@nats-io/nats-core';
import { OrderCancelled, OrderCompleted, OrderRejected } from '@flotilla/contracts-orders';
import { contractOf, eventFilter } from '@flotilla/contracts-protocol';
import { ApiClient } from '@flotilla/fleet/import/api-client';
import { authenticateAs, importScopes } from '@flotilla/fleet/import/authenticate';
import { forEachBounded } from '@flotilla/fleet/import/bounded';
import type { NatsAccess } from '@flotilla/fleet/stack/nats-access';
import { systemClock } from '@flotilla/kernel';
import { connectNats } from '@flotilla/messaging';
import type { OrderMix } from './order-mix.ts';

/** How an order ended: the name of the event. */
interface Ending {
  readonly status: string;
}

/** Pieces of each product: more than any run orders. */
const STOCK = 100_000_000;
const CONNECTIONS = 64;
const SETUP_CONCURRENCY = 32;
/** How long one order may take to end. */
const ORDER_TIMEOUT_MS = 180_000;
const ENDINGS = [OrderCompleted, OrderRejected, OrderCancelled];

/** Places orders through the public API and hears of their end from the events: nothing is polled. */
export class OrderDesk {
  readonly #api: ApiClient;
  readonly #nats: NatsConnection;
  readonly #mix: OrderMix;
  readonly #run = `bench-${process.pid}-${Date.now()}`;
  readonly #ended = new Map<string, Ending>();
  readonly #waiting = new Map<string, (ending: Ending) => void>();
  /** Time from sending an order until it was accepted, in milliseconds; emptied by {@link takeAcceptMs}. */
  #acceptMs: number[] = [];
  #placed = 0;

  private constructor(api: ApiClient, nats: NatsConnection, mix: OrderMix) {
    this.#api = api;
    this.#nats = nats;
    this.#mix = mix;
    for (const event of ENDINGS) {
      nats.subscribe(eventFilter(contractOf(event)), {
        callback: (error, message) => {
          if (error === null) this.#heard(contractOf(event).name, message.subject);
        },
      });
    }
  }

  static async open(apiUrl: string, access: NatsAccess, mix: OrderMix): Promise<OrderDesk> {
    const api = new ApiClient({
      url: apiUrl,
      connections: CONNECTIONS,
      authenticate: authenticateAs({ scopes: importScopes }),
    });
    const nats = await connectNats({ ...access, name: 'bench orders' });
    const desk = new OrderDesk(api, nats, mix);
    await nats.flush();
    return desk;
  }

  /** The version of the NATS server. */
  get natsVersion(): string {
    return this.#nats.info?.version ?? 'unknown';
  }

  /** Orders placed so far. */
  get placed(): number {
    return this.#placed;
  }

  /** Requests that had to be repeated, because the gateway was busy. */
  get retries(): number {
    return this.#api.retries;
  }

  /** Defines the products and receives their stock. */
  async stockUp(): Promise<void> {
    await forEachBounded(this.#mix.products, SETUP_CONCURRENCY, async ({ sku, name, kind, price }) => {
      const path = encodeURIComponent(sku);
      await this.#api.send({ method: 'PUT', path: `/v1/products/${path}`, body: { name, kind, price } });
      if (kind === 'charge') return;
      await this.#api.send({
        method: 'POST',
        path: `/v1/stock/${path}/receipts`,
        body: { quantity: STOCK },
        idempotencyKey: `${this.#run}-stock-${path.replaceAll('%', '.')}`,
      });
    });
  }

  /** Places one order and waits until it has ended. Throws when it ended otherwise than completed. */
  async order(): Promise<void> {
    const at = this.#placed++;
    const order = this.#mix.orders[at % this.#mix.orders.length];
    const sentMs = systemClock.monotonicMs();
    const { body } = await this.#api.send({
      method: 'POST',
      path: '/v1/orders',
      body: { ...order, payment: { token: 'tok_ok' } },
      idempotencyKey: `${this.#run}-${at}`,
    });
    this.#acceptMs.push(systemClock.monotonicMs() - sentMs);
    const { orderId } = body as { orderId: string };
    const { status } = await this.#ending(orderId);
    if (status !== 'OrderCompleted') throw new Error(`Order ${orderId} ended with ${status}`);
  }

  /** The times to acceptance since the last call. */
  takeAcceptMs(): number[] {
    const taken = this.#acceptMs;
    this.#acceptMs = [];
    return taken;
  }

  async close(): Promise<void> {
    this.#api.close();
    await this.#nats.close();
  }

  #ending(orderId: string): Promise<Ending> {
    const early = this.#ended.get(orderId);
    this.#ended.delete(orderId);
    if (early !== undefined) return Promise.resolve(early);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(orderId);
        reject(new Error(`Order ${orderId} has not ended within ${ORDER_TIMEOUT_MS / 1_000} s`));
      }, ORDER_TIMEOUT_MS).unref();
      this.#waiting.set(orderId, (ending) => {
        clearTimeout(timer);
        resolve(ending);
      });
    });
  }

  #heard(status: string, subject: string): void {
    const orderId = subject.slice(subject.lastIndexOf('.') + 1);
    const ending: Ending = { status };
    const waiting = this.#waiting.get(orderId);
    // An order may end before the answer that names it has come.
    if (waiting === undefined) this.#ended.set(orderId, ending);
    this.#waiting.delete(orderId);
    waiting?.(ending);
  }
}
