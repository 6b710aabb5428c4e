import { formatMoney, parseAmountMinor, type DecimalMoney } from '@flotilla/contracts-money';
import { formatDurationMs, systemClock } from '@flotilla/kernel';
import { z } from 'zod';
import type { ApiAnswer, ApiClient } from './api-client.ts';
import { forEachBounded } from './bounded.ts';
import { ApiRefusedError, ImportStalledError } from './import.errors.ts';
import type { OrderOutcome } from './match-returns.ts';
import type { ImportPlan, PlannedOrder } from './plan.ts';
import { sendReturns, type ReturnsResult } from './send-returns.ts';

export interface RunOptions {
  readonly concurrency: number;
  /** The provider's token that the orders are paid with. */
  readonly paymentToken: string;
  /** Whether to wait until every order has ended. */
  readonly wait: boolean;
  /** Whether to approve orders that await a person's review: the invoices of a file were agreed on long ago. */
  readonly approveReviews: boolean;
  /** Gives up waiting when no order ended for so long, in milliseconds. */
  readonly stallMs: number;
  readonly onProgress: (text: string) => void;
}

/** An order that the API would not take, and why. */
export interface RefusedOrder {
  readonly invoice: string;
  readonly problem: string;
  readonly detail: string;
}

export interface ImportResult {
  readonly products: { readonly written: number; readonly unchanged: number };
  readonly stock: { readonly received: number; readonly replayed: number };
  readonly orders: {
    readonly placedNew: number;
    readonly replayed: number;
    readonly refused: readonly RefusedOrder[];
    /** How many ended in which status, or await review; empty when it did not wait. */
    readonly byStatus: Readonly<Record<string, number>>;
    readonly byRejectionReason: Readonly<Record<string, number>>;
  };
  readonly grossPlaced: DecimalMoney;
  readonly captured: DecimalMoney;
  /** What the cancellations returned; undefined when it did not wait for the orders, on which that depends. */
  readonly returns: ReturnsResult | undefined;
  readonly retries: number;
  readonly placingMs: number;
  /** From the first order until all had ended. */
  readonly completingMs: number;
}

const placed = z.object({ orderId: z.string(), status: z.string() });
const decimal = z.object({ amount: z.string(), currency: z.string() });
const listed = z.object({
  orders: z.array(
    z.object({
      orderId: z.string(),
      status: z.string(),
      rejectionReason: z.string().nullish(),
      total: decimal,
      payment: z.object({ captured: decimal }),
    }),
  ),
  nextCursor: z.string().nullish(),
});
type ListedOrder = z.output<typeof listed>['orders'][number];
const productPage = z.object({
  products: z.array(z.object({ sku: z.string(), name: z.string(), kind: z.string(), price: decimal })),
  nextCursor: z.string().nullish(),
});

const PAGE = 200;
const POLL_MIN_MS = 250;
/** How often an order is asked for that names a product which its service does not know yet. */
const CATALOGUE_TRIES = 5;
/** How long the payment's part of an ended order may lag behind its status. */
const LAG_MS = 10_000;

/** Sends a plan through the public API: products, stock, orders; then waits until every order has ended. */
export async function runImport(
  plan: ImportPlan,
  api: ApiClient,
  options: RunOptions,
): Promise<ImportResult> {
  const products = await defineProducts(plan, api, options);
  const stock = await receiveStock(plan, api, options);
  const startMs = systemClock.monotonicMs();
  const placing = await placeOrders(plan, api, options);
  const placingMs = systemClock.monotonicMs() - startMs;
  const orderIds = [...placing.orderIds.values()];
  const ended = options.wait ? await untilEnded(orderIds, plan.currency, api, options) : [];
  const completingMs = systemClock.monotonicMs() - startMs;
  const returns = options.wait
    ? await sendReturns(plan, outcomesOf(placing, ended), api, options)
    : undefined;
  return {
    products,
    stock,
    orders: {
      placedNew: placing.placedNew,
      replayed: placing.replayed,
      refused: placing.refused,
      byStatus: countBy(ended, ({ status }) => status),
      byRejectionReason: countBy(
        ended.filter(({ status }) => status === 'rejected'),
        ({ rejectionReason }) => rejectionReason ?? 'unknown',
      ),
    },
    grossPlaced: formatMoney({ amountMinor: placing.grossMinor, currency: plan.currency }),
    captured: formatMoney({
      amountMinor: ended.reduce((sum, order) => sum + capturedOf(order), 0),
      currency: plan.currency,
    }),
    returns,
    retries: api.retries,
    placingMs,
    completingMs,
  };
}

