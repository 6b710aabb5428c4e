import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import { headers } from '@nats-io/nats-core';
import { connect } from '@nats-io/transport-node';
import { Client } from 'pg';
import { uniqueName } from '@flotilla/testing';
import type { CheckAccess } from '../src/checker/access.ts';
import { check } from '../src/checker/check.ts';
import type { CheckName, CheckReport } from '../src/checker/report.ts';
import { recordFleet, type RecordedFleet, type RecordedOrders } from './support/recorded-fleet.ts';

let fleet: RecordedFleet;

beforeAll(async () => {
  fleet = await recordFleet();
}, 240_000);

afterAll(async () => {
  await fleet[Symbol.asyncDispose]();
});

const settings = { settleMs: 0, overdueMs: 30_000 };

function accessTo(changed: Partial<CheckAccess> = {}): CheckAccess {
  return {
    natsUrl: fleet.natsUrl,
    databases: fleet.databases,
    expected: { orders: fleet.accepted, poison: fleet.poison },
    ...settings,
    ...changed,
  };
}

async function sql(url: string, ...statements: string[]): Promise<void> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    for (const statement of statements) await client.query(statement);
  } finally {
    await client.end();
  }
}

/** Checks the fleet with one database replaced by a corrupted copy. */
async function checkCorrupted(service: string, ...statements: string[]): Promise<CheckReport> {
  const name = uniqueName('corrupted');
  await sql(fleet.adminUrl, `CREATE DATABASE ${name} TEMPLATE ${service}`);
  try {
    const copy = new URL(fleet.databases[service] ?? '');
    copy.pathname = `/${name}`;
    const owner = new URL(fleet.adminUrl);
    owner.pathname = copy.pathname;
    await sql(owner.href, ...statements);
    return await check(accessTo({ databases: { ...fleet.databases, [service]: copy.href } }));
  } finally {
    await sql(fleet.adminUrl, `DROP DATABASE ${name} WITH (FORCE)`);
  }
}

/** What the checks that failed say, by their names. */
function found({ checks }: CheckReport): Record<string, string[]> {
  return Object.fromEntries(
    checks
      .filter(({ ok }) => !ok)
      .map(({ name, violations }) => [name, violations.map(({ about, what }) => `${about}: ${what}`)]),
  );
}

describe('a sound history', () => {
  it('holds, and every check has looked at something', async () => {
    const report = await check(accessTo());
    expect(found(report)).toEqual({});
    expect(report).toMatchObject({
      ok: true,
      lost: 0,
      duplicated: 0,
      orders: { accepted: 6, found: 6, completed: 3, rejected: 2, cancelled: 1, open: 0 },
    });
    expect(report.checks.filter(({ counted }) => counted === 0).map(({ name }) => name)).toEqual([]);
  });
});

type Corruption = readonly [
  what: string,
  service: string,
  check: CheckName,
  statements: (orders: RecordedOrders) => string[],
  finding: (orders: RecordedOrders) => string,
];

const free = (table: string, constraint: string): string =>
  `ALTER TABLE ${table} DROP CONSTRAINT ${constraint}`;
const copyOf = (table: string, where: string, changes: string): string => `
  DO $$ DECLARE r ${table}; BEGIN
    SELECT * INTO STRICT r FROM ${table} WHERE ${where} LIMIT 1; ${changes} INSERT INTO ${table} SELECT r.*;
  END $$`;

