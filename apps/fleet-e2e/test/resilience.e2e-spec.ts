import { readFileSync } from 'node:fs';
import { connectNats } from '@flotilla/messaging';
import { until } from '@flotilla/testing';
import type { Msg } from '@nats-io/nats-core';
import { Api, type ApiAnswer } from './support/api.ts';
import { RunningFleet } from './support/running-fleet.ts';

// What callers and orders see of a fleet a part of which is away, on real processes: a frozen one (SIGSTOP) takes
// connections and messages and answers nothing, which is worse than one that is gone.

/** Generous: an idle service takes a fifth of it. */
const MOST_MEMORY_BYTES = 512 * 1024 ** 2;
const SERVICES = [
  'catalog',
  'gateway',
  'inventory',
  'notifications',
  'orders',
  'payments',
  'shipping',
  'tracking',
];

let fleet: RunningFleet;
let api: Api;
/** The orders that have ended well, as the broker says it, whatever the read side does. */
const completed = new Set<string>();
let listening: { close(): Promise<void> } | undefined;

beforeAll(async () => {
  fleet = await RunningFleet.start(
    {
      REQUEST_DEADLINE_MS: '3000',
      // Sooner than a saga gives up a command that is asked for, so that who is slow with it has it all the time.
      ORDERS_SCREENING_TIMEOUT_MS: '1000',
    },
    // What is frozen here stays so until the test lets it go.
    ['--hung-after', '0s'],
  );
  api = await Api.login(fleet.apiUrl);
  await api.stock('CALM', 1_000_000);
  const connection = await connectNats({ ...(await fleet.broker('auditor')), name: 'resilience' });
  connection.subscribe('evt.orders.OrderCompleted.v1.>', {
    callback: (_error, { subject }) => void completed.add(subject.slice(subject.lastIndexOf('.') + 1)),
  });
  await connection.flush();
  listening = connection;
});
afterAll(async () => {
  await listening?.close();
  await fleet[Symbol.asyncDispose]();
});

const place = async (count: number, sku = 'CALM', quantity = 1): Promise<string[]> => {
  const answers = await Promise.all(Array.from({ length: count }, () => api.place(sku, quantity)));
  expect(answers.map(({ status }) => status)).toEqual(Array.from({ length: count }, () => 202));
  return answers.map(({ body }) => String(body['orderId']));
};
const untilCompleted = (orders: readonly string[]): Promise<unknown> =>
  until(() => orders.every((order) => completed.has(order)), {
    timeoutMs: 60_000,
    describe: `${orders.length} orders are completed`,
  });
/** An answer that says when to try again, and nothing of what is inside. */
const expectUnavailable = ({ status, headers, body }: ApiAnswer): void => {
  expect(status).toBe(503);
  expect(Number(headers.get('retry-after'))).toBeGreaterThan(0);
  expect(headers.get('content-type')).toContain('application/problem+json');
  expect(body).toMatchObject({ status: 503, detail: expect.stringMatching(/\w/) as unknown });
};
const memoryOf = (pid: number): number => {
  const resident = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(resident) * 1024;
};
const expectBoundedMemory = async (): Promise<void> => {
  const { instances } = await fleet.status();
  for (const { name, pid } of instances) {
    const bytes = memoryOf(pid);
    expect({ name, bounded: bytes < MOST_MEMORY_BYTES, bytes }).toMatchObject({ name, bounded: true });
  }
};

it('payments away: orders are taken and wait, and all are fulfilled when it is back', async () => {
  let waiting: string[] = [];
  await fleet.frozen('payments', async () => {
    waiting = await place(30);
    // They get as far as the payment: their stock is reserved.
    await until(async () => {
      const stock = await api.send('GET', '/v1/stock/CALM');
      return stock.body['reserved'] === waiting.length;
    });
    expect(waiting.filter((order) => completed.has(order))).toEqual([]);
    const { body } = await api.send('GET', `/v1/orders/${waiting[0]}`);
    expect(body).toMatchObject({ status: 'pending' });
  });
  await untilCompleted(waiting);
  await expectBoundedMemory();
});

it('catalog away: ordering goes on from the local copy of prices, only the catalogue itself is not answered', async () => {
  await fleet.frozen('catalog', async () => {
    await untilCompleted(await place(10));
    expectUnavailable(await api.send('GET', '/v1/products/CALM'));
  });
  await until(async () => (await api.send('GET', '/v1/products/CALM')).status === 200);
});

it('tracking away: ordering goes on, reads say when to come again, and afterwards the views are complete', async () => {
  let orders: string[] = [];
  await fleet.frozen('tracking', async () => {
    orders = await place(10);
    await untilCompleted(orders);
    expectUnavailable(await api.send('GET', `/v1/orders/${orders[0]}`));
    expectUnavailable(await api.send('GET', '/v1/orders'));
  });
  for (const order of orders) await api.becomes(order, 'completed');
});

