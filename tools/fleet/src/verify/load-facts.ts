import { unreadMessages } from '../operate/unread.ts';
import { jetstreamManager } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/nats-core';
import { DeadLetters, QUEUE_METADATA } from '@flotilla/messaging';
import { Client } from 'pg';
import type {
  AuthorisationFact,
  ConsumerFact,
  DeadLetterFact,
  FleetFacts,
  LedgerFacts,
  MailFact,
  OrderFact,
  OutboxFact,
  PaymentFact,
  ReservationFact,
  ReturnedLineFact,
  ReturnFact,
  ReturnReceiptFact,
  ReturnViewFact,
  SagaFact,
  ShipmentFact,
  StockFact,
  StreamFact,
  ViewFact,
} from './facts.ts';

// Sums and counts stay below 2^53, so a double holds them exactly; the driver would give a bigint as text.
const ORDERS = `
  SELECT order_id AS "orderId", status, version, total_minor::float8 AS "totalMinor",
         coalesce(sum((line->>'quantity')::bigint * (line->>'unitPriceMinor')::bigint), 0)::float8 AS "linesMinor",
         coalesce(sum((line->>'quantity')::bigint) FILTER (WHERE line->>'kind' = 'stocked'), 0)::float8 AS pieces
    FROM orders LEFT JOIN LATERAL jsonb_array_elements(lines) AS line ON true
   GROUP BY order_id`;

const RETURNS = `
  SELECT return_id AS "returnId", order_id AS "orderId", status, refund_minor::float8 AS "refundMinor",
         sum((line->>'quantity')::bigint * (line->>'unitPriceMinor')::bigint)::float8 AS "linesMinor",
         sum((line->>'quantity')::bigint)::float8 AS pieces
    FROM order_returns, jsonb_array_elements(lines) AS line
   GROUP BY return_id`;

const RETURNED_LINES = `
  WITH returned AS (
    SELECT order_id, line->>'sku' AS sku, (line->>'unitPriceMinor')::bigint AS price,
           sum((line->>'quantity')::bigint) AS pieces
      FROM order_returns, jsonb_array_elements(lines) AS line
     WHERE status IN ('requested', 'received', 'completed')
     GROUP BY 1, 2, 3
  ), delivered AS (
    SELECT order_id, line->>'sku' AS sku, (line->>'unitPriceMinor')::bigint AS price,
           sum((line->>'quantity')::bigint) AS pieces
      FROM orders, jsonb_array_elements(lines) AS line
     WHERE order_id IN (SELECT order_id FROM returned) AND status = 'completed' AND line->>'kind' = 'stocked'
     GROUP BY 1, 2, 3
  )
  SELECT order_id AS "orderId", sku, price::float8 AS "unitPriceMinor",
         coalesce(delivered.pieces, 0)::float8 AS delivered, returned.pieces::float8 AS returned
    FROM returned LEFT JOIN delivered USING (order_id, sku, price)`;

const SAGAS = 'SELECT saga, id, status, step FROM saga_instances';

const VIEWS = `
  SELECT v.order_id AS "orderId", v.status, v.version, v.total_minor::float8 AS "totalMinor",
         coalesce(t.events, '{}') AS events,
         coalesce(p.authorised, 0)::float8 AS "authorisedMinor", coalesce(p.captured, 0)::float8 AS "capturedMinor",
         coalesce(p.refunded, 0)::float8 AS "refundedMinor"
    FROM order_views v
    LEFT JOIN (
      SELECT order_id, array_agg(event ORDER BY position) AS events FROM timeline_entries GROUP BY order_id
    ) t USING (order_id)
    LEFT JOIN (
      SELECT order_id, sum(amount_minor) FILTER (WHERE kind = 'authorised') AS authorised,
             sum(amount_minor) FILTER (WHERE kind = 'captured') AS captured,
             sum(amount_minor) FILTER (WHERE kind = 'refunded') AS refunded
        FROM payment_entries GROUP BY order_id
    ) p USING (order_id)`;

const RETURN_VIEWS = 'SELECT return_id AS "returnId", status FROM return_views';

const PAYMENTS = `
  SELECT order_id AS "orderId", status, coalesce(amount_minor, 0)::float8 AS "amountMinor",
         refunded_minor::float8 AS "refundedMinor",
         (status = 'pending' OR in_flight IS NOT NULL OR refunding_minor > 0) AS open, reference
    FROM payments`;

const AUTHORISATIONS = `
  SELECT reference, amount_minor::float8 AS "amountMinor", status, refunded_minor::float8 AS "refundedMinor"
    FROM sandbox_provider.authorisations`;

