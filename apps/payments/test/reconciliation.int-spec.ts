import { encodeEnvelope } from '@flotilla/contracts-protocol';
import { newId } from '@flotilla/kernel';
import { scheduleSubject } from '@flotilla/service';
import { ScheduleStore } from '@flotilla/service/schedules';
import { until } from '@flotilla/testing';
import { startPayments, type Payments } from './payments-under-test.ts';

let payments: Payments;
beforeAll(async () => {
  // By its own clock it runs at the end of February only: the tests ask for it.
  payments = await startPayments({ PAYMENTS_RECONCILIATION_CRON: '0 3 29 2 *' });
});
afterAll(() => payments.service.stop());

interface Difference {
  readonly order_id: string;
  readonly kind: string;
  readonly resolved_at: Date | null;
}

/** Asks for a run as an operator does, and waits for its end; then what it has written down. */
async function reconcile(): Promise<Difference[]> {
  const { service } = payments;
  const store = new ScheduleStore((sql, parameters) => service.sql(sql, parameters ?? []));
  const runs = async () => (await store.read('nightly-reconciliation'))?.runs ?? 0;
  const before = await runs();
  const id = newId();
  const headers = encodeEnvelope({
    id,
    type: 'ops.schedule.run',
    source: 'test',
    time: new Date().toISOString(),
    subject: 'nightly-reconciliation',
    correlationId: id,
  });
  const reply = await service.broker.request(
    {
      id,
      subject: scheduleSubject('payments'),
      key: id,
      headers,
      body: JSON.stringify({ action: 'run', name: 'nightly-reconciliation', by: 'ada' }),
    },
    { timeoutMs: 5_000 },
  );
  expect(reply.json()).toEqual({ outcome: 'requested', schedule: 'nightly-reconciliation' });
  await until(async () => (await runs()) > before, { describe: 'the reconciliation has run' });
  return service.sql<Difference>('SELECT order_id, kind, resolved_at FROM book_differences ORDER BY kind');
}

it('finds nothing where the books agree, whatever became of a payment', async () => {
  const orders = Array.from({ length: 8 }, () => newId());
  await Promise.all(orders.map((orderId) => payments.authorise(orderId)));
  const [voided, captured, refunded, partly] = orders as [string, string, string, string];
  await payments.void(voided);
  for (const orderId of [captured, refunded, partly]) await payments.capture(orderId);
  await payments.refund(refunded);
  await payments.refund(partly, 250);
  await payments.authorise(newId(), 500, 'tok_declined').catch(() => undefined);
  await payments.void(newId());
  expect(await reconcile()).toEqual([]);
});

it('writes down every kind of difference, and that it is mended when it is', async () => {
  const { service } = payments;
  const [lost, other, ours, back] = [newId(), newId(), newId(), newId()];
  for (const orderId of [lost, other, ours, back]) {
    await payments.authorise(orderId);
    await payments.capture(orderId);
  }
  const books = 'sandbox_provider.authorisations';
  const referenceOf = (orderId: string) => `(SELECT reference FROM payments WHERE order_id = '${orderId}')`;
  // The provider forgot one, has another amount, gave money back; and knows of one that we never asked for.
  await service.sql(`DELETE FROM ${books} WHERE reference = ${referenceOf(lost)}`);
  await service.sql(`UPDATE ${books} SET amount_minor = 900 WHERE reference = ${referenceOf(other)}`);
  await service.sql(`UPDATE ${books} SET refunded_minor = 100 WHERE reference = ${referenceOf(back)}`);
  const stranger = newId();
  await service.sql(
    `INSERT INTO sandbox_provider.operations (key, kind, outcome, reference, amount_minor, currency)
     VALUES ('${stranger}:authorise', 'authorise', 'authorised', 'auth_stranger', 5, 'GBP')`,
  );
  await service.sql(`INSERT INTO ${books} VALUES ('auth_stranger', 5, 'GBP', 'authorised')`);
  expect(await reconcile()).toEqual([
    { order_id: other, kind: 'amount', resolved_at: null },
    { order_id: back, kind: 'refunded', resolved_at: null },
    { order_id: lost, kind: 'unknown-to-provider', resolved_at: null },
    { order_id: stranger, kind: 'unknown-to-us', resolved_at: null },
  ]);

  await service.sql(`UPDATE ${books} SET amount_minor = 1000 WHERE reference = ${referenceOf(other)}`);
  const open = (await reconcile()).filter(({ resolved_at: resolvedAt }) => resolvedAt === null);
  expect(open.map(({ order_id: orderId }) => orderId).sort()).toEqual([back, lost, stranger].sort());
});

it('shows when it is due next and when it last succeeded', async () => {
  const page = await payments.service.metrics.scrape();
  expect(page).toMatch(
    /flotilla_schedule_last_success_timestamp_seconds\{schedule="nightly-reconciliation",/,
  );
  expect(page).toMatch(/flotilla_schedule_failing\{schedule="nightly-reconciliation",.*\} 0/);
  const health = await fetch(`${payments.service.url}/health/ready`);
  expect(await health.json()).toMatchObject({ status: 'ok', details: { schedules: { status: 'up' } } });
});
