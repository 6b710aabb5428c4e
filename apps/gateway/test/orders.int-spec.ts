import { GetProducts } from '@flotilla/contracts-catalog';
import { CancelOrder, DecideReview, PlaceOrder } from '@flotilla/contracts-orders';
import { GetOrder, ListOrders } from '@flotilla/contracts-tracking';
import { newId } from '@flotilla/kernel';
import { until } from '@flotilla/testing';
import { anOrder, aProblem, GatewayUnderTest } from './gateway-under-test.ts';

interface Accepted {
  readonly orderId: string;
  readonly status: string;
}

let gateway: GatewayUnderTest;
let customer: string;
let operator: string;
beforeAll(async () => {
  gateway = await GatewayUnderTest.start();
  customer = await gateway.token('c-1');
  operator = await gateway.operator();
});
afterAll(() => gateway.stop());

const place = (body: object, headers: Record<string, string> = {}, token = customer) =>
  gateway.call<Accepted>('POST', '/v1/orders', { token, body, headers });

describe('placing an order', () => {
  it('is accepted with its address', async () => {
    const { status, headers, body } = await place(anOrder({ reference: 'INV-1', email: 'ada@example.org' }));
    expect([status, body]).toEqual([202, { orderId: expect.any(String) as string, status: 'pending' }]);
    expect(headers.get('location')).toBe(`/v1/orders/${body.orderId}`);
    expect(headers.get('idempotency-replayed')).toBeNull();
    expect(gateway.fakes.calls(PlaceOrder).at(-1)?.payload).toEqual({
      orderId: body.orderId,
      customerId: 'c-1',
      email: 'ada@example.org',
      reference: 'INV-1',
      lines: [
        { sku: 'LAMP', quantity: 6 },
        { sku: 'POST', quantity: 1 },
      ],
      paymentToken: 'tok_ok',
      shipTo: { name: 'Ada', country: 'United Kingdom' },
    });
  });

  it('twice under one key is one order, and the second answer says so', async () => {
    const key = { 'idempotency-key': 'my-order-1' };
    const first = await place(anOrder(), key);
    const second = await place(anOrder(), key);
    expect([second.status, second.body]).toEqual([202, first.body]);
    expect(second.headers.get('idempotency-replayed')).toBe('true');
    expect(second.headers.get('location')).toBe(first.headers.get('location'));
  });

  it('with another body under a used key is refused', async () => {
    const key = { 'idempotency-key': 'my-order-2' };
    await place(anOrder(), key);
    const { status, body } = await place(anOrder({ reference: 'other' }), key);
    expect([status, body]).toEqual([422, aProblem(422, 'idempotency-key-reused')]);
  });

  it("under another caller's key is an order of its own", async () => {
    const key = { 'idempotency-key': 'my-order-3' };
    const first = await place(anOrder(), key);
    const other = await place(anOrder(), key, await gateway.token('c-2'));
    expect(other.status).toBe(202);
    expect(other.body.orderId).not.toBe(first.body.orderId);
  });

  it('needs a key that can be one', async () => {
    const call = { token: customer, body: anOrder(), headers: { 'idempotency-key': '' } };
    expect((await gateway.call('POST', '/v1/orders', call)).body).toEqual(
      aProblem(400, 'idempotency-key-invalid'),
    );
    const without = await fetch(`${gateway.service.url}/v1/orders`, {
      method: 'POST',
      headers: { authorization: `Bearer ${customer}`, 'content-type': 'application/json' },
      body: JSON.stringify(anOrder()),
    });
    expect([without.status, await without.json()]).toEqual([400, aProblem(400, 'idempotency-key-missing')]);
  });

  it('with unknown products is refused, naming them, and again when repeated', async () => {
    const lines = [
      { sku: 'LAMP', quantity: 1 },
      { sku: 'NOPE', quantity: 1 },
      { sku: 'NADA', quantity: 1 },
    ];
    const key = { 'idempotency-key': newId() };
    const refusal = aProblem(422, 'unknown-product', { data: { skus: ['NOPE', 'NADA'] } });
    const asked = gateway.fakes.calls(PlaceOrder).length;
    for (let repetition = 0; repetition < 10; repetition++) {
      expect((await place(anOrder({ lines }), key)).body).toEqual(refusal);
    }
    // However often it is repeated, the orders service decides once: the catalogue has no such products either.
    expect(gateway.fakes.calls(PlaceOrder).length - asked).toBe(1);
    const last = await place(anOrder({ lines }), key);
    expect(last.headers.get('idempotency-replayed')).toBe('true');
  });

  it('for a product that only the catalogue knows yet waits for it, and is repeated alike', async () => {
    const key = { 'idempotency-key': newId() };
    const lines = [{ sku: 'NEW', quantity: 1 }];
    const asked = gateway.fakes.calls(GetProducts).length;
    // The orders service has no such product; the catalogue shows one.
    await gateway.fakes.answer(GetProducts, ({ skus }) => ({
      products: skus.map((sku) => ({
        sku,
        name: sku,
        kind: 'stocked' as const,
        price: { amountMinor: 1, currency: 'GBP' },
        version: 1,
      })),
    }));
    const placing = place(anOrder({ lines }), key);
    await until(() => gateway.fakes.calls(GetProducts).length > asked, {
      describe: 'the catalogue is asked',
    });
    gateway.fleet.define('NEW', 100);
    const placed = await placing;
    expect(placed.status).toBe(202);
    const repeated = await place(anOrder({ lines }), key);
    expect([repeated.status, repeated.body]).toEqual([202, placed.body]);
    expect(repeated.headers.get('idempotency-replayed')).toBe('true');
    await gateway.fleet.start();
  });

  it('for a product that the orders service does not hear of is put off, and taken under the same key later', async () => {
    const key = { 'idempotency-key': newId() };
    const lines = [{ sku: 'LATE', quantity: 1 }];
    await gateway.fakes.answer(GetProducts, ({ skus }) => ({
      products: skus.map((sku) => ({
        sku,
        name: sku,
        kind: 'stocked' as const,
        price: { amountMinor: 1, currency: 'GBP' },
        version: 1,
      })),
    }));
    const putOff = await place(anOrder({ lines }), key);
    expect([putOff.status, putOff.headers.get('retry-after'), putOff.body]).toEqual([
      503,
      '1',
      aProblem(503, 'products-not-known-yet'),
    ]);
    gateway.fleet.define('LATE', 100);
    const taken = await place(anOrder({ lines }), key);
    expect(taken.status).toBe(202);
    expect((await place(anOrder({ lines }), key)).body).toEqual(taken.body);
    await gateway.fleet.start();
  });

  it('goes on without the catalogue, which then denies nothing', async () => {
    await gateway.fakes.withdraw(GetProducts);
    const { body } = await place(anOrder({ lines: [{ sku: 'NOPE', quantity: 1 }] }));
    expect(body).toEqual(aProblem(503, 'products-not-known-yet'));
    expect((await place(anOrder())).status).toBe(202);
    await gateway.fleet.start();
  });

  it.each([
    ['MixedCurrencies', { currencies: ['EUR', 'GBP'] }, 422, 'mixed-currencies'],
    ['TotalTooLarge', {}, 422, 'total-too-large'],
    ['OrderExists', { orderId: newId() }, 409, 'order-exists'],
  ] as const)('refused with %s says so', async (refusal, data, status, code) => {
    await gateway.fakes.answer(PlaceOrder, () => {
      throw PlaceOrder.failure(refusal, data as never);
    });
    const answer = await place(anOrder());
    expect([answer.status, answer.body]).toEqual([status, aProblem(status, code, { data })]);
    await gateway.fleet.start();
  });

  it('for another customer, or at agreed prices, needs the scopes for it', async () => {
    const forAnother = anOrder({ customerId: 'c-9' });
    const agreed = anOrder({
      lines: [{ sku: 'LAMP', quantity: 1, unitPrice: { amount: '2.50', currency: 'GBP' } }],
    });
    const refused = await place(forAnother);
    expect(refused.body).toEqual(aProblem(403, 'scope-missing', { data: { scope: 'orders:place-for-any' } }));
    expect((await place(agreed)).body).toEqual(
      aProblem(403, 'scope-missing', { data: { scope: 'orders:agree-price' } }),
    );
    expect((await place(anOrder({ customerId: 'c-1' }))).status).toBe(202);
    expect((await place(forAnother, {}, operator)).status).toBe(202);
    expect(gateway.fakes.calls(PlaceOrder).at(-1)?.payload.customerId).toBe('c-9');
    expect((await place(agreed, {}, operator)).status).toBe(202);
    expect(gateway.fakes.calls(PlaceOrder).at(-1)?.payload.lines).toEqual([
      { sku: 'LAMP', quantity: 1, unitPriceMinor: 250 },
    ]);
  });
});