const LEDGER = `
  SELECT coalesce(sum(amount_minor) FILTER (WHERE direction = 'debit'), 0)::float8 AS debits,
         coalesce(sum(amount_minor) FILTER (WHERE direction = 'credit'), 0)::float8 AS credits
    FROM ledger_entries`;

const UNBALANCED = `
  SELECT transaction_id::text AS id FROM ledger_entries GROUP BY transaction_id, currency
  HAVING sum(CASE direction WHEN 'debit' THEN amount_minor ELSE -amount_minor END) <> 0`;

// A capture is two movements, of which one gives up the authorisation: each posting counts by its last line.
const POSTED = `
  SELECT kind, sum(amount_minor)::float8 AS amount
    FROM (SELECT DISTINCT ON (transaction_id) kind, amount_minor FROM ledger_entries ORDER BY transaction_id, line DESC) p
   GROUP BY kind`;

const STOCK = `
  WITH held AS (
    SELECT sku, sum(quantity) FILTER (WHERE state = 'reserved') AS reserved,
           sum(quantity) FILTER (WHERE state = 'shipped') AS shipped
      FROM reservations, unnest(skus, quantities) AS line (sku, quantity) GROUP BY sku
  ), back AS (
    SELECT sku, sum(quantity) AS restocked
      FROM return_receipts, unnest(skus, quantities, damaged) AS line (sku, quantity, is_damaged)
     WHERE NOT is_damaged GROUP BY sku
  )
  SELECT sku, coalesce(s.on_hand, 0)::float8 AS "onHand", coalesce(s.reserved, 0)::float8 AS reserved,
         coalesce(s.shipped, 0)::float8 AS shipped, coalesce(s.received, 0)::float8 AS received,
         coalesce(s.restocked, 0)::float8 AS restocked,
         coalesce(held.reserved, 0)::float8 AS "reservedByOrders", coalesce(held.shipped, 0)::float8 AS "shippedByOrders",
         coalesce(back.restocked, 0)::float8 AS "restockedByReturns"
    FROM stock s FULL JOIN held USING (sku) FULL JOIN back USING (sku)`;

const RETURN_RECEIPTS = `
  SELECT order_id AS "orderId", return_key AS "returnKey",
         (SELECT sum(quantity) FROM unnest(quantities) AS quantity)::float8 AS pieces
    FROM return_receipts`;

const RESERVATIONS = `
  SELECT order_id AS "orderId", state,
         coalesce((SELECT sum(quantity) FROM unnest(quantities) AS quantity), 0)::float8 AS pieces
    FROM reservations`;

const SHIPMENTS = 'SELECT order_id AS "orderId", status FROM shipments';

const MAIL = `
  SELECT order_id AS "orderId", array_agg(split_part(fact, ':', 1)) AS facts, count(*) FILTER (WHERE status = 'queued')::int AS queued,
         count(*) FILTER (WHERE status = 'failed')::int AS failed
    FROM mailbox GROUP BY order_id`;

const OUTBOX = `
  SELECT count(*) FILTER (WHERE published_at IS NOT NULL)::int AS published,
         count(*) FILTER (WHERE published_at IS NULL)::int AS unpublished,
         count(*) FILTER (WHERE published_at IS NULL AND error IS NOT NULL)::int AS refused
    FROM outbox`;

const LAST_SEQUENCES = `
  SELECT stream, max(sequence)::float8 AS last FROM outbox WHERE stream IS NOT NULL GROUP BY stream`;

const MAX_DEAD_LETTERS = 100;

type Query = <R>(sql: string) => Promise<R[]>;

