import { GetProduct, ListProducts } from '@flotilla/contracts-catalog';
import { ListOrders } from '@flotilla/contracts-tracking';
import { FlotillaError } from '@flotilla/kernel';
import { until } from '@flotilla/testing';
import { aProblem, GatewayUnderTest } from './gateway-under-test.ts';

let gateway: GatewayUnderTest;
beforeAll(async () => {
  gateway = await GatewayUnderTest.start({
    CALL_POLICIES: 'tracking.breakerCalls=4,tracking.breakerRestMs=20000,catalog.breakerRestMs=100',
  });
});
afterAll(() => gateway.stop());

const overloaded = (): never => {
  throw new FlotillaError('OVERLOADED', 'too much');
};

describe('the catalogue when it is away', () => {
  it('is shown as it was, and the answer says so', async () => {
    const fresh = await gateway.call('GET', '/v1/products/LAMP');
    const freshList = await gateway.call('GET', '/v1/products');
    expect([fresh.status, fresh.headers.get('warning')]).toEqual([200, null]);
    await gateway.fakes.withdraw(GetProduct);
    await gateway.fakes.withdraw(ListProducts);
    const stale = await gateway.call('GET', '/v1/products/LAMP');
    expect([stale.status, stale.headers.get('warning'), stale.body]).toEqual([
      200,
      '110 - "Response is Stale"',
      fresh.body,
    ]);
    const staleList = await gateway.call('GET', '/v1/products');
    expect([staleList.headers.get('warning'), staleList.body]).toEqual([
      '110 - "Response is Stale"',
      freshList.body,
    ]);
    const unseen = await gateway.call('GET', '/v1/products/POST');
    expect([unseen.status, unseen.body]).toEqual([503, aProblem(503, 'service-unavailable')]);

    // Hanging is as bad as being away.
    await gateway.fakes.answer(GetProduct, () => new Promise<never>(() => undefined));
    const hanging = await gateway.call('GET', '/v1/products/LAMP');
    expect([hanging.headers.get('warning'), hanging.body]).toEqual(['110 - "Response is Stale"', fresh.body]);

    await gateway.fleet.start();
    await until(
      async () => (await gateway.call('GET', '/v1/products/LAMP')).headers.get('warning') === null,
      {
        describe: 'the catalogue answers again',
      },
    );
  });
});

describe('a service that is overloaded', () => {
  it('is left alone, and callers are told for how long', async () => {
    await gateway.fakes.answer(ListOrders, overloaded);
    const token = await gateway.operator();
    const list = () => gateway.call('GET', '/v1/orders', { token });
    await until(async () => Number((await list()).headers.get('retry-after')) > 1, {
      describe: 'the breaker opens',
    });
    const asked = gateway.fakes.calls(ListOrders).length;
    const { status, headers, body } = await list();
    expect([status, body]).toEqual([503, aProblem(503, 'service-unavailable')]);
    expect(Number(headers.get('retry-after'))).toBeGreaterThan(10);
    expect(gateway.fakes.calls(ListOrders)).toHaveLength(asked);
    const health = await gateway.call<{ status: string }>('GET', '/health/ready');
    expect([health.status, health.body.status]).toEqual([200, 'degraded']);
    expect(health.text).toContain('Breakers are open: tracking');
    // The others do not notice.
    expect((await gateway.call('GET', '/v1/products/LAMP')).status).toBe(200);
  });
});
