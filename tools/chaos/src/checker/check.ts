import { services, type CheckAccess, type ExpectedOrder, type ServiceName } from './access.ts';
import { connectBroker, readTopology } from './broker.ts';
import { together } from './merge.ts';
import { checkOrder, newTally, type MoneyTotals, type OrderTally } from './order-checks.ts';
import { orderSources } from './order-facts.ts';
import { checkProducts } from './products.ts';
import { Findings, type CheckReport } from './report.ts';
import { awaitRest } from './rest.ts';
import { Snapshot } from './snapshot.ts';
import { checkStock } from './stock.ts';
import { checkConsumers, checkEventStream, checkOutbox, checkQueueEnds, PoisonList } from './streams.ts';
import { checkWaits } from './waits.ts';

/** Thrown when the checker is not told where everything is. */
export class CheckAccessError extends Error {
  constructor(missing: readonly string[]) {
    super(`The databases of ${missing.join(', ')} are missing: without them an order cannot be followed`);
    this.name = 'CheckAccessError';
  }
}

const DEFAULT_SETTLE_MS = 60_000;
const DEFAULT_OVERDUE_MS = 30_000;
const EVENT_STREAM = 'EVT_';
const DEAD_LETTERS = 'DLQ';
const PROGRESS_EVERY = 10_000;

/**
 * Reads every database, the streams, the provider's books and the mailbox of a fleet that rests, and says what is not as
 * it has to be. Shares no code with what it checks: it knows the tables and the wire, and adds up by itself. Changes
 * nothing. Its memory does not grow with the history, only with what the caller expects.
 */
export async function check(access: CheckAccess): Promise<CheckReport> {
  const missing = services.filter((service) => access.databases[service] === undefined);
  if (missing.length > 0) throw new CheckAccessError(missing);
  const startMs = performance.now();
  const at = new Date().toISOString();
  const findings = new Findings();
  const tally = newTally();
  const nats = await connectBroker(access);
  const opened: Record<string, Snapshot> = {};
  try {
    const underWay = await awaitRest(access, nats, access.settleMs ?? DEFAULT_SETTLE_MS);
    if (underWay.length > 0) findings.notes.push(`The fleet does not rest: ${underWay.join(', ')}`);
    for (const [service, url] of Object.entries(access.databases)) opened[service] = await Snapshot.open(url);
    const databases = opened as Record<ServiceName, Snapshot>;

    checkKeys(access.expected.orders, findings);
    await checkOrders(access, databases, findings, tally);
    checkSums(tally.money, findings);
    const whole = async (service: ServiceName): Promise<boolean> =>
      (await historyFrom(service, databases[service], findings)) === undefined;
    await checkStock(databases.inventory, await whole('inventory'), findings);
    await checkProducts(databases, await whole('catalog'), findings);
    for (const [service, database] of Object.entries(opened)) {
      await checkOutbox(service, database, findings);
      await checkWaits(service, database, access.overdueMs ?? DEFAULT_OVERDUE_MS, findings);
    }
    await checkSagaCount(databases.orders, findings);
    await checkBroker(access, nats, opened, findings);
  } finally {
    await Promise.all(Object.values(opened).map((database) => database.close()));
    await nats.close();
  }
  const checks = findings.outcomes();
  return {
    ok: checks.every(({ ok }) => ok),
    at,
    tookMs: performance.now() - startMs,
    orders: { accepted: access.expected.orders.length, ...tally.orders },
    lost: findings.lost,
    duplicated: findings.duplicated,
    checks,
    notes: findings.notes,
  };
}

/** One key, one order: a client that asks again under its key gets the same. */
function checkKeys(expected: readonly ExpectedOrder[], findings: Findings): void {
  const orders = new Map<string, string>();
  for (const { orderId, idempotencyKey } of expected) {
    if (idempotencyKey === undefined) continue;
    findings.count('one order per key');
    const before = orders.get(idempotencyKey) ?? orderId;
    orders.set(idempotencyKey, before);
    if (before !== orderId) {
      findings.violate('one order per key', orderId, `the key ${idempotencyKey} also made ${before}`, {
        duplicated: true,
      });
    }
  }
}

async function checkOrders(
  { expected, onProgress }: CheckAccess,
  databases: Record<ServiceName, Snapshot>,
  findings: Findings,
  tally: OrderTally,
): Promise<void> {
  const from = [
    await historyFrom('orders', databases.orders, findings),
    await historyFrom('payments', databases.payments, findings),
  ].reduce((a, b) => (a === undefined || (b !== undefined && b > a) ? b : a));
  let seen = 0;
  for await (const [id, facts] of together(orderSources(databases, expected.orders))) {
    checkOrder(id, facts, findings, tally, from);
    seen += 1;
    if (seen % PROGRESS_EVERY === 0) onProgress?.(`${seen} orders compared`);
  }
}

function checkSums({ authorised, captured, voided, refunded, worth }: MoneyTotals, findings: Findings): void {
  findings.count('money adds up', 2);
  if (authorised !== captured + voided) {
    findings.violate(
      'money adds up',
      'fleet',
      `authorised ${authorised}, captured ${captured}, voided ${voided}`,
    );
  }
  if (captured - refunded !== worth) {
    findings.violate(
      'money adds up',
      'fleet',
      `captured ${captured}, refunded ${refunded}, and the completed orders are worth ${worth}`,
    );
  }
}

/**
 * From when on an outbox has everything; undefined: from the beginning. Days that are old are dropped as a whole, and
 * the first position goes with the first of them.
 */
async function historyFrom(
  service: string,
  database: Snapshot,
  findings: Findings,
): Promise<Date | undefined> {
  const [row] = await database.rows<{ from: Date | null }>(
    `SELECT CASE WHEN min(position) > 1 AND min(created_at) < now() - interval '1 day' THEN min(created_at) END AS "from"
       FROM outbox`,
  );
  const from = row?.from ?? undefined;
  if (from === undefined) return undefined;
  const note = `The outbox of ${service} goes back to ${from.toISOString()}: what is older is not compared with its events`;
  if (!findings.notes.includes(note)) findings.notes.push(note);
  return from;
}

/** The processes that have not ended are those that the checks of waiting are about. */
async function checkSagaCount(orders: Snapshot, findings: Findings): Promise<void> {
  const [row] = await orders.rows<{ count: string }>('SELECT count(*) FROM saga_instances');
  findings.count('nothing waits for ever', Number(row?.count ?? 0));
}

async function checkBroker(
  access: CheckAccess,
  nats: Awaited<ReturnType<typeof connectBroker>>,
  databases: Readonly<Record<string, Snapshot>>,
  findings: Findings,
): Promise<void> {
  const topology = await readTopology(nats);
  const streams = new Map(topology.map(({ stream }) => [stream.config.name, stream]));
  const poison = new PoisonList(access.expected.poison ?? []);
  for (const [service, database] of Object.entries(databases)) {
    await checkQueueEnds(service, database, streams, findings);
    const events = streams.get(`${EVENT_STREAM}${service}`);
    if (events !== undefined) {
      access.onProgress?.(`Comparing ${events.config.name} with the outbox of ${service}`);
      await checkEventStream(nats, events, database, poison, findings);
    }
  }
  for (const { stream, consumers } of topology) checkConsumers(stream, consumers, findings);
  const letters = streams.get(DEAD_LETTERS);
  if (letters !== undefined) await poison.checkDeadLetters(nats, letters, findings);
}