/** Writes the products that differ from what the catalogue has. */
async function defineProducts(
  plan: ImportPlan,
  api: ApiClient,
  { concurrency, onProgress }: RunOptions,
): Promise<ImportResult['products']> {
  const known = new Map<string, string>();
  for (let cursor: string | null | undefined = ''; typeof cursor === 'string';) {
    const query = cursor === '' ? '' : `&cursor=${encodeURIComponent(cursor)}`;
    const { body } = await api.send({ method: 'GET', path: `/v1/products?limit=${PAGE}${query}` });
    const page: z.output<typeof productPage> = productPage.parse(body);
    for (const { sku, name, kind, price } of page.products) {
      known.set(sku, JSON.stringify([name, kind, price.amount, price.currency]));
    }
    cursor = page.nextCursor;
  }
  let written = 0;
  await forEachBounded(plan.products, concurrency, async ({ sku, name, kind, priceMinor }) => {
    const price = formatMoney({ amountMinor: priceMinor, currency: plan.currency });
    if (known.get(sku) === JSON.stringify([name, kind, price.amount, price.currency])) return;
    await api.send({
      method: 'PUT',
      path: `/v1/products/${encodeURIComponent(sku)}`,
      body: { name, kind, price },
    });
    written += 1;
    onProgress(`Products: ${written} written`);
  });
  return { written, unchanged: plan.products.length - written };
}

/** Books the stock, once per product and file: the same file again adds nothing. */
async function receiveStock(
  plan: ImportPlan,
  api: ApiClient,
  { concurrency, onProgress }: RunOptions,
): Promise<ImportResult['stock']> {
  let received = 0;
  let replayed = 0;
  await forEachBounded(plan.receipts, concurrency, async ({ sku, quantity }) => {
    const answer = await api.send({
      method: 'POST',
      path: `/v1/stock/${encodeURIComponent(sku)}/receipts`,
      body: { quantity },
      idempotencyKey: `import:${plan.fileHash.slice(0, 24)}:${quantity}:${keyPart(sku)}`,
    });
    if (answer.replayed) replayed += 1;
    else received += 1;
    onProgress(`Stock: ${received + replayed} of ${plan.receipts.length} products`);
  });
  return { received, replayed };
}

/** What became of each order of the plan. */
function outcomesOf(
  { orderIds }: Placing,
  ended: readonly ListedOrder[],
): (order: PlannedOrder) => OrderOutcome {
  const statuses = new Map(ended.map(({ orderId, status }) => [orderId, status]));
  return ({ invoice }) => {
    const orderId = orderIds.get(invoice);
    if (orderId === undefined) return { orderId, status: 'refused' };
    return { orderId, status: statuses.get(orderId) ?? 'unknown' };
  };
}

interface Placing {
  /** By invoice. */
  readonly orderIds: ReadonlyMap<string, string>;
  readonly placedNew: number;
  readonly replayed: number;
  readonly refused: readonly RefusedOrder[];
  readonly grossMinor: number;
}

async function placeOrders(plan: ImportPlan, api: ApiClient, options: RunOptions): Promise<Placing> {
  const orderIds = new Map<string, string>();
  const refused: RefusedOrder[] = [];
  let replayed = 0;
  let grossMinor = 0;
  const startMs = systemClock.monotonicMs();
  await forEachBounded(plan.orders, options.concurrency, async (order) => {
    try {
      const answer = await placeOrder(order, plan.currency, api, options.paymentToken);
      orderIds.set(order.invoice, placed.parse(answer.body).orderId);
      if (answer.replayed) replayed += 1;
      grossMinor += order.totalMinor;
    } catch (error) {
      if (!(error instanceof ApiRefusedError) || error.status === 401 || error.status === 403) throw error;
      refused.push({ invoice: order.invoice, problem: error.problem, detail: error.message });
    }
    const done = orderIds.size + refused.length;
    options.onProgress(`Orders: ${done} of ${plan.orders.length} placed, ${rate(done, startMs)}`);
  });
  return { orderIds, placedNew: orderIds.size - replayed, replayed, refused, grossMinor };
}

/**
 * Places an order. One that is refused because the orders service has not heard of a product yet is asked for again:
 * the gateway waits for that itself, but only for a moment.
 */
async function placeOrder(
  order: PlannedOrder,
  currency: string,
  api: ApiClient,
  paymentToken: string,
): Promise<ApiAnswer> {
  const body = {
    customerId: order.customerId,
    reference: order.invoice,
    lines: order.lines.map(({ sku, quantity, unitPriceMinor }) => ({
      sku,
      quantity,
      unitPrice: formatMoney({ amountMinor: unitPriceMinor, currency }),
    })),
    payment: { token: paymentToken },
    shipTo: { name: nameOf(order), country: order.country },
  };
  for (let attempt = 1; ; attempt++) {
    try {
      return await api.send({ method: 'POST', path: '/v1/orders', body, idempotencyKey: order.key });
    } catch (error) {
      const unknown = error instanceof ApiRefusedError && error.problem.endsWith('unknown-product');
      if (!unknown || attempt >= CATALOGUE_TRIES) throw error;
      await systemClock.sleep(500 * attempt);
    }
  }
}

