import { connect } from 'node:net';
import { jest } from '@jest/globals';
import { GetProduct } from '@flotilla/contracts-catalog';
import { ConfigBucket } from '@flotilla/messaging';
import { until } from '@flotilla/testing';
import { TokenVerifier } from '../src/auth/token-verifier.ts';
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

describe('what a caller may hold', () => {
  /** Sends raw bytes and collects what comes back until the server ends the connection. */
  const raw = (url: string) => {
    const { hostname, port } = new URL(url);
    const socket = connect(Number(port), hostname);
    let text = '';
    socket.on('data', (chunk: Buffer) => (text += chunk.toString('utf8')));
    socket.on('error', () => undefined);
    const closed = new Promise<string>((resolve) => socket.once('close', () => resolve(text)));
    return { socket, closed };
  };
  const problemIn = (answer: string): unknown => JSON.parse(answer.slice(answer.indexOf('\r\n\r\n') + 4));

  it('ends with a time for sending the headers, and one for the body', async () => {
    await using impatient = await GatewayUnderTest.start({ HTTP_RECEIVE_TIMEOUT_MS: '500' });
    const slow = [
      'GET /v1/products HTTP/1.1\r\nHost: a\r\nX-Slow: ',
      'POST /v1/orders HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{',
      '',
    ];
    const answers = await Promise.all(
      slow.map((text) => {
        const { socket, closed } = raw(impatient.service.url);
        socket.write(text);
        return closed;
      }),
    );
    expect(answers[0]).toMatch(/^HTTP\/1\.1 408 /);
    expect(problemIn(answers[0] ?? '')).toMatchObject({
      type: 'urn:flotilla:problem:request-too-slow',
      status: 408,
    });
    expect(answers[1]).toMatch(/^HTTP\/1\.1 (408|401) /);
    // Whoever sends nothing is cut off, too.
    expect(answers[2]).toMatch(/^(HTTP\/1\.1 408 |$)/);
    expect((await impatient.call('GET', '/v1/products')).status).toBe(200);
  });

  it.each([
    ['headers of more than 16 KiB', `GET / HTTP/1.1\r\nHost: a\r\nX-Big: ${'x'.repeat(20_000)}\r\n\r\n`, 431],
    ['no HTTP', 'EHLO there\r\n\r\n', 400],
    ['a header with a line of its own', 'GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n', 400],
    ['two lengths', 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab', 400],
    [
      'a length beside chunks',
      'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      400,
    ],
  ])('is refused as a problem: %s', async (_what, bytes, status) => {
    const { socket, closed } = raw(gateway.service.url);
    socket.write(bytes);
    const answer = await closed;
    expect(answer).toContain(`HTTP/1.1 ${status} `);
    expect(answer).toContain('content-type: application/problem+json');
    expect(problemIn(answer)).toMatchObject({ status, correlationId: expect.any(String) as string });
  });

  it('is a number of connections', async () => {
    await using small = await GatewayUnderTest.start({ HTTP_MAX_CONNECTIONS: '3' });
    const { port } = new URL(small.service.url);
    const many = Array.from({ length: 10 }, () => raw(`http://127.0.0.1:${port}`));
    const ended = new Set<number>();
    many.forEach(({ closed }, n) => void closed.then(() => ended.add(n)));
    await until(() => ended.size >= 7, { describe: 'what is too much is closed' });
    for (const { socket } of many) socket.destroy();
    await until(async () => {
      try {
        return (await small.call('GET', '/v1/products')).status === 200;
      } catch {
        return false;
      }
    });
    expect(ended.size).toBeGreaterThanOrEqual(7);
  });
});

describe('more requests than can be answered', () => {
  it('are shed with 503 at once, while those that were taken are answered', async () => {
    await using small = await GatewayUnderTest.start({ HTTP_MAX_IN_FLIGHT: '4' });
    const release = Promise.withResolvers<void>();
    await small.fakes.answer(GetProduct, async ({ sku }) => {
      await release.promise;
      const product = small.fleet.products.get(sku);
      if (!product) throw GetProduct.failure('ProductNotFound', { sku });
      return product;
    });
    const taken = Array.from({ length: 4 }, () => small.call('GET', '/v1/products/LAMP'));
    await until(() => small.fakes.calls(GetProduct).length >= 4, { describe: 'four are under way' });
    const shed = await Promise.all(Array.from({ length: 50 }, () => small.call('GET', '/v1/products')));
    for (const { status, headers, body } of shed) {
      expect([status, headers.get('retry-after'), body]).toEqual([503, '1', aProblem(503, 'overloaded')]);
      expect(headers.get('x-correlation-id')).toMatch(/.+/);
    }
    // Also of somebody whose token would be good, or bad: nothing is verified.
    expect((await small.call('GET', '/v1/orders', { token: 'nonsense' })).status).toBe(503);
    expect((await small.call('GET', '/health/live')).status).toBe(200);
    release.resolve();
    expect((await Promise.all(taken)).map(({ status }) => status)).toEqual([200, 200, 200, 200]);
    await until(async () => (await small.call('GET', '/v1/products')).status === 200);
  });

  it('leave no place taken by callers who went away', async () => {
    await using small = await GatewayUnderTest.start({
      HTTP_MAX_IN_FLIGHT: '2',
      REQUEST_DEADLINE_MS: '60000',
    });
    await small.fakes.answer(GetProduct, () => new Promise<never>(() => undefined));
    const leaving = new AbortController();
    const waiting = [1, 2].map(() =>
      fetch(`${small.service.url}/v1/products/LAMP`, { signal: leaving.signal }).catch(() => undefined),
    );
    await until(async () => (await small.call('GET', '/v1/products')).status === 503, {
      describe: 'there is no room',
    });
    leaving.abort();
    await Promise.all(waiting);
    await until(async () => (await small.call('GET', '/v1/products')).status === 200, {
      describe: 'there is room again',
    });
  });
});

describe('behind a proxy that is trusted', () => {
  it('callers are counted by the address that it names; of others nobody believes one', async () => {
    const limits = { RATE_LIMIT_MAX: String(MAX), RATE_LIMIT_WINDOW_MS: '60000' };
    await using behind = await GatewayUnderTest.start({ ...limits, TRUSTED_PROXIES: '127.0.0.1, ::1' });
    const from = (where: GatewayUnderTest, address: string) =>
      where.call('GET', '/v1/products', { headers: { 'x-forwarded-for': address } });
    expect(await repeat(MAX + 1, () => from(behind, '192.0.2.1'))).toEqual([200, 200, 200, 200, 200, 429]);
    expect((await from(behind, '192.0.2.2')).status).toBe(200);
    // What the caller writes before the proxy's word does not count.
    expect((await from(behind, '203.0.113.9, 192.0.2.1')).status).toBe(429);
    let n = 0;
    expect(await repeat(MAX + 1, () => from(gateway, `192.0.2.${n++}`))).toEqual([
      200, 200, 200, 200, 200, 429,
    ]);
  });

  it('of IPv6, 64 bits are one caller', async () => {
    const limits = { RATE_LIMIT_MAX: String(MAX), RATE_LIMIT_WINDOW_MS: '60000' };
    await using behind = await GatewayUnderTest.start({ ...limits, TRUSTED_PROXIES: '127.0.0.1,::1' });
    const from = (address: string) =>
      behind.call('GET', '/v1/products', { headers: { 'x-forwarded-for': address } });
    let n = 0;
    expect(await repeat(MAX + 1, () => from(`2001:db8::${(++n).toString(16)}`))).toEqual([
      200, 200, 200, 200, 200, 429,
    ]);
    expect((await from('2001:db8:0:1::1')).status).toBe(200);
  });
});

describe('bad tokens of one address', () => {
  it('are not verified beyond the limit', async () => {
    const verifier = gateway.service.get<TokenVerifier>(TokenVerifier);
    const verify = jest.spyOn(verifier, 'verify');
    const statuses = await repeat(MAX * 4, () => list('a.b.c'));
    expect(statuses.slice(0, MAX)).toEqual([401, 401, 401, 401, 401]);
    expect(new Set(statuses.slice(MAX))).toEqual(new Set([429]));
    expect(verify).toHaveBeenCalledTimes(MAX);
  });
});
