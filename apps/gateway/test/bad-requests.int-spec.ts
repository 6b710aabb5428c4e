import { PlaceOrder } from '@flotilla/contracts-orders';
import { anOrder, aProblem, GatewayUnderTest } from './gateway-under-test.ts';

let gateway: GatewayUnderTest;
let token: string;
beforeAll(async () => {
  gateway = await GatewayUnderTest.start();
  token = await gateway.operator();
});
afterAll(() => gateway.stop());

const json = { 'content-type': 'application/json' };
const place = (call: object) =>
  gateway.call<{ errors?: { path: string; message: string }[] }>('POST', '/v1/orders', { token, ...call });
const line = (more: object = {}) => ({ sku: 'LAMP', quantity: 1, ...more });

describe('a request that cannot be read', () => {
  it.each([
    ['malformed JSON', { raw: '{"lines": [', headers: json }, 400, 'malformed-json'],
    ['an empty body', { raw: '', headers: json }, 400, 'malformed-json'],
    ['a poisoned prototype', { raw: '{"__proto__": {"admin": true}}', headers: json }, 400, 'malformed-json'],
    ['a huge body', { raw: `"${'x'.repeat(1_100_000)}"`, headers: json }, 413, 'body-too-large'],
    [
      'a form',
      { raw: 'lines=1', headers: { 'content-type': 'application/x-www-form-urlencoded' } },
      415,
      'unsupported-media-type',
    ],
    ['text', { raw: '{}', headers: { 'content-type': 'text/plain' } }, 415, 'unsupported-media-type'],
    [
      'XML',
      { raw: '<order/>', headers: { 'content-type': 'application/xml' } },
      415,
      'unsupported-media-type',
    ],
    ['no media type', { raw: '{}', headers: { 'content-type': '' } }, 415, 'unsupported-media-type'],
  ])('%s is a problem', async (_what, call, status, code) => {
    const answer = await place(call);
    expect([answer.status, answer.body]).toEqual([status, aProblem(status, code)]);
    expect(answer.headers.get('content-type')).toMatch(/^application\/problem\+json/);
    expect(answer.headers.get('x-correlation-id')).toBe(
      (answer.body as { correlationId?: string }).correlationId,
    );
  });

  it.each([
    ['GET', '/v1/nothing', 404, 'no-such-route'],
    ['DELETE', '/v1/orders', 404, 'no-such-route'],
    ['GET', '/docs/nothing.js', 404, 'no-such-route'],
    ['GET', `/v1/products/${'x'.repeat(65)}`, 400, 'invalid-request'],
  ])('%s %s is a problem', async (method, path, status, code) => {
    const answer = await gateway.call(method, path);
    expect([answer.status, answer.body]).toEqual([status, aProblem(status, code)]);
    expect(answer.headers.get('content-type')).toMatch(/^application\/problem\+json/);
    expect(answer.headers.get('x-correlation-id')).toMatch(/.+/);
  });
});

describe('an address that the HTTP server cannot route', () => {
  it.each([
    ['a broken escape', '%zz', 400, 'malformed-address'],
    ['bytes that are no UTF-8', '%c3%28', 400, 'malformed-address'],
    ['a very long name', 'x'.repeat(600), 414, 'address-too-long'],
  ])('(%s) is refused as a problem', async (_what, name, status, code) => {
    const answer = await gateway.call<{ type: string; correlationId: string }>('GET', `/v1/products/${name}`);
    expect([answer.status, answer.body.type]).toEqual([status, `urn:flotilla:problem:${code}`]);
    expect(answer.headers.get('content-type')).toMatch(/^application\/problem\+json/);
    expect(answer.headers.get('x-correlation-id')).toBe(answer.body.correlationId);
    expect(answer.text).not.toMatch(/stack|node_modules|\.ts|FST_/);
  });
});

