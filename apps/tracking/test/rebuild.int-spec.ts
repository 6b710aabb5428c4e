import { encodeEnvelope } from '@flotilla/contracts-protocol';
import { PaymentAuthorised } from '@flotilla/contracts-payments';
import { GetOrder } from '@flotilla/contracts-tracking';
import { newId } from '@flotilla/kernel';
import { provision, topologyOf, type IncomingMessage } from '@flotilla/messaging';
import { startTestService, type TestService } from '@flotilla/service/testing';
import { until } from '@flotilla/testing';
import { jetstreamManager } from '@nats-io/jetstream';
import { TrackingConfig } from '../src/tracking.config.ts';
import { TrackingModule } from '../src/tracking.module.ts';
import { trackingService } from '../src/tracking.service.ts';
import { completed, confirmed, fulfilment, money, placed, shipped } from './order-events.ts';

interface Rebuild {
  readonly projection: string;
  readonly status: string;
  readonly events: number;
  readonly problem: string | null;
  readonly skipped: readonly { readonly type: string }[];
  readonly report: {
    readonly rows: number;
    readonly missing: number;
    readonly added: number;
    readonly changed: number;
    readonly headless: number;
    readonly carriedOver: number;
    readonly differences: readonly {
      readonly kind: string;
      readonly live: object;
      readonly shadow: object;
    }[];
  } | null;
}

/** The owners' outboxes, as the owners answer for them: what the streams have lost. */
type Archive = { subject: string; headers: Record<string, string>; body: string }[];

let tracking: TestService;
let archive: Archive;
let undo: (() => Promise<unknown>)[];
beforeEach(async () => {
  tracking = await startTestService({ module: TrackingModule, config: TrackingConfig });
  archive = [];
  undo = [];
  for (const owner of ['orders', 'payments']) {
    const server = await tracking.broker.serve(
      `ops.${owner}.history`,
      { queue: owner, maxInFlight: 1 },
      (message) => Promise.resolve(historyPage(owner, message)),
    );
    undo.push(() => server.stop());
  }
});
afterEach(async () => {
  for (const each of undo) await each();
  await tracking.stop();
});

/** Two events a page, so that there are several. */
function historyPage(
  owner: string,
  message: IncomingMessage,
): { headers: Record<string, string>; body: string } {
  const { after } = message.json() as { after: string };
  const own = archive.filter(({ subject }) => subject.startsWith(`evt.${owner}.`));
  const from = Number(after);
  const next = from + 2 < own.length ? { next: String(from + 2) } : {};
  return answer(message, { events: own.slice(from, from + 2), ...next });
}

function answer(
  { envelope }: IncomingMessage,
  body: unknown,
): { headers: Record<string, string>; body: string } {
  const headers = encodeEnvelope({ ...envelope, id: newId(), causationId: envelope.id, outcome: 'ok' });
  return { headers, body: JSON.stringify(body) };
}

async function ask(body: object): Promise<Rebuild[]> {
  const id = newId();
  const headers = encodeEnvelope({
    id,
    type: 'ops.projections',
    source: 'test',
    time: new Date().toISOString(),
    subject: id,
    correlationId: id,
  });
  const reply = await tracking.broker.request(
    { id, subject: 'ops.tracking.projections', key: id, headers, body: JSON.stringify(body) },
    { timeoutMs: 10_000 },
  );
  const answered = reply.json() as { rebuilds?: Rebuild[]; message?: string };
  if (answered.rebuilds === undefined) throw new Error(answered.message);
  return answered.rebuilds;
}

/** Rebuilds a view and waits until that has ended. */
async function rebuild(options: object = {}, projection = 'order-view'): Promise<Rebuild> {
  await ask({ action: 'rebuild', projections: [projection], options });
  return ended(projection);
}

const ended = (projection = 'order-view'): Promise<Rebuild> =>
  until(
    async () => {
      const all = await ask({ action: 'status', differences: 100 });
      const found = all.find((each) => each.projection === projection);
      return found && !['reading', 'comparing', 'swapping'].includes(found.status) ? found : undefined;
    },
    { describe: `the rebuild of ${projection} has ended`, timeoutMs: 25_000 },
  );

const status = async (orderId: string): Promise<string | undefined> =>
  (await tracking.query(new GetOrder({ orderId })).catch(() => undefined))?.status;
const isCompleted = (orderId: string) =>
  until(async () => (await status(orderId)) === 'completed', { describe: `${orderId} is completed` });