const corruptions: readonly Corruption[] = [
  [
    'an order that is gone',
    'orders',
    'accepted orders',
    ({ declined }) => [`DELETE FROM orders WHERE order_id = '${declined}'`],
    ({ declined }) => `${declined}: the order was accepted and is not there`,
  ],
  [
    'an order that never ended',
    'orders',
    'accepted orders',
    ({ completed }) => [`UPDATE orders SET status = 'shipped' WHERE order_id = '${completed}'`],
    ({ completed }) => `${completed}: the order was accepted and is still shipped`,
  ],
  [
    'an order with other lines',
    'orders',
    'accepted orders',
    ({ completed }) => [
      `UPDATE orders SET lines = jsonb_set(lines, '{0,quantity}', '9') WHERE order_id = '${completed}'`,
    ],
    ({ completed }) => `${completed}: it has 9 x LANTERN, and was asked for with 2 x LANTERN`,
  ],
  [
    'an order that ended twice',
    'orders',
    'terminal states',
    ({ completed }) => [
      copyOf(
        'outbox',
        `key = '${completed}' AND subject LIKE '%.OrderCompleted.%'`,
        `r.position := nextval('outbox_position'); r.id := 'twice'; r.subject := replace(r.subject, 'OrderCompleted', 'OrderCancelled');
         r.headers := jsonb_set(r.headers::jsonb, '{ce-aggregateversion}', '"5"');
         r.body := jsonb_set(r.body::jsonb, '{version}', '5')::text;`,
      ),
    ],
    ({ completed }) => `${completed}: 2 events end the order: OrderCompleted, OrderCancelled`,
  ],
  [
    'a gap in the versions of an order',
    'orders',
    'audit trail',
    ({ completed }) => [
      `DELETE FROM outbox WHERE key = '${completed}' AND subject LIKE '%.OrderConfirmed.%'`,
    ],
    ({ completed }) => `${completed}: version 3 (OrderShipped) comes where 2 should`,
  ],
  [
    'a version that comes twice',
    'orders',
    'audit trail',
    ({ completed }) => [
      copyOf(
        'outbox',
        `key = '${completed}' AND subject LIKE '%.OrderShipped.%'`,
        `r.position := nextval('outbox_position'); r.id := 'twice';`,
      ),
    ],
    ({ completed }) => `${completed}: version 3 (OrderShipped) comes again`,
  ],
  [
    'a gap in the versions of a product',
    'catalog',
    'audit trail',
    () => [`DELETE FROM outbox WHERE key = 'LANTERN' AND subject LIKE '%.ProductDefined.%'`],
    () => 'LANTERN: version 2 comes where 1 should',
  ],
  [
    'a total that is not that of the lines',
    'orders',
    'orders and their events',
    ({ completed }) => [`UPDATE orders SET total_minor = total_minor + 1 WHERE order_id = '${completed}'`],
    ({ completed }) => `${completed}: the order costs 2401, its lines 2400`,
  ],
  [
    'a process that is gone',
    'orders',
    'sagas',
    ({ completed }) => [`DELETE FROM saga_instances WHERE id = '${completed}'`],
    ({ completed }) => `${completed}: the order has 0 processes`,
  ],
  [
    'a process that ended otherwise than its order',
    'orders',
    'sagas',
    ({ declined }) => [`UPDATE saga_instances SET status = 'completed' WHERE id = '${declined}'`],
    ({ declined }) => `${declined}: the order is rejected, and its process completed`,
  ],
  [
    'a compensation without its step',
    'orders',
    'compensations',
    ({ declined }) => [
      `DELETE FROM saga_history WHERE id = '${declined}' AND step = 'reserve' AND kind <> 'undone'`,
    ],
    ({ declined }) => `${declined}: step reserve of fulfilment was undone, and never done`,
  ],
  [
    'goods that were released and never reserved',
    'inventory',
    'compensations',
    ({ declined }) => [`DELETE FROM outbox WHERE key = '${declined}' AND subject LIKE '%.StockReserved.%'`],
    ({ declined }) => `${declined}: goods were released that were never reserved`,
  ],
  [
    'a completed order that paid less',
    'payments',
    'money of orders',
    ({ completed }) => [`UPDATE payments SET amount_minor = 2300 WHERE order_id = '${completed}'`],
    ({ completed }) =>
      `${completed}: the order is completed at 2400 with 0 come back, its payment captured at 2300 with 0 paid back`,
  ],
  [
    'a rejected order that paid',
    'payments',
    'money of orders',
    ({ declined }) => [
      `UPDATE payments SET status = 'captured', reference = 'r', decline_reason = NULL WHERE order_id = '${declined}'`,
    ],
    ({ declined }) => `${declined}: the order is rejected, its payment captured at 1200 with 0 paid back`,
  ],
  [
    'an order that was paid twice',
    'payments',
    'money of orders',
    ({ completed }) => [
      free('payments', 'payments_order_id_key'),
      copyOf('payments', `order_id = '${completed}'`, 'r.id := gen_random_uuid();'),
    ],
    ({ completed }) => `${completed}: there are 2 payments`,
  ],
  [
    'sums that do not add up',
    'payments',
    'money adds up',
    ({ completed }) => [`UPDATE payments SET status = 'authorised' WHERE order_id = '${completed}'`],
    () => 'fleet: captured 6000, refunded 2400, and the completed orders are worth 6000',
  ],
  [
    'an authorisation that the provider made twice',
    'payments',
    'money effects',
    ({ completed }) => [
      `INSERT INTO sandbox_provider.operations (key, kind, outcome, reference, amount_minor, currency)
       VALUES ('${completed}:again', 'authorise', 'authorised', 'twice', 2400, 'GBP')`,
    ],
    ({ completed }) => `${completed}: the provider has authorised 2 times`,
  ],
  [
    'a capture that the provider made twice',
    'payments',
    'money effects',
    ({ completed }) => [
      copyOf(
        'sandbox_provider.operations',
        `key LIKE '${completed}:capture:%'`,
        `r.key := '${completed}:capture:99';`,
      ),
    ],
    ({ completed }) => `${completed}: the provider has captured 2 times`,
  ],
  [
    'a refund that the provider made twice',
    'payments',
    'money effects',
    ({ returned }) => [
      copyOf(
        'sandbox_provider.operations',
        `key LIKE '${returned}:refund:%'`,
        `r.key := '${returned}:refund:again';`,
      ),
    ],
    ({ returned }) => `${returned}: the provider decided on refunds of 2400, and has paid back 1200`,
  ],
  [
    'money that only the provider has',
    'payments',
    'money effects',
    () => [
      `INSERT INTO sandbox_provider.authorisations (reference, amount_minor, currency, status) VALUES ('x', 5, 'GBP', 'captured')`,
    ],
    () => 'unknown: the provider did something, and there is no such order',
  ],
  [
    'a posting that does not balance',
    'payments',
    'ledger',
    ({ completed }) => [
      'ALTER TABLE ledger_entries DISABLE TRIGGER USER',
      `UPDATE ledger_entries SET amount_minor = 1 WHERE kind = 'authorise' AND line = 1
         AND payment_id = (SELECT id FROM payments WHERE order_id = '${completed}')`,
    ],
    ({ completed }) => `${completed}: the posting ... does not balance: -2399`,
  ],
  [
    'a capture that was posted twice',
    'payments',
    'ledger',
    ({ completed }) => [
      `INSERT INTO ledger_entries
       SELECT 'aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa', line, kind, payment_id, account, direction, amount_minor, currency
         FROM ledger_entries WHERE kind = 'capture' AND payment_id = (SELECT id FROM payments WHERE order_id = '${completed}')`,
    ],
    ({ completed }) => `${completed}: capture was posted 2 times`,
  ],
  [
    'goods of a completed order that are still there',
    'inventory',
    'goods of orders',
    ({ completed }) => [`UPDATE reservations SET state = 'reserved' WHERE order_id = '${completed}'`],
    ({ completed }) => `${completed}: the order is completed, its goods are reserved`,
  ],
  [
    'goods that are held for a rejected order',
    'inventory',
    'goods of orders',
    ({ declined }) => [
      `UPDATE reservations SET state = 'reserved', release_reason = NULL WHERE order_id = '${declined}'`,
    ],
    ({ declined }) => `${declined}: the order is rejected, its goods are reserved`,
  ],
  [
    'stock below zero',
    'inventory',
    'stock is conserved',
    () => [
      free('stock', 'stock_on_hand_check'),
      free('stock', 'every_piece_is_somewhere'),
      `UPDATE stock SET on_hand = -1 WHERE sku = 'LANTERN'`,
    ],
    () => 'LANTERN: onHand is -1',
  ],
  [
    'stock that went missing',
    'inventory',
    'stock is conserved',
    () => [
      free('stock', 'every_piece_is_somewhere'),
      `UPDATE stock SET on_hand = on_hand - 1 WHERE sku = 'LANTERN'`,
    ],
    () => 'LANTERN: received 20 and restocked 1, but on hand 14, reserved 0, shipped 6',
  ],
  [
    'stock that came from nowhere',
    'inventory',
    'stock is conserved',
    () => [`UPDATE stock SET on_hand = on_hand + 5, received = received + 5 WHERE sku = 'LANTERN'`],
    () => 'LANTERN: 25 received, the events say 20',
  ],
  [
    'a completed order that was not delivered',
    'shipping',
    'shipments',
    ({ completed }) => [
      `UPDATE shipments SET status = 'lost', delivered_at = NULL, trouble = 'x' WHERE order_id = '${completed}'`,
    ],
    ({ completed }) => `${completed}: the order is completed, its shipment lost`,
  ],
  [
    'an order that was shipped twice',
    'shipping',
    'shipments',
    ({ completed }) => [
      free('shipments', 'shipments_order_id_key'),
      copyOf('shipments', `order_id = '${completed}'`, 'r.id := gen_random_uuid();'),
    ],
    ({ completed }) => `${completed}: there are 2 shipments`,
  ],
  [
    'a return that was not booked in',
    'inventory',
    'returns',
    ({ returned }) => [`DELETE FROM return_receipts WHERE order_id = '${returned}'`],
    ({ returned, returnId }) => `${returned}: the return ${returnId} is completed, and booked in 0 times`,
  ],
  [
    'more that came back than was delivered',
    'orders',
    'returns',
    ({ returned }) => [
      `UPDATE order_returns SET lines = jsonb_set(lines, '{0,quantity}', '4'), refund_minor = 4800 WHERE order_id = '${returned}'`,
    ],
    ({ returned }) => `${returned}: 4 of LANTERN come back, of 3 that were delivered`,
  ],
  [
    'a customer who was told twice',
    'notifications',
    'messages to customers',
    ({ completed }) => [
      free('mailbox', 'mailbox_order_id_fact_key'),
      copyOf(
        'mailbox',
        `order_id = '${completed}' AND fact = 'shipped'`,
        'r.notification_id := gen_random_uuid();',
      ),
    ],
    ({ completed }) => `${completed}: the customer was told 2 times: shipped`,
  ],
  [
    'a customer who was not told',
    'notifications',
    'messages to customers',
    ({ completed }) => [`DELETE FROM mailbox WHERE order_id = '${completed}' AND fact = 'completed'`],
    ({ completed }) => `${completed}: the customer was not told: completed`,
  ],
  [
    'a view that is behind',
    'tracking',
    'read model',
    ({ completed }) => [
      `UPDATE order_views SET status = 'shipped', version = 3 WHERE order_id = '${completed}'`,
      `DELETE FROM timeline_entries WHERE order_id = '${completed}' AND position = 4`,
    ],
    ({ completed }) => `${completed}: the order is shown with status shipped for completed, version 3 for 4`,
  ],
  [
    'a payment that is shown otherwise',
    'tracking',
    'read model',
    ({ completed }) => [
      `UPDATE payment_entries SET amount_minor = 1 WHERE order_id = '${completed}' AND kind = 'captured'`,
    ],
    ({ completed }) => `${completed}: the payments has captured with amount_minor 1 for 2400`,
  ],
  [
    'an order that is shown and does not exist',
    'tracking',
    'read model',
    () => [
      `INSERT INTO order_views (order_id, customer_id, status, version, updated_at)
       VALUES ('aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa', 'c', 'pending', 1, now())`,
    ],
    () => 'aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa: it is shown, and there is no such order',
  ],
  [
    'a copy of a product that is old',
    'orders',
    'copied products',
    () => [`UPDATE products SET price_minor = 1250, version = 1 WHERE sku = 'LANTERN'`],
    () => 'LANTERN: orders knows it with price_minor 1250 for 1200, version 1 for 2',
  ],
  [
    'a message that was never published',
    'orders',
    'outboxes',
    ({ completed }) => [
      `UPDATE outbox SET published_at = NULL, stream = NULL, sequence = NULL
        WHERE key = '${completed}' AND subject LIKE '%.OrderCompleted.%'`,
    ],
    ({ completed }) => `${completed}: orders has not published evt.orders.OrderCompleted.v1.`,
  ],
  [
    'a message that was published elsewhere than noted',
    'orders',
    'streams',
    ({ completed }) => [
      `UPDATE outbox SET sequence = 1000000 WHERE key = '${completed}' AND subject LIKE '%.OrderCompleted.%'`,
    ],
    ({ completed }) => `${completed}: ... was published to EVT_orders at 1000000, and is not there`,
  ],
  [
    'a message that was changed on its way',
    'orders',
    'streams',
    ({ completed }) => [
      `UPDATE outbox SET body = body || ' ' WHERE key = '${completed}' AND subject LIKE '%.OrderCompleted.%'`,
    ],
    ({ completed }) => `${completed}: ... is in EVT_orders at ... with another body`,
  ],
  [
    'a timer that is overdue',
    'orders',
    'timers',
    ({ completed }) => [
      `UPDATE saga_instances SET status = 'running', step = 'capture', due_at = now() - interval '1 hour' WHERE id = '${completed}'`,
    ],
    ({ completed }) => `${completed}: the timer of fulfilment at capture was due at`,
  ],
  [
    'a process without a timer',
    'orders',
    'nothing waits for ever',
    ({ completed }) => [
      `UPDATE saga_instances SET status = 'running', step = 'capture' WHERE id = '${completed}'`,
    ],
    ({ completed }) => `${completed}: its process fulfilment is running at capture, without a timer`,
  ],
  [
    'a process that waits for a person',
    'orders',
    'nothing waits for ever',
    ({ completed }) => [
      `UPDATE saga_instances SET status = 'parked', step = 'ship' WHERE id = '${completed}'`,
    ],
    ({ completed }) => `${completed}: its process fulfilment is parked at ship`,
  ],
  [
    'a capture that is still under way',
    'payments',
    'nothing waits for ever',
    ({ completed }) => [
      `UPDATE payments SET status = 'authorised', in_flight = 'capture', in_flight_key = 'k' WHERE order_id = '${completed}'`,
    ],
    ({ completed }) => `${completed}: its payment is authorised, with capture under way`,
  ],
];