describe('reading orders', () => {
  it('shows the order with money as it is written', async () => {
    const orderId = gateway.fleet.add('c-1', ['pending', 'confirmed']);
    const { status, body } = await gateway.call('GET', `/v1/orders/${orderId}`, { token: customer });
    expect(status).toBe(200);
    const zero = { amount: '0.00', currency: 'GBP' };
    expect(body).toEqual({
      orderId,
      customerId: 'c-1',
      status: 'confirmed',
      lines: [
        {
          sku: 'LAMP',
          name: 'The LAMP',
          kind: 'stocked',
          quantity: 2,
          unitPrice: { amount: '2.55', currency: 'GBP' },
        },
      ],
      total: { amount: '5.10', currency: 'GBP' },
      shipTo: { name: 'Ada', country: 'United Kingdom' },
      payment: { authorised: zero, captured: zero, refunded: zero },
      placedAt: expect.any(String) as string,
      updatedAt: expect.any(String) as string,
      timeline: [
        { position: 1, at: expect.any(String) as string, event: 'OrderPlaced', status: 'pending' },
        { position: 2, at: expect.any(String) as string, event: 'OrderConfirmed', status: 'confirmed' },
      ],
    });
    const shouted = await gateway.call('GET', `/v1/orders/${orderId.toUpperCase()}`, { token: customer });
    expect(shouted.body).toMatchObject({ orderId });
  });

  it('waits for an order that was placed a moment ago', async () => {
    const orderId = gateway.fleet.add('c-1');
    const asked = gateway.fakes.calls(GetOrder).length;
    await gateway.fakes.answer(GetOrder, () => {
      throw GetOrder.failure('OrderNotFound', { orderId });
    });
    const reading = gateway.call('GET', `/v1/orders/${orderId}`, { token: customer });
    await until(() => gateway.fakes.calls(GetOrder).length > asked + 1, { describe: 'it is asked again' });
    await gateway.fleet.start();
    expect((await reading).body).toMatchObject({ orderId });
  });

  it('of another customer, and one that is not there, are not found in the same words', async () => {
    const theirs = gateway.fleet.add('c-2');
    for (const orderId of [theirs, newId()]) {
      for (const path of ['', '/notifications', '/events']) {
        const answer = await gateway.call('GET', `/v1/orders/${orderId}${path}`, { token: customer });
        expect(answer.body).toEqual(aProblem(404, 'order-not-found', { data: { orderId } }));
      }
      const cancel = await gateway.call('POST', `/v1/orders/${orderId}/cancel`, { token: customer });
      expect(cancel.body).toEqual(aProblem(404, 'order-not-found', { data: { orderId } }));
    }
    expect((await gateway.call('GET', `/v1/orders/${theirs}`, { token: operator })).status).toBe(200);
    expect(gateway.fakes.calls(CancelOrder).some(({ payload }) => payload.orderId === theirs)).toBe(false);
  });

  it('with an id that is none is the caller’s mistake', async () => {
    const { body } = await gateway.call('GET', '/v1/orders/17', { token: customer });
    expect(body).toEqual(
      aProblem(400, 'invalid-request', { errors: [{ path: 'id', message: expect.any(String) as string }] }),
    );
  });

  it('lists own orders by status, a page at a time', async () => {
    const owner = await gateway.token('c-list');
    const orderId = gateway.fleet.add('c-list', ['pending', 'confirmed', 'shipped']);
    gateway.fleet.add('c-list');
    const list = (query: string, token = owner) =>
      gateway.call<{ orders: { orderId: string; customerId: string }[] }>('GET', `/v1/orders${query}`, {
        token,
      });
    const all = (await list('')).body;
    expect(all.orders).toHaveLength(2);
    expect(Object.keys(all.orders[0] ?? {}).sort()).toEqual(
      ['customerId', 'orderId', 'payment', 'placedAt', 'shipTo', 'status', 'total', 'updatedAt'].sort(),
    );
    expect((await list('?status=shipped')).body).toMatchObject({ orders: [{ orderId, status: 'shipped' }] });
    expect((await list('?limit=1')).body).toMatchObject({ orders: [{}], nextCursor: 'next' });
    expect(gateway.fakes.calls(ListOrders).at(-1)?.payload).toEqual({ customerId: 'c-list', limit: 1 });
    expect((await list('?customerId=c-list')).body.orders).toHaveLength(2);
    expect((await list('?customerId=c-2')).body).toEqual({ orders: [] });
    expect((await list('?customerId=c-list', operator)).body.orders).toHaveLength(2);
    const customers = (await list('', operator)).body.orders.map(({ customerId }) => customerId);
    expect(new Set(customers).size).toBeGreaterThan(1);
    expect((await list('?cursor=broken')).body).toEqual(
      aProblem(400, 'invalid-cursor', { data: { cursor: 'broken' } }),
    );
    expect((await list('?limit=0&status=lost&page=2')).body).toMatchObject({
      errors: [{ path: 'status' }, { path: 'limit' }, { message: expect.stringContaining('page') as string }],
    });
  });

  it('shows the messages about an order', async () => {
    const orderId = gateway.fleet.add('c-1');
    const { status, body } = await gateway.call('GET', `/v1/orders/${orderId}/notifications`, {
      token: customer,
    });
    expect([status, body]).toEqual([
      200,
      {
        notifications: [
          {
            notificationId: expect.any(String) as string,
            recipient: 'ada@example.org',
            subject: 'Thank you',
            body: 'We have your order.',
            status: 'sent',
            createdAt: expect.any(String) as string,
            sentAt: expect.any(String) as string,
          },
        ],
      },
    ]);
  });
});

