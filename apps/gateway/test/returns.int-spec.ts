import { RequestReturn } from '@flotilla/contracts-orders';
import { newId } from '@flotilla/kernel';
import { aProblem, GatewayUnderTest } from './gateway-under-test.ts';

interface Accepted {
  readonly orderId: string;
  readonly returnId: string;
  readonly status: string;
}

let gateway: GatewayUnderTest;
let customer: string;
let operator: string;
let orderId: string;
beforeAll(async () => {
  gateway = await GatewayUnderTest.start();
  customer = await gateway.token('c-1');
  operator = await gateway.operator();
});
afterAll(() => gateway.stop());
beforeEach(() => {
  orderId = gateway.fleet.add('c-1', ['pending', 'confirmed', 'shipped', 'completed']);
});

const body = { lines: [{ sku: 'LAMP', quantity: 2 }], reason: 'too bright' };
const request = (
  token = customer,
  {
    of = orderId,
    wanted = body,
    headers = {},
  }: { of?: string; wanted?: object; headers?: Record<string, string> } = {},
) => gateway.call<Accepted>('POST', `/v1/orders/${of}/returns`, { token, body: wanted, headers });
const get = (path: string, token = customer) =>
  gateway.call<Record<string, unknown>>('GET', `/v1/orders/${path}`, { token });

describe('a return', () => {
  it('is accepted with its address, and read there', async () => {
    const { status, headers, body: accepted } = await request();
    expect([status, accepted]).toEqual([
      202,
      { orderId, returnId: expect.any(String) as string, status: 'requested' },
    ]);
    const location = `/v1/orders/${orderId}/returns/${accepted.returnId}`;
    expect(headers.get('location')).toBe(location);
    expect(gateway.fakes.calls(RequestReturn).at(-1)?.payload).toEqual({
      orderId,
      returnId: accepted.returnId,
      lines: [{ sku: 'LAMP', quantity: 2, damaged: false }],
      reason: 'too bright',
    });
    const shown = {
      returnId: accepted.returnId,
      status: 'requested',
      lines: [{ sku: 'LAMP', quantity: 2, damaged: false, unitPrice: { amount: '2.55', currency: 'GBP' } }],
      refund: { amount: '5.10', currency: 'GBP' },
      reason: 'too bright',
      requestedAt: expect.any(String) as string,
      updatedAt: expect.any(String) as string,
    };
    const one = await get(`${orderId}/returns/${accepted.returnId}`);
    expect([one.status, one.body]).toEqual([200, shown]);
    expect((await get(`${orderId}/returns`)).body).toEqual({ returns: [shown] });
  });

  it('twice under one key is one, and with another body is refused', async () => {
    const headers = { 'idempotency-key': 'my-return-1' };
    const first = await request(customer, { headers });
    const second = await request(customer, { headers });
    expect(second.body).toEqual(first.body);
    expect(second.headers.get('idempotency-replayed')).toBe('true');
    const other = await request(customer, {
      headers,
      wanted: { lines: [{ sku: 'LAMP', quantity: 1 }] },
    });
    expect([other.status, other.body]).toEqual([422, aProblem(422, 'idempotency-key-reused')]);
  });

  it('that cannot be is refused with the reason', async () => {
    const pending = gateway.fleet.add('c-1');
    const { status, body: problem } = await request(customer, { of: pending });
    expect([status, problem]).toEqual([409, aProblem(409, 'order-not-returnable')]);
    expect(problem).toMatchObject({
      detail: 'The order is pending',
      data: { reason: 'not_completed', status: 'pending', lines: [] },
    });
  });

  it("of another's order is not found, unless the caller may act for any", async () => {
    const other = await gateway.token('c-2');
    const refused = await request(other);
    expect([refused.status, refused.body]).toEqual([404, aProblem(404, 'order-not-found')]);
    const accepted = await request(operator);
    expect(accepted.status).toBe(202);
    const path = `${orderId}/returns/${accepted.body.returnId}`;
    expect((await get(path, other)).status).toBe(404);
    expect((await get(`${orderId}/returns`, other)).status).toBe(404);
    expect((await get(path, operator)).status).toBe(200);
    expect((await get(path)).status).toBe(200);
  });

  it.each<[string, object]>([
    ['no lines', { lines: [] }],
    ['no piece', { lines: [{ sku: 'LAMP', quantity: 0 }] }],
    ['half a piece', { lines: [{ sku: 'LAMP', quantity: 0.5 }] }],
    ['an unknown field', { ...body, refund: '100.00' }],
  ])('with %s is not valid', async (_, wanted) => {
    const { status, body: problem } = await request(customer, { wanted });
    expect([status, problem]).toEqual([400, aProblem(400, 'invalid-request')]);
  });

  it('that there is not is not found', async () => {
    const { status, body: problem } = await get(`${orderId}/returns/${newId()}`);
    expect([status, problem]).toEqual([404, aProblem(404, 'return-not-found')]);
    expect((await get(`${newId()}/returns`)).status).toBe(404);
  });
});
