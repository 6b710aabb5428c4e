import { jest } from '@jest/globals';
import { GetProduct, ListProducts } from '@flotilla/contracts-catalog';
import { GetStock } from '@flotilla/contracts-inventory';
import { CancelOrder, FindOrder, PlaceOrder } from '@flotilla/contracts-orders';
import { GetOrder } from '@flotilla/contracts-tracking';
import { FlotillaError } from '@flotilla/kernel';
import { anOrder, aProblem, GatewayUnderTest } from './gateway-under-test.ts';

const DEADLINE_MS = 400;

let gateway: GatewayUnderTest;
let token: string;
beforeAll(async () => {
  gateway = await GatewayUnderTest.start({ REQUEST_DEADLINE_MS: String(DEADLINE_MS) });
  token = await gateway.operator();
});
afterAll(() => gateway.stop());
afterEach(async () => {
  jest.restoreAllMocks();
  await gateway.fleet.start();
});

const never = (): Promise<never> => new Promise(() => undefined);
const unavailable = aProblem(503, 'service-unavailable');

describe('a service behind the gateway', () => {
  it('that is down is 503 at once, with a time to try again', async () => {
    await gateway.fakes.withdraw(PlaceOrder);
    const { status, headers, body } = await gateway.call('POST', '/v1/orders', { token, body: anOrder() });
    expect([status, headers.get('retry-after'), body]).toEqual([503, '1', unavailable]);
  });

  it('that does not answer is 503 within the deadline', async () => {
    await gateway.fakes.answer(PlaceOrder, never);
    const startedAt = performance.now();
    const { status, headers, body } = await gateway.call('POST', '/v1/orders', { token, body: anOrder() });
    expect([status, headers.get('retry-after'), body]).toEqual([503, '1', unavailable]);
    expect(performance.now() - startedAt).toBeLessThan(DEADLINE_MS + 500);
    // The service is told, so that it need not do what nobody waits for.
    const { deadline = 0 } = gateway.fakes.calls(PlaceOrder).at(-1)?.envelope ?? {};
    expect(deadline - Date.now()).toBeLessThan(DEADLINE_MS);
  });

  it('that is slow several times shares one deadline', async () => {
    const orderId = gateway.fleet.add('c-1');
    await gateway.fakes.answer(FindOrder, async () => {
      await new Promise((resolve) => setTimeout(resolve, DEADLINE_MS * 0.7));
      return {
        orderId,
        customerId: 'c-1',
        status: 'pending' as const,
        total: { amountMinor: 1, currency: 'GBP' },
        version: 1,
      };
    });
    await gateway.fakes.answer(CancelOrder, never);
    const startedAt = performance.now();
    const cancel = await gateway.call('POST', `/v1/orders/${orderId}/cancel`, {
      token: await gateway.token(),
    });
    expect(cancel.body).toEqual(unavailable);
    expect(performance.now() - startedAt).toBeLessThan(DEADLINE_MS + 500);
  });

  it.each(['OVERLOADED', 'DEADLINE_EXCEEDED', 'DATABASE_UNAVAILABLE'])(
    'that answers %s is 503',
    async (code) => {
      await gateway.fakes.answer(ListProducts, () => {
        throw new FlotillaError(code, 'at table products', {
          retry: code === 'DEADLINE_EXCEEDED' ? 'never' : 'later',
        });
      });
      const { headers, body, text } = await gateway.call('GET', '/v1/products');
      expect([headers.get('retry-after'), body]).toEqual(['1', unavailable]);
      expect(text).not.toContain('table');
    },
  );

  it('that breaks is 502, and keeps its secrets', async () => {
    await gateway.fakes.answer(GetStock, () => {
      throw new FlotillaError('BROKEN', 'SELECT * FROM stock at postgres://u:secret@db', { retry: 'never' });
    });
    const { status, body, text } = await gateway.call('GET', '/v1/stock/LAMP', { token });
    expect([status, body]).toEqual([502, aProblem(502, 'service-failed')]);
    expect(text).not.toMatch(/SELECT|secret|BROKEN|inventory|at .*\.ts/);
  });

  it('that answers something else than its contract is 502', async () => {
    await gateway.fakes.answer(GetProduct, () => ({ sku: 7 }) as never);
    const { body, text } = await gateway.call('GET', '/v1/products/LAMP');
    expect(body).toEqual(aProblem(502, 'service-failed'));
    expect(text).not.toContain('catalog');
  });

  it('whose copy never shows an order that was placed makes the caller come again', async () => {
    const orderId = gateway.fleet.add('c-1');
    await gateway.fakes.answer(GetOrder, () => {
      throw GetOrder.failure('OrderNotFound', { orderId });
    });
    const { status, headers } = await gateway.call('GET', `/v1/orders/${orderId}`, { token });
    expect([status, headers.get('retry-after')]).toEqual([503, '1']);
  });
});

describe('a mistake in the gateway itself', () => {
  it('is 500 without its message or its stack', async () => {
    const { href } = new URL('/v1/products/LAMP', gateway.service.url);
    // The first thing that is written as JSON is the query to the catalogue.
    jest.spyOn(JSON, 'stringify').mockImplementationOnce(() => {
      throw new TypeError('secret detail');
    });
    const response = await fetch(href);
    const text = await response.text();
    expect([response.status, JSON.parse(text)]).toEqual([500, aProblem(500, 'internal-error')]);
    expect(text).not.toMatch(/secret|TypeError|node_modules|\.ts/);
  });
});
