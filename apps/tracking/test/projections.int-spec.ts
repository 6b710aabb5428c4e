import { PaymentAuthorised, PaymentCaptured, PaymentRefunded } from '@flotilla/contracts-payments';
import type { AnyMessage } from '@flotilla/contracts-protocol';
import { GetOrder } from '@flotilla/contracts-tracking';
import { newId } from '@flotilla/kernel';
import { viewOf } from '@flotilla/service';
import { startTestService, type TestService } from '@flotilla/service/testing';
import { until } from '@flotilla/testing';
import { orderView } from '../src/application/projections/order-view.ts';
import { paymentView } from '../src/application/projections/payment-view.ts';
import { orderViews, paymentEntries, timelineEntries } from '../src/persistence/view-tables.ts';
import { TrackingConfig } from '../src/tracking.config.ts';
import { TrackingModule } from '../src/tracking.module.ts';
import { fulfilment, money, placed, shipped } from './order-events.ts';

let tracking: TestService;
beforeAll(async () => {
  tracking = await startTestService({ module: TrackingModule, config: TrackingConfig });
});
afterAll(() => tracking.stop());

/** A repeatable shuffle. */
function shuffled<T>(items: readonly T[], seed: number): T[] {
  const result = [...items];
  for (let left = result.length - 1, state = seed; left > 0; left--) {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    const other = state % (left + 1);
    [result[left], result[other]] = [result[other] as T, result[left] as T];
  }
  return result;
}

const publishAll = (events: readonly AnyMessage[]) =>
  Promise.all(events.map((event) => tracking.publish(event)));
const count = async (sql: string, parameters: readonly unknown[]): Promise<number> =>
  Number((await tracking.sql<{ n: string }>(`SELECT count(*) AS n FROM ${sql}`, parameters))[0]?.n);

describe('a projection', () => {
  it('makes the view that its declaration says, of events late, twice, in any order and over replicas', async () => {
    const replica = await tracking.startReplica();
    const orders = Array.from({ length: 40 }, () => newId());
    const payment = (orderId: string) => ({ paymentId: newId(), orderId, amount: money(1_530) });
    const events = orders.flatMap((orderId): AnyMessage[] => [
      ...fulfilment(orderId),
      new PaymentAuthorised(payment(orderId)),
      new PaymentCaptured(payment(orderId)),
      new PaymentRefunded({ ...payment(orderId), refundKey: 'k', reason: 'late' }),
    ]);
    await publishAll(shuffled([...events, ...events.slice(0, 150)], 7));
    await until(
      async () =>
        (await count('timeline_entries WHERE order_id = ANY ($1)', [orders])) === 160 &&
        (await count('payment_entries WHERE order_id = ANY ($1)', [orders])) === 120,
      { describe: 'everything is projected' },
    );
    const orderRows = viewOf(orderView, events);
    const expectRows = async (
      table: typeof orderViews | typeof timelineEntries | typeof paymentEntries,
      rows: readonly object[],
    ) => {
      const missing = await tracking.sql(
        `SELECT to_jsonb(told) AS row FROM jsonb_populate_recordset(NULL::${table.name}, $1) AS told
         WHERE NOT EXISTS (SELECT FROM ${table.name} AS known WHERE to_jsonb(known) = to_jsonb(told))`,
        [JSON.stringify(rows)],
      );
      expect(missing).toEqual([]);
    };
    await expectRows(orderViews, orderRows.of(orderViews));
    await expectRows(timelineEntries, orderRows.of(timelineEntries));
    await expectRows(paymentEntries, viewOf(paymentView, events).of(paymentEntries));
    await replica.stop();
  });

  it('writes no inbox row: the view knows what it has seen', async () => {
    const orderId = newId();
    await publishAll(fulfilment(orderId));
    await until(
      async () =>
        (await tracking.query(new GetOrder({ orderId })).catch(() => undefined))?.status === 'completed',
    );
    expect(await count('inbox', [])).toBe(0);
  });

  it('sends an event that cannot be written to the dead letters, and writes those beside it', async () => {
    const good = Array.from({ length: 20 }, () => newId());
    // JSON can say it and Postgres cannot store it.
    const bad = shipped(newId(), 'T-\u0000');
    const deadLetters: string[] = [];
    const watch = await tracking.broker.watch('dlq.tracking.>', ({ headers }) => {
      deadLetters.push(String(headers['ce-subject']));
    });
    await publishAll([
      ...good.slice(0, 10).map((id) => placed(id)),
      bad,
      ...good.slice(10).map((id) => placed(id)),
    ]);
    await until(async () => (await count('order_views WHERE order_id = ANY ($1)', [good])) === 20, {
      describe: 'the others are projected',
    });
    await until(() => deadLetters.length > 0, { describe: 'the dead letter' });
    expect(deadLetters).toEqual([bad.payload.orderId]);
    expect(await count('order_views WHERE order_id = $1', [bad.payload.orderId])).toBe(0);
    await watch.stop();
  });
});