describe('a body that is not as it must be', () => {
  it('names every field that is wrong', async () => {
    const body = {
      customerId: 7,
      email: 'nobody',
      lines: [line({ quantity: '3', colour: 'red' }), { sku: '' }],
      payment: { token: 'tok_ok', cvc: '123' },
      shipTo: { name: 'Ada' },
      coupon: 'FREE',
    };
    const answer = await place({ body });
    expect(answer.status).toBe(400);
    const problems = answer.body.errors ?? [];
    expect(problems.map(({ path }) => path).sort()).toEqual(
      [
        '',
        'customerId',
        'email',
        'lines.0',
        'lines.0.quantity',
        'lines.1.quantity',
        'lines.1.sku',
        'payment',
        'shipTo.country',
      ].sort(),
    );
    for (const unknown of ['coupon', 'colour', 'cvc']) expect(answer.text).toContain(unknown);
    expect(answer.text).not.toMatch(/PlaceOrder|contracts|orders\.v1/);
  });

  it.each([
    ['null', null, ''],
    ['a list', [], ''],
    ['no lines', anOrder({ lines: [] }), 'lines'],
    ['more than 1,000 lines', anOrder({ lines: Array.from({ length: 1_001 }, () => line()) }), 'lines'],
    ['quantity 0', anOrder({ lines: [line({ quantity: 0 })] }), 'lines.0.quantity'],
    ['a negative quantity', anOrder({ lines: [line({ quantity: -1 })] }), 'lines.0.quantity'],
    ['half a piece', anOrder({ lines: [line({ quantity: 0.5 })] }), 'lines.0.quantity'],
    ['quantity 1e12', anOrder({ lines: [line({ quantity: 1e12 })] }), 'lines.0.quantity'],
    ['quantity 1e400', anOrder({ lines: [line({ quantity: 'HUGE' })] }), 'lines.0.quantity'],
    [
      'a negative agreed price',
      anOrder({ lines: [line({ unitPrice: { amount: '-1', currency: 'GBP' } })] }),
      'lines.0.unitPrice.amount',
    ],
    [
      'agreed prices in two currencies',
      anOrder({
        lines: ['GBP', 'EUR'].map((currency) => line({ unitPrice: { amount: '1', currency } })),
      }),
      'lines',
    ],
  ])('%s is refused', async (_what, body, path) => {
    const raw = JSON.stringify(body).replace('"HUGE"', '1e400');
    const answer = await place({ raw, headers: json });
    expect(answer.status).toBe(400);
    expect(answer.body.errors?.map((each) => each.path)).toEqual([path]);
  });

  it.each([
    ['NUL', '\\u0000'],
    ['half of a surrogate pair', '\\ud800'],
  ])('with %s, which no database keeps, is refused wherever it stands', async (_what, escape) => {
    const wrong = {
      lines: [line({ sku: 'LAMP?' })],
      reference: 'a?b',
      shipTo: { name: '?', country: 'France' },
    };
    const raw = JSON.stringify(anOrder(wrong)).replaceAll('?', escape);
    const { status, body } = await place({ raw, headers: json });
    expect(status).toBe(400);
    expect(body.errors?.map(({ path }) => path).sort()).toEqual(['lines.0.sku', 'reference', 'shipTo.name']);
    const sku = await gateway.call('GET', '/v1/products/LAMP%00');
    expect([sku.status, sku.body]).toEqual([400, aProblem(400, 'invalid-request')]);
    expect((await gateway.call('GET', '/v1/products?cursor=%00')).status).toBe(400);
  });

  it('of 1,000 lines is taken', async () => {
    const lines = Array.from({ length: 1_000 }, () => line({ quantity: 1_000_000 }));
    expect((await place({ body: anOrder({ lines }) })).status).toBe(202);
    expect(gateway.fakes.calls(PlaceOrder)).toHaveLength(1);
  });
});

describe('every answer', () => {
  it('carries the correlation id that the caller gave, or a new one', async () => {
    const given = await gateway.call('GET', '/v1/nothing', { headers: { 'x-correlation-id': 'my-trace:1' } });
    expect(given.headers.get('x-correlation-id')).toBe('my-trace:1');
    expect(given.body).toMatchObject({ correlationId: 'my-trace:1', instance: '/v1/nothing' });
    const placed = await place({ body: anOrder(), headers: { 'x-correlation-id': 'my-trace:2' } });
    expect(placed.headers.get('x-correlation-id')).toBe('my-trace:2');
    expect(gateway.fakes.calls(PlaceOrder).at(-1)?.envelope.correlationId).toBe('my-trace:2');
    const bad = await gateway.call('GET', '/v1/products', { headers: { 'x-correlation-id': 'a b' } });
    expect(bad.headers.get('x-correlation-id')).toMatch(/^[\w-]{20,}$/);
  });

  it('is not stored or sniffed', async () => {
    const { headers } = await gateway.call('GET', '/v1/products');
    expect(headers.get('cache-control')).toBe('no-store');
    expect(headers.get('x-content-type-options')).toBe('nosniff');
    expect(headers.get('x-powered-by')).toBeNull();
  });
});
