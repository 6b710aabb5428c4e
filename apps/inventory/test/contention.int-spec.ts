import {
  ReceiveStock,
  ReleaseStock,
  ReserveStock,
  StockShipped,
  type StockLine,
} from '@flotilla/contracts-inventory';
import { ShipmentDispatched } from '@flotilla/contracts-shipping';
import { newId } from '@flotilla/kernel';
import { startTestService, type Answer, type TestService } from '@flotilla/service/testing';
import { until } from '@flotilla/testing';
import { Client } from 'pg';
import { InventoryConfig } from '../src/inventory.config.ts';
import { InventoryModule } from '../src/inventory.module.ts';

const ORDERS = 200;
const LINES = 20;
const SKUS = Array.from({ length: 30 }, (_, index) => `HOT-${index}`);
const RECEIVED_EACH = 200;

/** The same numbers on every run, so that a failure can be repeated. */
function pseudoRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

function shuffled<T>(items: readonly T[], random: () => number): T[] {
  return items
    .map((item) => ({ item, at: random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ item }) => item);
}

interface StockRow {
  readonly sku: string;
  readonly onHand: number;
  readonly reserved: number;
  readonly shipped: number;
}

describe('many orders for few SKUs, handled by two processes', () => {
  let inventory: TestService;

  beforeAll(async () => {
    inventory = await startTestService({
      module: InventoryModule,
      config: InventoryConfig,
      env: { UNIT_OF_WORK_LANES: '4' },
    });
    await inventory.startReplica();
  });

  afterAll(() => inventory.stop());

  it('never sells a piece twice, never loses one, and never deadlocks', async () => {
    const random = pseudoRandom(20_260_301);
    await Promise.all(
      SKUS.map((sku) => inventory.execute(new ReceiveStock({ sku, quantity: RECEIVED_EACH }))),
    );

    const orders = Array.from({ length: ORDERS }, () => ({
      orderId: newId(),
      lines: shuffled(SKUS, random)
        .slice(0, LINES)
        .map((sku): StockLine => ({ sku, quantity: 1 + Math.floor(random() * 3) })),
    }));
    const answers = await Promise.all(
      orders.map(async (order) => ({ order, answer: await inventory.send(new ReserveStock(order)) })),
    );
    const reserved = answers.filter(({ answer }) => answer.outcome === 'ok').map(({ order }) => order);
    const refused = answers.filter(({ answer }) => answer.outcome !== 'ok');
    // There are pieces for about two orders in three: both must have happened for this to prove anything.
    expect(reserved.length).toBeGreaterThan(50);
    expect(refused.length).toBeGreaterThan(20);
    expect(new Set(refused.map(({ answer }) => codeOf(answer)))).toEqual(new Set(['OutOfStock']));
    await expectStock(inventory, reserved, []);

    // Half go, half come back, and goods come in, all at once and in any order.
    const sent = reserved.filter((_, index) => index % 2 === 0);
    const released = reserved.filter((_, index) => index % 2 === 1);
    await Promise.all([
      ...shuffled(
        [
          ...sent.map(
            ({ orderId }) =>
              () =>
                inventory.publish(dispatched(orderId)),
          ),
          ...released.map(
            ({ orderId }) =>
              async () =>
                expect(await inventory.send(new ReleaseStock({ orderId, reason: 'test' }))).toMatchObject({
                  outcome: 'ok',
                }),
          ),
          ...SKUS.map((sku) => () => inventory.execute(new ReceiveStock({ sku, quantity: 1 }))),
        ],
        random,
      ).map((act) => act()),
    ]);
    await until(() => inventory.events(StockShipped).length === sent.length, { timeoutMs: 20_000 });
    await expectStock(inventory, [], sent);

    await expectNoDeadlocks(inventory);
  }, 60_000);
});

function codeOf(answer: Answer<unknown>): string | undefined {
  return answer.outcome === 'ok' ? undefined : answer.code;
}

function dispatched(orderId: string): ShipmentDispatched {
  return new ShipmentDispatched({
    shipmentId: newId(),
    orderId,
    trackingNumber: 'TRK-1',
    dispatchedAt: new Date().toISOString(),
  });
}

function piecesOf(orders: readonly { readonly lines: readonly StockLine[] }[], sku: string): number {
  return orders
    .flatMap(({ lines }) => lines)
    .filter((line) => line.sku === sku)
    .reduce((sum, { quantity }) => sum + quantity, 0);
}

async function expectStock(
  inventory: TestService,
  reserved: readonly { lines: StockLine[] }[],
  shipped: readonly { lines: StockLine[] }[],
): Promise<void> {
  const rows = await inventory.sql<StockRow>(
    `SELECT sku, on_hand::int AS "onHand", reserved::int AS reserved, shipped::int AS shipped FROM stock`,
  );
  expect(rows).toHaveLength(SKUS.length);
  for (const row of rows) {
    expect(row.onHand).toBeGreaterThanOrEqual(0);
    expect(row).toMatchObject({ reserved: piecesOf(reserved, row.sku), shipped: piecesOf(shipped, row.sku) });
  }
}

/** The server counts a deadlock when the victim's process reports its statistics: after a second at rest, or its end. */
async function expectNoDeadlocks(inventory: TestService): Promise<void> {
  const { database } = inventory;
  if (!database) throw new Error('inventory has a database');
  const admin = new Client({ connectionString: database.adminUrl });
  await admin.connect();
  try {
    await admin.query(
      `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()`,
      [database.name],
    );
    const { rows } = await admin.query<{ deadlocks: string; commits: string }>(
      'SELECT deadlocks, xact_commit AS commits FROM pg_stat_database WHERE datname = $1',
      [database.name],
    );
    expect(rows[0]?.deadlocks).toBe('0');
    expect(Number(rows[0]?.commits)).toBeGreaterThan(0);
  } finally {
    await admin.end();
  }
}