function nameOf({ customerId, invoice }: PlannedOrder): string {
  return customerId.startsWith('guest-') ? `Guest of invoice ${invoice}` : `Customer ${customerId}`;
}

/**
 * Looks at the list of orders, the newest first, until all of these have ended or only those are left that await a
 * person's review.
 */
async function untilEnded(
  orderIds: readonly string[],
  currency: string,
  api: ApiClient,
  { stallMs, approveReviews, concurrency, onProgress }: RunOptions,
): Promise<ListedOrder[]> {
  const open = new Set(orderIds);
  const seen = new Map<string, ListedOrder>();
  const startMs = systemClock.monotonicMs();
  let lastChangeMs = startMs;
  while (open.size > 0) {
    const roundMs = systemClock.monotonicMs();
    for await (const order of listOrders(api, open)) {
      if (seen.get(order.orderId)?.status !== order.status) lastChangeMs = systemClock.monotonicMs();
      seen.set(order.orderId, order);
      const captured = order.status !== 'completed' || capturedOf(order) === minorOf(order.total, currency);
      const late = systemClock.monotonicMs() - lastChangeMs > LAG_MS;
      if (isFinal(order.status) && (captured || late)) open.delete(order.orderId);
    }
    if (open.size === 0) break;
    const now = systemClock.monotonicMs();
    const waiting = [...open].filter((id) => seen.get(id)?.status === 'awaiting_review');
    if (approveReviews) {
      await forEachBounded(waiting, concurrency, (id) => approve(id, api));
    } else if (waiting.length === open.size && now - lastChangeMs > LAG_MS) {
      break;
    }
    const ended = orderIds.length - open.size;
    onProgress(`Orders: ${ended} of ${orderIds.length} have ended (${formatDurationMs(now - startMs)})`);
    if (now - lastChangeMs > stallMs) {
      throw new ImportStalledError(open.size, now - lastChangeMs, [...open].slice(0, 3));
    }
    // Reading costs the machine something too: it may take a fifth of the time at most.
    await systemClock.sleep(Math.max(POLL_MIN_MS, (now - roundMs) * 4));
  }
  return [...seen.values()];
}

/** Those of the orders that are in the list, page by page as long as some have not been found. */
async function* listOrders(api: ApiClient, wanted: ReadonlySet<string>): AsyncGenerator<ListedOrder> {
  let missing = wanted.size;
  for (let cursor: string | null | undefined = ''; typeof cursor === 'string' && missing > 0;) {
    const query = cursor === '' ? '' : `&cursor=${encodeURIComponent(cursor)}`;
    const { body } = await api.send({ method: 'GET', path: `/v1/orders?limit=${PAGE}${query}` });
    const page: z.output<typeof listed> = listed.parse(body);
    const found = page.orders.filter(({ orderId }) => wanted.has(orderId));
    missing -= found.length;
    yield* found;
    cursor = page.nextCursor;
  }
}

async function approve(orderId: string, api: ApiClient): Promise<void> {
  try {
    await api.send({
      method: 'POST',
      path: `/v1/orders/${orderId}/review`,
      body: { decision: 'approve' },
      idempotencyKey: `import-review:${orderId}`,
    });
  } catch (error) {
    // Somebody else decided in the meantime: the list shows what came of it.
    if (!(error instanceof ApiRefusedError && error.status === 409)) throw error;
  }
}

function isFinal(status: string): boolean {
  return status === 'completed' || status === 'rejected' || status === 'cancelled';
}

function capturedOf({ payment }: ListedOrder): number {
  return minorOf(payment.captured, payment.captured.currency);
}

function minorOf({ amount }: { readonly amount: string }, currency: string): number {
  return parseAmountMinor(amount, currency);
}

function countBy<T>(items: readonly T[], keyOf: (item: T) => string): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const item of items) counts[keyOf(item)] = (counts[keyOf(item)] ?? 0) + 1;
  return counts;
}

function rate(count: number, startMs: number): string {
  const seconds = (systemClock.monotonicMs() - startMs) / 1_000;
  return `${seconds < 0.1 ? 0 : Math.round(count / seconds)}/s`;
}

/** A key travels in a header: letters, digits and a few signs. */
function keyPart(text: string): string {
  return encodeURIComponent(text).replaceAll('%', '.');
}
