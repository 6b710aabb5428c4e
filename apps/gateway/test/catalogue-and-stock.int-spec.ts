import { DefineProduct, GetProduct, ListProducts } from '@flotilla/contracts-catalog';
import { GetStock, ReceiveStock } from '@flotilla/contracts-inventory';
import { aProblem, GatewayUnderTest } from './gateway-under-test.ts';

let gateway: GatewayUnderTest;
let operator: string;
beforeAll(async () => {
  gateway = await GatewayUnderTest.start();
  operator = await gateway.operator();
});
afterAll(() => gateway.stop());

const price = (amount: string, currency = 'GBP') => ({ amount, currency });

describe('the catalogue', () => {
  it('is public', async () => {
    const { status, body } = await gateway.call('GET', '/v1/products?limit=1');
    expect([status, body]).toEqual([
      200,
      {
        products: [{ sku: 'LAMP', name: 'The LAMP', kind: 'stocked', price: price('2.55'), version: 1 }],
        nextCursor: 'next',
      },
    ]);
    await gateway.call('GET', '/v1/products?cursor=LAMP');
    expect(gateway.fakes.calls(ListProducts).at(-1)?.payload).toEqual({ cursor: 'LAMP', limit: 50 });
    const one = await gateway.call('GET', '/v1/products/POST');
    expect(one.body).toEqual({
      sku: 'POST',
      name: 'The POST',
      kind: 'charge',
      price: price('18.00'),
      version: 1,
    });
  });

  it('does not have every product', async () => {
    const { status, body } = await gateway.call('GET', '/v1/products/NOPE');
    expect([status, body]).toEqual([404, aProblem(404, 'product-not-found', { data: { sku: 'NOPE' } })]);
  });

  it('takes a product whose SKU needs escapes, in a currency without decimals', async () => {
    const body = { name: 'A/B test', kind: 'stocked', price: price('1500', 'JPY') };
    const path = `/v1/products/${encodeURIComponent('A/B 50%')}`;
    const defined = await gateway.call('PUT', path, { token: operator, body });
    expect([defined.status, defined.body]).toEqual([200, { sku: 'A/B 50%', version: 1, created: true }]);
    expect(gateway.fakes.calls(DefineProduct).at(-1)?.payload.price).toEqual({
      amountMinor: 1_500,
      currency: 'JPY',
    });
    expect((await gateway.call('PUT', path, { token: operator, body })).body).toMatchObject({
      version: 2,
      created: false,
    });
    expect((await gateway.call('GET', path)).body).toMatchObject({
      sku: 'A/B 50%',
      price: price('1500', 'JPY'),
    });
  });

  it.each([
    [price('12.505'), 'price.amount'],
    [price('-1.00'), 'price.amount'],
    [price('99999999999999'), 'price.amount'],
    [{ amount: 12.5, currency: 'GBP' }, 'price.amount'],
    [price('1.00', 'pounds'), 'price.currency'],
  ])('refuses the price %j', async (wrong, path) => {
    const body = { name: 'Lamp', kind: 'stocked', price: wrong };
    const answer = await gateway.call('PUT', '/v1/products/LAMP', { token: operator, body });
    expect([answer.status, answer.body]).toEqual([
      400,
      aProblem(400, 'invalid-request', { errors: [{ path, message: expect.any(String) as string }] }),
    ]);
  });

  it('keeps the kind of a product', async () => {
    const body = { name: 'Lamp', kind: 'charge', price: price('1.00') };
    const answer = await gateway.call('PUT', '/v1/products/LAMP', { token: operator, body });
    expect(answer.body).toEqual(
      aProblem(409, 'product-kind-is-fixed', { data: { sku: 'LAMP', kind: 'stocked' } }),
    );
  });
});

describe('stock', () => {
  it('is shown', async () => {
    const { status, body } = await gateway.call('GET', '/v1/stock/LAMP', { token: operator });
    expect([status, body]).toEqual([
      200,
      { sku: 'LAMP', onHand: 10, reserved: 0, shipped: 0, received: 10, restocked: 0 },
    ]);
    expect((await gateway.call('GET', '/v1/stock/NOPE', { token: operator })).body).toEqual(
      aProblem(404, 'sku-not-found', { data: { sku: 'NOPE' } }),
    );
    expect(gateway.fakes.calls(GetStock).at(-1)?.payload).toEqual({ sku: 'NOPE' });
  });

  it('is booked once per key', async () => {
    const call = { token: operator, body: { quantity: 7 }, headers: { 'idempotency-key': 'delivery-1' } };
    const first = await gateway.call('POST', '/v1/stock/LAMP/receipts', call);
    expect([first.status, first.body]).toMatchObject([201, { sku: 'LAMP', onHand: 7 }]);
    const second = await gateway.call('POST', '/v1/stock/LAMP/receipts', call);
    expect([second.status, second.body]).toEqual([201, first.body]);
    expect(second.headers.get('idempotency-replayed')).toBe('true');
    expect(gateway.fakes.calls(ReceiveStock)).toHaveLength(1);
    const other = await gateway.call('POST', '/v1/stock/LAMP/receipts', { ...call, body: { quantity: 8 } });
    expect(other.body).toEqual(aProblem(422, 'idempotency-key-reused'));
    // The key stands for a request to this address: for another SKU it is another one.
    const elsewhere = await gateway.call('POST', '/v1/stock/LAMP2/receipts', call);
    expect([elsewhere.status, elsewhere.headers.get('idempotency-replayed')]).toEqual([201, null]);
  });

  it('is not kept for a charge', async () => {
    const call = { token: operator, body: { quantity: 1 } };
    expect((await gateway.call('POST', '/v1/stock/POST/receipts', call)).body).toEqual(
      aProblem(422, 'product-not-stocked', { data: { sku: 'POST' } }),
    );
  });
});

it('a refusal that the gateway does not know yet is still a refusal', async () => {
  await gateway.fakes.answer(GetProduct, () => {
    const refusal = GetProduct.failure('ProductNotFound', { sku: 'LAMP' });
    throw Object.assign(refusal, { code: 'Embargoed' });
  });
  expect((await gateway.call('GET', '/v1/products/LAMP')).body).toEqual(
    aProblem(422, 'refused', { data: { sku: 'LAMP' } }),
  );
});