const fulfil = async (orderId: string): Promise<void> => {
  for (const event of fulfilment(orderId)) await tracking.publish(event);
};
const oidOf = async (table: string): Promise<unknown> =>
  (await tracking.sql<{ oid: unknown }>(`SELECT $1::regclass::oid AS oid`, [table]))[0]?.oid;
const indexes = async (): Promise<string[]> =>
  (
    await tracking.sql<{ name: string }>(
      `SELECT indexname AS name FROM pg_indexes WHERE schemaname = 'public'
       AND tablename IN ('order_views', 'timeline_entries') ORDER BY 1`,
    )
  ).map(({ name }) => name);

describe('the rebuild of a view', () => {
  it('makes the same view, puts it in the place of the live one, and leaves nothing behind', async () => {
    const orders = Array.from({ length: 5 }, () => newId());
    for (const orderId of orders) await fulfil(orderId);
    await Promise.all(orders.map(isCompleted));
    const before = { oid: await oidOf('order_views'), indexes: await indexes() };

    expect(await rebuild()).toMatchObject({
      status: 'swapped',
      events: 20,
      report: { rows: 25, missing: 0, added: 0, changed: 0, differences: [] },
    });
    expect(await oidOf('order_views')).not.toBe(before.oid);
    expect(await indexes()).toEqual(before.indexes);
    expect(await Promise.all(orders.map(status))).toEqual(orders.map(() => 'completed'));
    const left = await tracking.sql(
      `SELECT FROM pg_tables WHERE schemaname IN ('rebuild', 'rebuild_retired')`,
    );
    expect(left).toEqual([]);
    // The new tables take events as the old ones did.
    const later = newId();
    await fulfil(later);
    await isCompleted(later);
  });

  it('goes on under load: no event is lost, and readers see no older state', async () => {
    const replica = await tracking.startReplica();
    const seen = newId();
    await fulfil(seen);
    await isCompleted(seen);
    let loading = true;
    const placedOrders: string[] = [];
    const load = (async () => {
      while (loading) {
        const orderId: string = newId();
        placedOrders.push(orderId);
        await fulfil(orderId);
      }
    })();
    const backwards: unknown[] = [];
    const reading = (async () => {
      while (loading) {
        const now = await tracking.query(new GetOrder({ orderId: seen }));
        if (now.status !== 'completed') backwards.push(now);
      }
    })();
    const first = await rebuild();
    const second = await rebuild();
    loading = false;
    await Promise.all([load, reading]);
    expect([first.status, second.status]).toEqual(['swapped', 'swapped']);
    expect(backwards).toEqual([]);
    await until(
      async () =>
        (await tracking.sql(`SELECT FROM order_views WHERE status <> 'completed'`)).length === 0 &&
        (await tracking.sql('SELECT FROM order_views')).length === placedOrders.length + 1,
      { describe: 'every order is completed' },
    );
    const [sums] = await tracking.sql<{ entries: string; orders: string }>(
      'SELECT (SELECT count(*) FROM timeline_entries) AS entries, (SELECT count(*) FROM order_views) AS orders',
    );
    const orders = placedOrders.length + 1;
    expect(sums).toEqual({ entries: String(orders * 4), orders: String(orders) });
    await replica.stop();
  });

  it('refuses a view that differs, keeps it for a look, and takes it when it is accepted', async () => {
    const orderId = newId();
    await fulfil(orderId);
    await isCompleted(orderId);
    await tracking.sql(`UPDATE order_views SET status = 'cancelled' WHERE order_id = $1`, [orderId]);

    expect(await rebuild()).toMatchObject({
      status: 'mismatch',
      problem: expect.stringContaining('1 rows differ') as string,
      report: {
        changed: 1,
        differences: [{ kind: 'changed', live: { status: 'cancelled' }, shadow: { status: 'completed' } }],
      },
    });
    expect(await status(orderId)).toBe('cancelled');
    expect(await tracking.sql('SELECT status FROM rebuild.order_views')).toEqual([{ status: 'completed' }]);

    expect(await rebuild({ accept: 'changes' })).toMatchObject({ status: 'swapped', events: 4 });
    expect(await status(orderId)).toBe('completed');
  });

  it('compares only, when that is asked for', async () => {
    const orderId = newId();
    await fulfil(orderId);
    await isCompleted(orderId);
    const oid = await oidOf('order_views');
    expect(await rebuild({ dryRun: true })).toMatchObject({ status: 'compared', report: { changed: 0 } });
    expect(await oidOf('order_views')).toBe(oid);
  });

  it('is aborted on request, and begins anew', async () => {
    const orderId = newId();
    await fulfil(orderId);
    await isCompleted(orderId);
    await tracking.sql(`UPDATE order_views SET status = 'cancelled'`);
    await rebuild();
    await ask({ action: 'abort', projections: ['order-view'] });
    expect((await ended()).status).toBe('aborted');
    expect(await tracking.sql(`SELECT FROM pg_tables WHERE schemaname = 'rebuild'`)).toEqual([]);
    expect((await rebuild({ accept: 'changes' })).status).toBe('swapped');
  });

  it('names the projections there are when it is asked for another', async () => {
    await expect(ask({ action: 'rebuild', projections: ['nothing'] })).rejects.toThrow(
      'There is no projection nothing; there are: order-view, payment-view',
    );
  });

  it('skips an event that no view can be made of, as the live projection does', async () => {
    const [good, bad] = [newId(), newId()];
    await tracking.publish(shipped(bad, 'T-\u0000'));
    await fulfil(good);
    await isCompleted(good);
    expect(await rebuild()).toMatchObject({
      status: 'swapped',
      skipped: [{ type: 'orders.OrderShipped.v1' }],
      report: { missing: 0, changed: 0 },
    });
  });

  it('goes on where its process stopped', async () => {
    const orderId = newId();
    await fulfil(orderId);
    await isCompleted(orderId);
    // As a process that died while it was reading leaves it.
    await tracking.sql(`UPDATE order_views SET status = 'cancelled'`);
    await rebuild();
    await tracking.sql(
      `UPDATE projection_rebuilds SET status = 'reading', worker = gen_random_uuid(), ended_at = NULL,
       options = '{"dryRun": false, "accept": "changes", "keepOld": false}', lease_until = now() - interval '1 second'`,
    );
    await ask({ action: 'rebuild', projections: ['order-view'] });
    expect(await ended()).toMatchObject({ status: 'swapped', events: 4 });
  });
});

