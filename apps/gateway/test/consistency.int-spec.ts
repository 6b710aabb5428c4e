import { CancelOrder, DecideReview, PlaceOrder } from '@flotilla/contracts-orders';
import { GetOrder, ListOrders } from '@flotilla/contracts-tracking';
import { newId } from '@flotilla/kernel';
import { anOrder, aProblem, GatewayUnderTest } from './gateway-under-test.ts';

let gateway: GatewayUnderTest;
let customer: string;
beforeAll(async () => {
  gateway = await GatewayUnderTest.start();
  customer = await gateway.token('c-1');
  await gateway.fakes.answer(PlaceOrder, ({ orderId }) => ({
    orderId,
    status: 'pending' as const,
    version: 1,
  }));
  await gateway.fakes.answer(CancelOrder, ({ orderId }) => ({
    orderId,
    status: 'pending' as const,
    version: 3,
  }));
  await gateway.fakes.answer(DecideReview, ({ orderId, decision }) => ({ orderId, decision, version: 4 }));
  await gateway.fakes.answer(ListOrders, () => ({ orders: [] }));
});
afterAll(() => gateway.stop());

const TOKEN = 'flotilla-consistency-token';
const place = (headers: Record<string, string> = {}) =>
  gateway.call<{ orderId: string }>('POST', '/v1/orders', { token: customer, body: anOrder(), headers });
const list = (atLeast: string) =>
  gateway.call('GET', '/v1/orders', { token: customer, headers: { 'flotilla-at-least': atLeast } });
const asked = () => gateway.fakes.calls(ListOrders).at(-1)?.payload.atLeast;

describe('a write', () => {
  it('is answered with a token that a read can ask for', async () => {
    const { body, headers } = await place();
    expect((await list(headers.get(TOKEN) ?? '')).status).toBe(200);
    expect(asked()).toEqual([{ orderId: body.orderId, version: 1 }]);
  });

  it('is answered with the same token when it is repeated', async () => {
    const key = { 'idempotency-key': newId() };
    const first = await place(key);
    const second = await place(key);
    expect(second.headers.get('idempotency-replayed')).toBe('true');
    expect(second.headers.get(TOKEN)).toBe(first.headers.get(TOKEN));
  });

  it('has one also when it cancels or decides', async () => {
    const orderId = newId();
    const operator = await gateway.operator();
    const cancelled = await gateway.call('POST', `/v1/orders/${orderId}/cancel`, { token: operator });
    const body = { decision: 'approve' };
    const reviewed = await gateway.call('POST', `/v1/orders/${orderId}/review`, { token: operator, body });
    await list(`${cancelled.headers.get(TOKEN)}, ${reviewed.headers.get(TOKEN)}`);
    expect(asked()).toEqual([
      { orderId, version: 3 },
      { orderId, version: 4 },
    ]);
  });
});

describe('a read', () => {
  it('without a token asks for nothing', async () => {
    await gateway.call('GET', '/v1/orders', { token: customer });
    expect(asked()).toBeUndefined();
  });

  it('of one order passes the token on, and says when the view is behind', async () => {
    const { body, headers } = await place();
    await gateway.fakes.answer(GetOrder, () => {
      throw GetOrder.failure('NotCaughtUp', { waitedMs: 2_000 });
    });
    const answer = await gateway.call('GET', `/v1/orders/${body.orderId}`, {
      token: customer,
      headers: { 'flotilla-at-least': headers.get(TOKEN) ?? '' },
    });
    expect([answer.status, answer.body]).toEqual([503, aProblem(503, 'not-caught-up')]);
    expect(answer.headers.get('retry-after')).toBe('1');
    expect(gateway.fakes.calls(GetOrder).at(-1)?.payload.atLeast).toEqual([
      { orderId: body.orderId, version: 1 },
    ]);
  });

  it.each([
    ['nonsense'],
    [Buffer.from('order x 1').toString('base64url')],
    [Buffer.from(`order ${newId()} 0`).toString('base64url')],
    [Buffer.from(`order ${newId()} 1 2`).toString('base64url')],
    [Array.from({ length: 11 }, () => Buffer.from(`order ${newId()} 1`).toString('base64url')).join()],
  ])('with the token %s is refused', async (token) => {
    expect((await list(token)).body).toEqual(aProblem(400, 'invalid-request'));
  });
});