const escaped = (text: string): string => text.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&');

describe('a corrupted history', () => {
  it.each(corruptions)('%s (%s) is found as "%s"', async (_, service, name, statements, finding) => {
    const report = await checkCorrupted(service, ...statements(fleet.orders));
    expect(report.ok).toBe(false);
    // Three dots stand for ids and times.
    const words = finding(fleet.orders).split(' ... ').map(escaped).join(' .*');
    expect(found(report)[name]).toEqual(expect.arrayContaining([expect.stringMatching(`^${words}`)]));
  });

  it('tells what is lost and what is there twice', async () => {
    const { declined, completed } = fleet.orders;
    const gone = await checkCorrupted('orders', `DELETE FROM orders WHERE order_id = '${declined}'`);
    expect([gone.lost, gone.duplicated]).toEqual([1, 0]);
    const twice = await checkCorrupted(
      'notifications',
      free('mailbox', 'mailbox_order_id_fact_key'),
      copyOf(
        'mailbox',
        `order_id = '${completed}' AND fact = 'shipped'`,
        'r.notification_id := gen_random_uuid();',
      ),
    );
    expect([twice.lost, twice.duplicated]).toEqual([0, 1]);
  });

  it('one key that made two orders is found', async () => {
    const [first, ...rest] = fleet.accepted;
    const orders = rest.map((each, index) =>
      index === 0 ? { ...each, idempotencyKey: first?.idempotencyKey ?? '' } : each,
    );
    const report = await check(
      accessTo({ expected: { orders: first ? [first, ...orders] : [], poison: fleet.poison } }),
    );
    expect(Object.keys(found(report))).toEqual(['one order per key']);
    expect(report.duplicated).toBe(1);
  });

  it('a dead letter that is no poison, and poison that is not dead, are found', async () => {
    const poison = [{ id: 'never-died' }];
    const report = await check(accessTo({ expected: { orders: fleet.accepted, poison } }));
    expect(found(report)['dead letters']).toEqual(
      expect.arrayContaining([
        expect.stringMatching(/orders.OrderConfirmed.v1 .* died in tracking\/tracking-order-view/),
        'never-died: the poison is not among the dead letters',
      ]),
    );
    // Nobody knows of it any more, so that it is also a message that no service has published.
    expect(found(report)['streams']).toEqual([expect.stringContaining('was published by nobody')]);
  });
});