it('screening slow: small orders pass without a verdict, large ones wait for a person, and late answers change nothing', async () => {
  await api.stock('DEAR', 1_000_000, '100.00');
  // Another process that screens: it is given a part of the orders, and says nothing for too long.
  const slow = await fleet.natsAs('orders');
  const held = new Map<string, Msg>();
  const screening = slow.subscribe('rpc.fraud.ScreenOrder.v1', {
    queue: 'orders',
    callback: (_error, message) => {
      held.set(message.json<{ orderId: string }>().orderId, message);
    },
  });
  await slow.flush();
  try {
    const placed = { small: new Set<string>(), large: new Set<string>() };
    const unscreened = (orders: ReadonlySet<string>) => [...orders].filter((order) => held.has(order));
    await until(
      async () => {
        for (const order of await place(8, 'DEAR', 1)) placed.small.add(order);
        for (const order of await place(8, 'DEAR', 6)) placed.large.add(order);
        return unscreened(placed.small).length > 0 && unscreened(placed.large).length > 0;
      },
      { timeoutMs: 60_000, describe: 'the slow one has orders of both kinds' },
    );
    await untilCompleted([...placed.small]);
    const large = unscreened(placed.large);
    for (const order of large) await api.becomes(order, 'awaiting_review');
    // It answers in the end, and would have had them all rejected.
    for (const message of held.values()) {
      const body = JSON.stringify({ verdict: 'reject', score: 100, reasons: ['late'] });
      message.respond(body);
    }
    await slow.flush();
    screening.unsubscribe();
    await untilCompleted([...placed.large].filter((order) => !held.has(order)));
    for (const order of large) {
      const review = await api.send('POST', `/v1/orders/${order}/review`, { decision: 'approve' });
      expect(review).toMatchObject({ status: 202 });
    }
    await untilCompleted(large);
  } finally {
    await slow.close();
  }
});

it('stock does not answer: its breaker opens, so that callers are told at once, and closes again', async () => {
  const stockAsked = (times: number): Promise<ApiAnswer[]> =>
    Promise.all(Array.from({ length: times }, () => api.send('GET', '/v1/stock/CALM')));
  const breaker = async (state: string): Promise<boolean> =>
    (await fleet.metrics('gateway')).includes(
      `flotilla_breaker_state{policy="inventory",state="${state}",service="gateway"} 1`,
    );
  /** Calls of stock that went out, and were not refused by the breaker. */
  const sent = async (): Promise<number> => {
    const calls = (await fleet.metrics('gateway')).matchAll(
      /^flotilla_policy_call_duration_seconds_count\{(.*)\} (\d+)$/gm,
    );
    return [...calls]
      .filter(([, labels = '']) => labels.includes('policy="inventory') && !labels.includes('breaker-open'))
      .reduce((sum, [, , count]) => sum + Number(count), 0);
  };
  await fleet.frozen('inventory', async () => {
    await until(
      async () => {
        for (const answer of await stockAsked(12)) expectUnavailable(answer);
        return breaker('open');
      },
      { timeoutMs: 60_000, describe: 'the breaker of inventory is open' },
    );
    // Many callers, and hardly one of them goes through to wait: the trials of a breaker that is half open.
    const before = await sent();
    for (const answer of await stockAsked(200)) expectUnavailable(answer);
    expect((await sent()) - before).toBeLessThan(20);
    // What needs no stock now is not held up by who does.
    expect((await api.send('GET', '/v1/products/CALM')).status).toBe(200);
  });
  await until(async () => (await api.send('GET', '/v1/stock/CALM')).status === 200);
  await until(() => breaker('closed'));
});

describe('a flood of requests', () => {
  const MOST = 5;

  it('is shed beyond what can be answered, and what is taken is answered and fulfilled', async () => {
    const set = await fleet.run(
      'config',
      'set',
      'gateway',
      'httpMaxInFlight',
      String(MOST),
      '--data',
      fleet.dataDir,
    );
    expect(set).toMatchObject({ code: 0 });
    await until(async () => {
      const answers = await Promise.all(Array.from({ length: 300 }, () => api.send('GET', '/v1/orders')));
      return answers.some(({ status }) => status === 503);
    });
    const answers: ApiAnswer[] = [];
    let mostMemory = 0;
    for (let wave = 0; wave < 5; wave += 1) {
      answers.push(...(await Promise.all(Array.from({ length: 300 }, () => api.place('CALM', 1)))));
      const { instances } = await fleet.status();
      mostMemory = Math.max(mostMemory, ...instances.map(({ pid }) => memoryOf(pid)));
    }
    const taken = answers.filter(({ status }) => status === 202);
    const shed = answers.filter(({ status }) => status !== 202);
    expect(taken.length).toBeGreaterThan(MOST);
    expect(shed.length).toBeGreaterThan(0);
    for (const { status, headers } of shed) {
      expect([429, 503]).toContain(status);
      expect(Number(headers.get('retry-after'))).toBeGreaterThan(0);
    }
    await untilCompleted(taken.map(({ body }) => String(body['orderId'])));
    expect(mostMemory).toBeLessThan(MOST_MEMORY_BYTES);
  });

  it('leaves every service answering, and nothing behind', async () => {
    await fleet.run('config', 'unset', 'gateway', 'httpMaxInFlight', '--data', fleet.dataDir);
    const { instances } = await fleet.status();
    expect(instances.map(({ name }) => name).sort()).toEqual(SERVICES);
    for (const { name, ready, restarts } of instances)
      expect({ name, ready, restarts }).toEqual({ name, ready: true, restarts: 0 });
    await expectBoundedMemory();
    const verified = await fleet.run('verify', '--data', fleet.dataDir);
    expect(verified).toMatchObject({ code: 0 });
  });
});
