import { ReceiveStock } from '@flotilla/contracts-inventory';
import { CancelOrder, DecideReview, PlaceOrder, RequestReturn } from '@flotilla/contracts-orders';
import type { AnyMessageClass } from '@flotilla/contracts-protocol';
import { newId } from '@flotilla/kernel';
import type { Route } from '../src/http/route.ts';
import { routes } from '../src/http/routes.ts';
import { anOrder, aProblem, everyScope, GatewayUnderTest } from './gateway-under-test.ts';

let gateway: GatewayUnderTest;
beforeAll(async () => {
  gateway = await GatewayUnderTest.start();
});
afterAll(() => gateway.stop());

type Keyed = 'placeOrder' | 'cancelOrder' | 'reviewOrder' | 'requestReturn' | 'receiveStock';

interface Repeatable {
  readonly command: AnyMessageClass;
  readonly path: () => string;
  readonly body: object;
  readonly otherBody: object;
}

const completed = ['pending', 'confirmed', 'shipped', 'completed'] as const;

/** Every route that takes a key, with a request to repeat and another one to refuse. */
const repeatable: Readonly<Record<Keyed, Repeatable>> = {
  placeOrder: {
    command: PlaceOrder,
    path: () => '/v1/orders',
    body: anOrder(),
    otherBody: anOrder({ reference: 'other' }),
  },
  cancelOrder: {
    command: CancelOrder,
    path: () => `/v1/orders/${gateway.fleet.add('c-1')}/cancel`,
    body: { reason: 'one' },
    otherBody: { reason: 'other' },
  },
  reviewOrder: {
    command: DecideReview,
    path: () => `/v1/orders/${gateway.fleet.add('c-1', ['pending', 'awaiting_review'])}/review`,
    body: { decision: 'approve' },
    otherBody: { decision: 'reject' },
  },
  requestReturn: {
    command: RequestReturn,
    path: () => `/v1/orders/${gateway.fleet.add('c-1', completed)}/returns`,
    body: { lines: [{ sku: 'LAMP', quantity: 1 }] },
    otherBody: { lines: [{ sku: 'LAMP', quantity: 2 }] },
  },
  receiveStock: {
    command: ReceiveStock,
    path: () => '/v1/stock/LAMP/receipts',
    body: { quantity: 3 },
    otherBody: { quantity: 4 },
  },
};

it('every route that takes an Idempotency-Key is tried', () => {
  const keyed = Object.entries<Route>(routes).filter(([, { idempotencyKey }]) => idempotencyKey === true);
  expect(Object.keys(repeatable).sort()).toEqual(keyed.map(([name]) => name).sort());
  // Whatever is a POST takes one, but for getting a token, which changes nothing.
  const posts = Object.entries<Route>(routes).filter(([, { method }]) => method === 'POST');
  expect(posts.map(([name]) => name).filter((name) => !(name in repeatable))).toEqual(['issueToken']);
});

describe.each(Object.entries(repeatable))('%s', (name, { command, path, body, otherBody }) => {
  const post = async (url: string, key: string, subject = 'c-1', sent: object = body) =>
    gateway.call(routes[name as Keyed].method, url, {
      token: await gateway.token(subject, everyScope),
      headers: { 'idempotency-key': key },
      body: sent,
    });
  const done = () => gateway.fakes.calls(command).length;

  it('fifty times at once under one key is done once and answered alike', async () => {
    const [url, key, before] = [path(), newId(), done()];
    const answers = await Promise.all(Array.from({ length: 50 }, () => post(url, key)));
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([routes[name as Keyed].status]));
    expect(new Set(answers.map(({ text }) => text)).size).toBe(1);
    expect(new Set(answers.map(({ headers }) => headers.get('location'))).size).toBe(1);
    expect(done()).toBe(before + 1);
  });

  it('under the key of another request is refused', async () => {
    const [url, key] = [path(), newId()];
    await post(url, key);
    const before = done();
    const other = await post(url, key, 'c-1', otherBody);
    expect([other.status, other.body]).toEqual([422, aProblem(422, 'idempotency-key-reused')]);
    expect(done()).toBe(before);
  });

  it("under the key that another caller has used is the caller's own request", async () => {
    const [url, key, before] = [path(), newId(), done()];
    await post(url, key, 'c-1');
    expect((await post(url, key, 'c-2')).headers.get('idempotency-replayed')).toBeNull();
    expect((await post(url, key, 'c-2', otherBody)).status).toBe(422);
    expect(done()).toBe(before + 2);
  });

  it('without a key, or with one that cannot be, says what to send', async () => {
    const [url, before] = [path(), done()];
    const missing = await gateway.call('POST', url, {
      token: await gateway.operator(),
      body,
      headers: { 'idempotency-key': '' },
    });
    expect([missing.status, missing.body]).toEqual([400, aProblem(400, 'idempotency-key-invalid')]);
    expect((await post(url, 'x'.repeat(201))).status).toBe(400);
    expect((await post(url, 'a b')).status).toBe(400);
    expect(done()).toBe(before);
  });
});

describe('one address that is written in several ways', () => {
  const post = async (url: string, key: string, body?: object) =>
    gateway.call('POST', url, {
      token: await gateway.operator(),
      headers: { 'idempotency-key': key },
      ...(body && { body }),
    });

  it('is one request under one key: escaped, in capitals, with a query', async () => {
    const key = newId();
    const received = gateway.fakes.calls(ReceiveStock).length;
    for (const sku of ['LAMP', 'L%41MP', '%4c%41%4D%50'])
      expect((await post(`/v1/stock/${sku}/receipts`, key, { quantity: 1 })).status).toBe(201);
    expect((await post('/v1/stock/LAMP/receipts?again=1', key, { quantity: 1 })).status).toBe(201);
    expect(gateway.fakes.calls(ReceiveStock)).toHaveLength(received + 1);

    const cancelled = gateway.fakes.calls(CancelOrder).length;
    const orderId = gateway.fleet.add('c-1');
    for (const id of [orderId, orderId.toUpperCase()])
      expect((await post(`/v1/orders/${id}/cancel`, key)).status).toBe(202);
    expect(gateway.fakes.calls(CancelOrder)).toHaveLength(cancelled + 1);
  });
});