describe('a corrupted stream', () => {
  const withBroker = async (work: (client: Awaited<ReturnType<typeof connect>>) => Promise<void>) => {
    const client = await connect({ servers: fleet.natsUrl });
    try {
      await work(client);
    } finally {
      await client.close();
    }
  };

  it('that lost a message is found', async () => {
    const { completed } = fleet.orders;
    let lost = 0;
    await withBroker(async (client) => {
      lost = await remakeWithout(client, 'EVT_orders', `evt.orders.OrderShipped.v1.*.${completed}`);
    });
    const report = await check(accessTo());
    expect(found(report)).toEqual({
      streams: [
        expect.stringMatching(`^${completed}: .* was published to EVT_orders at ${lost}, and is not there$`),
      ],
    });
  });

  it('that has a message which nobody published, and which waits for its consumers, is found', async () => {
    await withBroker(async (client) => {
      const forged = headers();
      forged.set('ce-id', 'forged');
      forged.set('Nats-Msg-Id', 'forged');
      await jetstream(client).publish('evt.payments.PaymentCaptured.v1.0.forged', '{}', { headers: forged });
    });
    const report = await check(accessTo());
    expect(found(report)).toMatchObject({
      streams: expect.arrayContaining([
        expect.stringMatching(/^EVT_payments:\d+: forged was published by nobody$/),
      ]) as unknown,
      // The services do not run: it waits for everybody who wants such an event.
      consumers: ['EVT_payments/tracking-payment-view: 1 messages wait, 0 are not acknowledged'],
    });
  });
});

/** Makes a stream again with all its messages at their places but one, as a broker that lost it; says which. */
async function remakeWithout(
  client: Awaited<ReturnType<typeof connect>>,
  name: string,
  subject: string,
): Promise<number> {
  const manager = await jetstreamManager(client);
  const { config, state } = await manager.streams.info(name);
  const messages = [];
  for (let seq = 1; seq <= state.last_seq; seq++)
    messages.push(await manager.streams.getMessage(name, { seq }));
  const lost = (await manager.streams.getMessage(name, { last_by_subj: subject }))?.seq ?? 0;
  await manager.streams.delete(name);
  await manager.streams.add({ ...config, deny_delete: false });
  for (const message of messages)
    await jetstream(client).publish(message?.subject ?? '', message?.data, {
      headers: message?.header ?? headers(),
    });
  await manager.streams.deleteMessage(name, lost);
  return lost;
}
