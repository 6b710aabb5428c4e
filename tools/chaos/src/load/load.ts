import type { MixOrder, OrderMix } from '@flotilla/bench/fleet/order-mix';
import { arrivalGapMs } from '@flotilla/bench/random';
import { ApiClient } from '@flotilla/fleet/import/api-client';
import { authenticateAs, importScopes } from '@flotilla/fleet/import/authenticate';
import { forEachBounded } from '@flotilla/fleet/import/bounded';
import { ApiRefusedError } from '@flotilla/fleet/import/import.errors';
import { errorMessage, systemClock } from '@flotilla/kernel';
import { PostgresReader } from './postgres-reader.ts';

export interface LoadOptions {
  readonly apiUrl: string;
  /** Of the orders' database. */
  readonly ordersUrl: string;
  readonly mix: OrderMix;
  readonly random: () => number;
  readonly perSecond: number;
  /** Tells the keys of this run from those of another. */
  readonly run: string;
}

/** An order that the load has sent. */
export interface SentOrder {
  readonly key: string;
  readonly order: MixOrder;
  readonly token: string;
  /** Monotonic. */
  readonly sentMs: number;
  /** Of the API's 202; undefined until then. */
  orderId?: string;
  acceptedMs?: number;
  status?: string;
  /** Monotonic: when its end was seen. */
  endedMs?: number;
  /** The API would not take it, for good. */
  refused?: boolean;
}

/** What a customer pays with, and how often. `tok_timeout` keeps an order waiting for a minute by design. */
const TOKENS = [
  ['tok_ok', 0.88],
  ['tok_declined', 0.04],
  ['tok_insufficient_funds', 0.03],
  ['tok_flaky', 0.05],
] as const;
const CANCEL_SHARE = 0.06;
const CANCEL_WITHIN_MS = 1_500;
const RETURN_SHARE = 0.06;
const POLL_MS = 200;
/** Orders that have not ended at a time; more are not sent: the load is bounded whatever breaks. */
const MAX_OPEN = 1_500;
const STOCK = 10_000_000;
/** Pieces of the product that is scarce: some orders are refused for want of it. */
const SCARCE_STOCK = 40;
const SCARCE_SHARE = 0.08;
export const SCARCE_SKU = 'CHAOS-SCARCE';
const CONNECTIONS = 64;
const PATIENCE_MS = 240_000;
const ENDED: ReadonlySet<string> = new Set(['completed', 'rejected', 'cancelled']);

/**
 * Customers of the public API: orders arrive at random, some are cancelled, some sent back. A request that fails is
 * repeated under its idempotency key until it is answered, as the API asks clients to do. How orders end is read from the
 * orders' database, past everything that is being broken.
 */
export class Load {
  readonly sent: SentOrder[] = [];
  /** What the API refused for good: an error of the load or of the fleet. */
  readonly refused: string[] = [];
  readonly #options: LoadOptions;
  readonly #api: ApiClient;
  readonly #reader: PostgresReader;
  readonly #open = new Map<string, SentOrder>();
  readonly #underWay = new Set<Promise<void>>();
  readonly #stopped = new AbortController();
  #arriving = new AbortController();
  #loops: Promise<void>[] = [];
  cancelsAccepted = 0;
  returnsAccepted = 0;
  heldBack = 0;