describe('when the streams no longer have everything', () => {
  /** Takes the events out of the streams, and keeps them as their owners' outboxes do. */
  async function wipe(keep: boolean): Promise<void> {
    const jsm = await jetstreamManager(tracking.broker.connection);
    for (const stream of ['EVT_orders', 'EVT_payments']) {
      const { state } = await jsm.streams.info(stream);
      for (let seq = 1; keep && seq <= state.last_seq; seq++) {
        const stored = await jsm.streams.getMessage(stream, { seq });
        if (stored === null) continue;
        const headers = Object.fromEntries([...stored.header].map(([name, [value = '']]) => [name, value]));
        archive.push({ subject: stored.subject, headers, body: stored.string() });
      }
      await jsm.streams.delete(stream);
    }
    await provision(tracking.broker.connection, topologyOf([trackingService]));
  }

  it("is made of what their owners' outboxes still have", async () => {
    const [before, after] = [newId(), newId()];
    await fulfil(before);
    await tracking.publish(
      new PaymentAuthorised({ paymentId: newId(), orderId: before, amount: money(1_530) }),
    );
    await isCompleted(before);
    await until(async () => (await tracking.sql('SELECT FROM payment_entries')).length === 1);
    await wipe(true);
    // What happens since is in the new streams.
    await fulfil(after);
    await isCompleted(after);
    expect(await rebuild()).toMatchObject({ status: 'swapped', events: 8 });
    expect(await rebuild({}, 'payment-view')).toMatchObject({ status: 'swapped', events: 1 });
    expect([await status(before), await status(after)]).toEqual(['completed', 'completed']);
  });

  it('says that the history is not complete, and takes the old over when it may', async () => {
    const [old, across] = [newId(), newId()];
    await fulfil(old);
    await tracking.publish(placed(across));
    await tracking.publish(confirmed(across));
    await isCompleted(old);
    await until(async () => (await status(across)) === 'confirmed');
    await wipe(false);
    await tracking.publish(shipped(across));
    await tracking.publish(completed(across));
    await isCompleted(across);

    expect(await rebuild({ accept: 'changes' })).toMatchObject({
      status: 'incomplete',
      problem: expect.stringContaining('--keep-old') as string,
      report: { headless: 1, missing: 7 },
    });
    expect(await rebuild({ keepOld: true })).toMatchObject({
      status: 'swapped',
      report: { headless: 0, missing: 0, changed: 0 },
    });
    const view = await tracking.query(new GetOrder({ orderId: across }));
    expect([view.status, view.timeline.length, view.total]).toEqual(['completed', 4, money(1_530)]);
    expect(await status(old)).toBe('completed');
  });
});
