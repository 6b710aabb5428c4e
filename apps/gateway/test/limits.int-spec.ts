import { ConfigBucket } from '@flotilla/messaging';
import { until } from '@flotilla/testing';
import { GatewayConfig } from '../src/gateway.config.ts';
import { anOrder, aProblem, GatewayUnderTest } from './gateway-under-test.ts';

const MAX = 5;

let gateway: GatewayUnderTest;
beforeEach(async () => {
  gateway = await GatewayUnderTest.start({ RATE_LIMIT_MAX: String(MAX), RATE_LIMIT_WINDOW_MS: '60000' });
});
afterEach(() => gateway.stop());

const list = (token?: string) => gateway.call('GET', '/v1/orders', { token });
const repeat = async (times: number, act: () => Promise<{ status: number }>): Promise<number[]> => {
  const statuses: number[] = [];
  for (let n = 0; n < times; n++) statuses.push((await act()).status);
  return statuses;
};

describe('the rate limit', () => {
  it('answers a problem that says when to come back', async () => {
    const token = await gateway.token();
    expect(await repeat(MAX, () => list(token))).toEqual([200, 200, 200, 200, 200]);
    const { status, headers, body } = await list(token);
    expect([status, body]).toEqual([429, aProblem(429, 'rate-limited')]);
    expect(headers.get('content-type')).toMatch(/^application\/problem\+json/);
    expect(Number(headers.get('retry-after'))).toBeGreaterThan(0);
    expect(Number(headers.get('retry-after'))).toBeLessThanOrEqual(60);
    const placing = await gateway.call('POST', '/v1/orders', { token, body: anOrder() });
    expect(placing.status).toBe(429);
  });

  it('counts each caller for themselves', async () => {
    const [one, two] = [await gateway.token('c-1'), await gateway.token('c-2')];
    await repeat(MAX + 1, () => list(one));
    expect((await list(one)).status).toBe(429);
    expect((await list(two)).status).toBe(200);
    // Another token of the same caller is the same caller.
    expect((await list(await gateway.token('c-1', ['orders:read'], 30))).status).toBe(429);
  });

  it('is not escaped with tokens that claim other subjects', async () => {
    const claim = (sub: string) =>
      `${Buffer.from('{"alg":"ES256"}').toString('base64url')}.${Buffer.from(JSON.stringify({ sub })).toString('base64url')}.AAAA`;
    let n = 0;
    expect(await repeat(MAX + 1, () => list(claim(`c-${n++}`)))).toEqual([401, 401, 401, 401, 401, 429]);
  });

  it('counts addresses that are not there, and not the probes', async () => {
    expect(await repeat(MAX + 1, () => gateway.call('GET', '/nothing'))).toEqual([
      404, 404, 404, 404, 404, 429,
    ]);
    expect(new Set(await repeat(MAX + 1, () => gateway.call('GET', '/health/live')))).toEqual(new Set([200]));
    expect((await gateway.call('GET', '/metrics')).status).toBe(200);
    expect((await gateway.call('GET', '/health/ready')).status).toBe(200);
  });

  it('follows its setting without a restart, in both directions', async () => {
    const token = await gateway.token();
    const bucket = new ConfigBucket(gateway.service.broker.connection);
    const config = gateway.service.get<GatewayConfig>(GatewayConfig);
    const limit = async (max: number): Promise<void> => {
      const { revision = 0 } = (await bucket.read('gateway', 'rateLimitMax')) ?? {};
      await bucket.set('gateway', 'rateLimitMax', String(max), { by: 'ada', after: revision });
      await until(() => config.rateLimitMax === max);
    };
    await repeat(MAX, () => list(token));
    expect((await list(token)).status).toBe(429);
    await limit(100);
    expect((await list(token)).status).toBe(200);
    await limit(2);
    expect((await list(token)).status).toBe(429);
  });
});