  constructor(options: LoadOptions) {
    this.#options = options;
    this.#reader = new PostgresReader(options.ordersUrl);
    this.#api = new ApiClient({
      url: options.apiUrl,
      connections: CONNECTIONS,
      patienceMs: PATIENCE_MS,
      authenticate: authenticateAs({ scopes: importScopes }),
    });
  }

  get repeated(): number {
    return this.#api.retries;
  }

  get accepted(): readonly SentOrder[] {
    return this.sent.filter(({ orderId }) => orderId !== undefined);
  }

  /** Sent and not seen to end. */
  get open(): number {
    return this.openOf(Infinity).length;
  }

  get ended(): number {
    return this.sent.filter(({ endedMs }) => endedMs !== undefined).length;
  }

  /** Of the orders sent before a moment, how many have not ended. */
  openOf(beforeMs: number): SentOrder[] {
    return this.sent.filter(
      ({ sentMs, endedMs, refused }) => sentMs < beforeMs && endedMs === undefined && refused !== true,
    );
  }

  /** Makes the products and their stock. */
  async prepare(): Promise<void> {
    const { mix, run } = this.#options;
    const price = { amount: '9.99', currency: mix.products[0]?.price.currency ?? 'GBP' };
    const scarce = {
      sku: SCARCE_SKU,
      name: 'A product of which there is little',
      kind: 'stocked' as const,
      price,
    };
    await forEachBounded([...mix.products, scarce], 16, async ({ sku, name, kind, price: each }) => {
      const path = encodeURIComponent(sku);
      await this.#api.send({
        method: 'PUT',
        path: `/v1/products/${path}`,
        body: { name, kind, price: each },
      });
      if (kind === 'charge') return;
      await this.#api.send({
        method: 'POST',
        path: `/v1/stock/${path}/receipts`,
        body: { quantity: sku === SCARCE_SKU ? SCARCE_STOCK : STOCK },
        idempotencyKey: `${run}-stock-${path.replaceAll('%', '.')}`,
      });
    });
  }

  /** Orders arrive from now on. */
  start(): void {
    this.#arriving = new AbortController();
    if (this.#loops.length === 0) this.#loops.push(this.#follow());
    this.#loops.push(this.#arrive(this.#arriving.signal));
  }

  /** No more orders arrive; those that were sent are followed to their end. */
  stop(): void {
    this.#arriving.abort();
  }

  async close(): Promise<void> {
    this.#arriving.abort();
    this.#stopped.abort();
    this.#api.close();
    await Promise.allSettled([...this.#loops, ...this.#underWay]);
    await this.#reader.close();
  }

  async #arrive(signal: AbortSignal): Promise<void> {
    const { random, perSecond, mix } = this.#options;
    let dueMs = systemClock.monotonicMs();
    while (!signal.aborted) {
      dueMs += arrivalGapMs(perSecond, random);
      const waitMs = dueMs - systemClock.monotonicMs();
      if (waitMs > 0) await systemClock.sleep(waitMs, signal);
      if (signal.aborted) return;
      if (this.open >= MAX_OPEN) {
        this.heldBack += 1;
        continue;
      }
      const at = this.sent.length;
      const template = mix.orders[at % mix.orders.length];
      if (template === undefined) return;
      const order =
        random() < SCARCE_SHARE
          ? { ...template, lines: [...template.lines, { sku: SCARCE_SKU, quantity: 1 }] }
          : template;
      this.#track(
        this.#place(order, at, pick(TOKENS, random()), random() < CANCEL_SHARE ? random() : undefined),
      );
    }
  }

  async #place(order: MixOrder, at: number, token: string, cancelAfter: number | undefined): Promise<void> {
    const key = `${this.#options.run}-${at}`;
    const sent: SentOrder = { key, order, token, sentMs: systemClock.monotonicMs() };
    this.sent.push(sent);
    try {
      const { body } = await this.#api.send({
        method: 'POST',
        path: '/v1/orders',
        body: { ...order, payment: { token } },
        idempotencyKey: key,
      });
      sent.orderId = (body as { orderId: string }).orderId;
      sent.acceptedMs = systemClock.monotonicMs();
      this.#open.set(sent.orderId, sent);
    } catch (error) {
      if (this.#stopped.signal.aborted) return;
      sent.refused = true;
      this.refused.push(`${key}: ${errorMessage(error)}`);
      return;
    }
    if (cancelAfter === undefined) return;
    await systemClock.sleep(cancelAfter * CANCEL_WITHIN_MS, this.#stopped.signal);
    if (
      await this.#ask(`/v1/orders/${sent.orderId}/cancel`, { reason: 'changed my mind' }, `${key}-cancel`)
    ) {
      this.cancelsAccepted += 1;
    }
  }

  /** Reads how orders stand until all is over; acts as the customer or reviewer would. */
  async #follow(): Promise<void> {
    const { random } = this.#options;
    const { signal } = this.#stopped;
    while (!signal.aborted) {
      try {
        const rows = await this.#reader.query<{ order_id: string; status: string }>(
          'SELECT order_id, status FROM orders WHERE order_id = ANY ($1::uuid[])',
          [[...this.#open.keys()]],
        );
        const nowMs = systemClock.monotonicMs();
        for (const { order_id: orderId, status } of rows) {
          const sent = this.#open.get(orderId);
          if (sent === undefined || sent.status === status) continue;
          sent.status = status;
          if (status === 'awaiting_review') this.#track(this.#approve(sent));
          if (!ENDED.has(status)) continue;
          sent.endedMs = nowMs;
          this.#open.delete(orderId);
          if (status === 'completed' && random() < RETURN_SHARE) this.#track(this.#sendBack(sent));
        }
      } catch {
        // Postgres is away: that is what is being tried. The next round sees it.
      }
      await systemClock.sleep(POLL_MS, signal);
    }
  }

  async #approve({ orderId, key }: SentOrder): Promise<void> {
    await this.#ask(`/v1/orders/${orderId ?? ''}/review`, { decision: 'approve' }, `${key}-review`);
  }

  async #sendBack({ orderId, key, order }: SentOrder): Promise<void> {
    const line = order.lines.find(({ sku }) => sku !== SCARCE_SKU);
    if (line === undefined) return;
    const body = { lines: [{ sku: line.sku, quantity: 1 }], reason: 'not as expected' };
    if (await this.#ask(`/v1/orders/${orderId ?? ''}/returns`, body, `${key}-return`))
      this.returnsAccepted += 1;
  }

  /** Whether the API took it; a refusal for good, such as "too late to cancel", is an answer too. */
  async #ask(path: string, body: unknown, idempotencyKey: string): Promise<boolean> {
    try {
      await this.#api.send({ method: 'POST', path, body, idempotencyKey });
      return true;
    } catch (error) {
      if (error instanceof ApiRefusedError || this.#stopped.signal.aborted) return false;
      this.refused.push(`${idempotencyKey}: ${errorMessage(error)}`);
      return false;
    }
  }

  #track(work: Promise<void>): void {
    const tracked = work.catch((error: unknown) => {
      if (!this.#stopped.signal.aborted) this.refused.push(errorMessage(error));
    });
    this.#underWay.add(tracked);
    void tracked.then(() => this.#underWay.delete(tracked));
  }
}

function pick(shares: readonly (readonly [string, number])[], at: number): string {
  let sum = 0;
  for (const [value, share] of shares) {
    sum += share;
    if (at < sum) return value;
  }
  return shares[0]?.[0] ?? '';
}