describe('changing an order', () => {
  it('cancels with and without a reason, and says when it is a repetition', async () => {
    const orderId = gateway.fleet.add('c-1');
    const headers = { 'idempotency-key': 'cancel-1' };
    const cancel = (call: object = {}) =>
      gateway.call('POST', `/v1/orders/${orderId}/cancel`, { token: customer, headers, ...call });
    const first = await cancel();
    expect([first.status, first.body]).toEqual([202, { orderId, status: 'pending' }]);
    expect((await cancel()).headers.get('idempotency-replayed')).toBe('true');
    await cancel({ headers: {}, body: { reason: 'changed my mind' } });
    expect(gateway.fakes.calls(CancelOrder).at(-1)?.payload).toEqual({ orderId, reason: 'changed my mind' });
    expect((await cancel({ headers: {}, token: operator })).status).toBe(202);
  });

  it('that has left is a conflict, with the reason', async () => {
    const orderId = gateway.fleet.add('c-1', ['pending', 'confirmed', 'shipped']);
    const headers = { 'idempotency-key': 'cancel-2' };
    const cancel = () => gateway.call('POST', `/v1/orders/${orderId}/cancel`, { token: customer, headers });
    const first = await cancel();
    const problem = aProblem(409, 'order-not-cancellable', {
      data: { status: 'shipped', why: 'it has left' },
    });
    expect([first.status, first.body]).toEqual([409, problem]);
    const second = await cancel();
    expect([second.body, second.headers.get('idempotency-replayed')]).toEqual([problem, 'true']);
  });

  it('decides on one that awaits review, once', async () => {
    const orderId = gateway.fleet.add('c-1', ['pending', 'awaiting_review']);
    const review = (headers = {}) =>
      gateway.call('POST', `/v1/orders/${orderId}/review`, {
        token: operator,
        headers,
        body: { decision: 'approve' },
      });
    const first = await review({ 'idempotency-key': 'review-1' });
    expect([first.status, first.body]).toEqual([202, { orderId, decision: 'approve' }]);
    expect(gateway.fakes.calls(DecideReview).at(-1)?.payload).toMatchObject({ reviewer: 'operator' });
    expect((await review({ 'idempotency-key': 'review-1' })).headers.get('idempotency-replayed')).toBe(
      'true',
    );
    gateway.fleet.becomes(orderId, 'confirmed');
    expect((await review()).body).toEqual(
      aProblem(409, 'order-not-awaiting-review', { data: { status: 'confirmed' } }),
    );
  });
});
