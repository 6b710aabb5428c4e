import { encodeEnvelope } from '@flotilla/contracts-protocol';
import { OrderReturnRequested } from '@flotilla/contracts-orders';
import { PaymentAuthorised, PaymentCaptured } from '@flotilla/contracts-payments';
import { newId } from '@flotilla/kernel';
import { startTestService, type TestService } from '@flotilla/service/testing';
import { until } from '@flotilla/testing';
import { TrackingConfig } from '../src/tracking.config.ts';
import { TrackingModule } from '../src/tracking.module.ts';
import { confirmed, fact, fulfilment, money, placed } from './order-events.ts';

interface Examined {
  readonly aggregate: string;
  readonly projection: string;
  readonly differences: readonly {
    readonly table: string;
    readonly kind: string;
    readonly columns: object;
  }[];
  readonly obstacle?: string;
}
interface Repaired {
  readonly about: string;
  readonly target: string;
  readonly outcome: string;
  readonly detail: string;
}

let tracking: TestService;
beforeAll(async () => {
  tracking = await startTestService({ module: TrackingModule, config: TrackingConfig });
});
afterAll(() => tracking.stop());

async function ask(body: object): Promise<{ examined?: Examined[]; repaired?: Repaired[] }> {
  const id = newId();
  const headers = encodeEnvelope({
    id,
    type: 'ops.repair',
    source: 'test',
    time: new Date().toISOString(),
    subject: id,
    correlationId: id,
  });
  const reply = await tracking.broker.request(
    { id, subject: 'ops.tracking.repair', key: id, headers, body: JSON.stringify(body) },
    { timeoutMs: 10_000 },
  );
  return reply.json() as { examined?: Examined[]; repaired?: Repaired[] };
}

const examine = async (...aggregates: string[]): Promise<Examined[]> =>
  (await ask({ action: 'examine', aggregates })).examined ?? [];
/** What became of each view that was not as it should be. */
const mend = async (...aggregates: string[]): Promise<string[]> =>
  ((await ask({ action: 'mend', operator: 'ada', aggregates })).repaired ?? [])
    .filter(({ outcome }) => outcome !== 'nothing to do')
    .map(({ target, outcome, detail }) => `${target}: ${outcome}: ${detail}`);

/** An order with its payment, shown. */
async function shown(): Promise<string> {
  const orderId = newId();
  const payment = { paymentId: newId(), orderId, amount: money(1_530) };
  for (const event of fulfilment(orderId)) await tracking.publish(event);
  await tracking.publish(new PaymentAuthorised(payment));
  await tracking.publish(new PaymentCaptured(payment));
  await until(
    async () =>
      (await tracking.sql('SELECT FROM timeline_entries WHERE order_id = $1', [orderId])).length === 4 &&
      (await tracking.sql('SELECT FROM payment_entries WHERE order_id = $1', [orderId])).length === 2,
    { describe: 'the order is shown' },
  );
  return orderId;
}

describe('the views of an order', () => {
  it('that are what the events say are left as they are', async () => {
    const orderId = await shown();
    expect(await examine(orderId)).toEqual([]);
    expect(await mend(orderId)).toEqual([]);
  });

  it('that are behind, or say something else, are written again; a second repair does nothing', async () => {
    const orderId = await shown();
    await tracking.sql(`UPDATE order_views SET status = 'shipped', version = 3 WHERE order_id = $1`, [
      orderId,
    ]);
    await tracking.sql('DELETE FROM timeline_entries WHERE order_id = $1 AND position = 4', [orderId]);
    await tracking.sql(
      `UPDATE payment_entries SET amount_minor = 1 WHERE order_id = $1 AND kind = 'captured'`,
      [orderId],
    );
    const found = await examine(orderId);
    expect(found).toMatchObject([
      {
        projection: 'order-view',
        differences: [
          {
            table: 'order_views',
            kind: 'changed',
            columns: {
              status: { is: 'shipped', should: 'completed' },
              version: { is: 3, should: 4 },
            },
          },
          { table: 'timeline_entries', kind: 'missing' },
        ],
      },
      {
        projection: 'payment-view',
        differences: [{ kind: 'changed', columns: { amount_minor: { is: 1, should: 1_530 } } }],
      },
    ]);
    expect(await mend(orderId)).toEqual([
      'view order-view: repaired: 2 rows written as 4 events say',
      'view payment-view: repaired: a row written as 2 events say',
    ]);
    expect(await examine(orderId)).toEqual([]);
    expect(await mend(orderId)).toEqual([]);
    const log = await tracking.sql<{ operator: string; outcome: string }>(
      `SELECT operator, outcome FROM repairs WHERE about = $1 AND outcome = 'repaired'`,
      [orderId],
    );
    expect(log).toEqual([
      { operator: 'ada', outcome: 'repaired' },
      { operator: 'ada', outcome: 'repaired' },
    ]);
  });

  it('with a row that no event tells of are left to a person', async () => {
    const orderId = await shown();
    await tracking.sql(`INSERT INTO payment_entries VALUES ($1, 'refunded:ghost', 'refunded', 5, 'GBP')`, [
      orderId,
    ]);
    const [found] = await examine(orderId);
    expect(found).toMatchObject({ projection: 'payment-view', differences: [{ kind: 'unexplained' }] });
    expect(found?.obstacle).toMatch(/no event tells of the row .*refunded:ghost/);
    expect(await mend(orderId)).toEqual([
      expect.stringMatching(/^view payment-view: refused: no event tells/),
    ]);
    expect(await tracking.sql(`SELECT FROM payment_entries WHERE entry = 'refunded:ghost'`)).toHaveLength(1);
  });

  it('whose first events are gone are left to a rebuild', async () => {
    const orderId = newId();
    const back = new OrderReturnRequested({
      ...fact(orderId, 5),
      returnId: newId(),
      lines: [{ sku: 'A', quantity: 1, unitPriceMinor: 255, damaged: false }],
      refund: money(255),
    });
    await tracking.publish(back);
    await until(
      async () => (await tracking.sql('SELECT FROM order_views WHERE order_id = $1', [orderId])).length === 1,
    );
    await tracking.sql(`UPDATE order_views SET status = 'shipped' WHERE order_id = $1`, [orderId]);
    expect(await mend(orderId)).toEqual([
      'view order-view: refused: its first events are no longer in the stream: build the view again with --keep-old',
    ]);
  });

  it('lose nothing that is projected while they are repaired', async () => {
    const orders = Array.from({ length: 20 }, () => newId());
    await Promise.all(orders.map((orderId) => tracking.publish(placed(orderId))));
    const publishing = Promise.all(
      orders.map(async (orderId) => {
        await tracking.publish(confirmed(orderId));
        for (const event of fulfilment(orderId).slice(2)) await tracking.publish(event);
      }),
    );
    for (let round = 0; round < 5; round++) {
      await tracking.sql(`UPDATE order_views SET status = 'rejected' WHERE order_id = ANY ($1)`, [orders]);
      await mend(...orders);
    }
    await publishing;
    await until(
      async () =>
        (await tracking.sql('SELECT FROM order_views WHERE order_id = ANY ($1) AND version = 4', [orders]))
          .length === orders.length,
      { describe: 'all events are projected' },
    );
    await mend(...orders);
    expect(await examine(...orders)).toEqual([]);
    const statuses = await tracking.sql<{ status: string }>(
      'SELECT DISTINCT status FROM order_views WHERE order_id = ANY ($1)',
      [orders],
    );
    expect(statuses).toEqual([{ status: 'completed' }]);
  });
});