/** Reads the whole fleet as its operator: each database in one snapshot, and the broker. */
export async function loadFacts(
  databases: Readonly<Record<string, string>>,
  nats: NatsConnection,
): Promise<FleetFacts> {
  const outboxes: OutboxFact[] = [];
  /** Opens the snapshot of one service; undefined when there is no such service. */
  const of = async <T>(service: string, read: (query: Query) => Promise<T>): Promise<T | undefined> => {
    const url = databases[service];
    if (url === undefined) return undefined;
    return inSnapshot(url, async (query) => {
      outboxes.push(await outboxOf(service, query));
      return read(query);
    });
  };
  const [orders, tracking, payments, inventory, shipments, mail, broker] = await Promise.all([
    of('orders', async (query) => ({
      orders: await query<OrderFact>(ORDERS),
      sagas: await query<SagaFact>(SAGAS),
      returns: await query<ReturnFact>(RETURNS),
      returnedLines: await query<ReturnedLineFact>(RETURNED_LINES),
    })),
    of('tracking', async (query) => ({
      views: await query<ViewFact>(VIEWS),
      returnViews: await query<ReturnViewFact>(RETURN_VIEWS),
    })),
    of('payments', async (query) => ({
      payments: await query<PaymentFact>(PAYMENTS),
      provider: await query<AuthorisationFact>(AUTHORISATIONS),
      ledger: await ledgerOf(query),
    })),
    of('inventory', async (query) => ({
      stock: await query<StockFact>(STOCK),
      reservations: await query<ReservationFact>(RESERVATIONS),
      returnReceipts: await query<ReturnReceiptFact>(RETURN_RECEIPTS),
    })),
    of('shipping', (query) => query<ShipmentFact>(SHIPMENTS)),
    of('notifications', (query) => query<MailFact>(MAIL)),
    brokerFacts(nats),
    ...Object.keys(databases)
      .filter((service) => !compared.has(service))
      .map((service) => of(service, () => Promise.resolve())),
  ]);
  return {
    orders: orders?.orders,
    sagas: orders?.sagas,
    views: tracking?.views,
    payments: payments?.payments,
    provider: payments?.provider,
    ledger: payments?.ledger,
    stock: inventory?.stock,
    reservations: inventory?.reservations,
    shipments,
    returns: orders?.returns,
    returnedLines: orders?.returnedLines,
    returnReceipts: inventory?.returnReceipts,
    returnViews: tracking?.returnViews,
    mail,
    outboxes: outboxes.sort((a, b) => (a.service < b.service ? -1 : 1)),
    ...broker,
  };
}

/** Services of which more than the outbox is read. */
const compared: ReadonlySet<string> = new Set([
  'orders',
  'tracking',
  'payments',
  'inventory',
  'shipping',
  'notifications',
]);

async function inSnapshot<T>(url: string, read: (query: Query) => Promise<T>): Promise<T> {
  const client = new Client({
    connectionString: url,
    application_name: 'fleet verify',
    connectionTimeoutMillis: 10_000,
    statement_timeout: 60_000,
  });
  await client.connect();
  try {
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    return await read(async <R>(sql: string) => (await client.query(sql)).rows as R[]);
  } finally {
    await client.end();
  }
}

async function outboxOf(service: string, query: Query): Promise<OutboxFact> {
  const [counts] = await query<Omit<OutboxFact, 'service' | 'lastSequence'>>(OUTBOX);
  const sequences = await query<{ stream: string; last: number }>(LAST_SEQUENCES);
  return {
    service,
    published: counts?.published ?? 0,
    unpublished: counts?.unpublished ?? 0,
    refused: counts?.refused ?? 0,
    lastSequence: Object.fromEntries(sequences.map(({ stream, last }) => [stream, last])),
  };
}

async function ledgerOf(query: Query): Promise<LedgerFacts> {
  const [sums] = await query<{ debits: number; credits: number }>(LEDGER);
  const unbalanced = await query<{ id: string }>(UNBALANCED);
  const posted = await query<{ kind: string; amount: number }>(POSTED);
  return {
    debitsMinor: sums?.debits ?? 0,
    creditsMinor: sums?.credits ?? 0,
    unbalanced: unbalanced.map(({ id }) => id),
    postedMinor: Object.fromEntries(posted.map(({ kind, amount }) => [kind, amount])),
  };
}

async function brokerFacts(
  nats: NatsConnection,
): Promise<Pick<FleetFacts, 'streams' | 'consumers' | 'deadLetters' | 'unread'>> {
  const manager = await jetstreamManager(nats, { checkAPI: false });
  const streams: StreamFact[] = [];
  const consumers: ConsumerFact[] = [];
  for await (const { config, state } of manager.streams.list()) {
    streams.push({
      name: config.name,
      queue: Object.entries(QUEUE_METADATA).every(([key, value]) => config.metadata?.[key] === value),
      messages: state.messages,
      lastSequence: state.last_seq,
    });
    for await (const info of manager.consumers.list(config.name)) {
      consumers.push({
        stream: config.name,
        name: info.name,
        pending: info.num_pending,
        inFlight: info.num_ack_pending,
      });
    }
  }
  const letters = await new DeadLetters(nats).list({ limit: MAX_DEAD_LETTERS });
  const deadLetters = letters.map(
    ({ sequence, service, consumer, type, subject, errorCode, errorMessage }): DeadLetterFact => ({
      sequence,
      service,
      consumer,
      type: type ?? 'unknown type',
      subject: subject ?? '',
      errorCode,
      errorMessage,
    }),
  );
  return { streams, consumers, deadLetters, unread: await unreadMessages(nats) };
}
