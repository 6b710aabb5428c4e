import { generateKeyPair, importJWK, SignJWT, UnsecuredJWT } from 'jose';
import { CancelOrder, DecideReview, PlaceOrder, RequestReturn } from '@flotilla/contracts-orders';
import { customerScopes, type Scope } from '../src/auth/scopes.ts';
import type { SigningKey } from '../src/auth/signing-keys.ts';
import type { Route } from '../src/http/route.ts';
import { routes } from '../src/http/routes.ts';
import { authorisationMatrix, OWNER, OWNERS_SECRET, type MatrixEntry } from './authorisation-matrix.ts';
import { aProblem, everyScope, GatewayUnderTest } from './gateway-under-test.ts';

let gateway: GatewayUnderTest;
beforeAll(async () => {
  gateway = await GatewayUnderTest.start();
});
afterAll(() => gateway.stop());

const names = Object.keys(routes) as (keyof typeof routes)[];
const cases = names.flatMap((name) =>
  authorisationMatrix[name].map((entry): [string, Route, MatrixEntry] => [
    entry.as === undefined ? name : `${name} ${entry.as}`,
    routes[name],
    entry,
  ]),
);
const visit = ({ method }: Route, { request }: MatrixEntry, token?: string) => {
  const { path, call } = request(gateway);
  return gateway.call(method, path, { ...call, token });
};

it('the matrix has every route, and no other', () => {
  expect(Object.keys(authorisationMatrix).sort()).toEqual([...names].sort());
  for (const name of names) expect([name, authorisationMatrix[name].length]).not.toEqual([name, 0]);
});

it('the server serves the routes of the table, the probes, the documentation, and nothing else', () => {
  const tree = gateway.service.app.getHttpAdapter().getInstance().printRoutes({ commonPrefix: false });
  const path: string[] = [];
  const served: string[] = [];
  for (const line of tree.split('\n')) {
    const [, indent = '', segment = '', methods] = /^([│├└─\s]*)(\S*?)(?: \(([A-Z, ]+)\))?$/.exec(line) ?? [];
    if (segment === '') continue;
    path.splice(indent.length / 4 - 1);
    path.push(segment === '(empty' ? '' : segment);
    for (const method of methods?.split(', ') ?? []) served.push(`${method} ${path.join('')}`);
  }
  const known = new Set([
    ...Object.values<Route>(routes).map(
      ({ method, path: each }) => `${method} ${each.replaceAll(/\{(\w+)\}/g, ':$1')}`,
    ),
    ...['/health/live', '/health/ready', '/metrics', '/openapi.json', '/openapi.yaml', '/docs'].map(
      (each) => `GET ${each}`,
    ),
  ]);
  const isKnown = (each: string) => known.has(each) || each.startsWith('GET /docs/');
  const open = served.filter((each) => !isKnown(each.replace(/^HEAD /, 'GET ')));
  expect(open).toEqual([]);
  // The tree was understood.
  for (const { method, path: each } of Object.values<Route>(routes))
    expect(served).toContain(`${method} ${each.replaceAll(/\{(\w+)\}/g, ':$1')}`);
});

describe.each(cases)('%s', (_name, route, entry) => {
  const { access } = route;
  /** The route's scope and no other. */
  const scopes: readonly Scope[] = access === 'public' ? [] : [access];

  it('without a token', async () => {
    const { status, headers, body, text } = await visit(route, entry);
    if (access === 'public') return expect(status).toBe(entry.owner);
    expect([status, body]).toEqual([401, aProblem(401, 'token-missing')]);
    expect(headers.get('www-authenticate')).toBe('Bearer');
    expect(text).not.toContain(OWNERS_SECRET);
    return undefined;
  });

  it('with every scope but its own, also for the owner', async () => {
    const others = everyScope.filter((scope) => scope !== access);
    const { status, headers, body, text } = await visit(route, entry, await gateway.token(OWNER, others));
    if (access === 'public') return expect(status).toBe(entry.owner);
    expect([status, body]).toEqual([403, aProblem(403, 'scope-missing', { data: { scope: access } })]);
    expect(headers.get('www-authenticate')).toBe(`Bearer error="insufficient_scope", scope="${access}"`);
    expect(text).not.toContain(OWNERS_SECRET);
    return undefined;
  });

  it('with its scope, for the owner', async () => {
    const { status } = await visit(route, entry, await gateway.token(OWNER, scopes));
    expect(status).toBe(entry.owner);
  });

  it('with its scope, for another customer', async () => {
    const changes = () =>
      [PlaceOrder, CancelOrder, RequestReturn, DecideReview].reduce(
        (sum, type) => sum + gateway.fakes.calls(type).length,
        0,
      );
    const before = changes();
    const { status, text } = await visit(route, entry, await gateway.token('stranger', scopes));
    expect(status).toBe(entry.stranger);
    expect(text).not.toContain(OWNERS_SECRET);
    if (status >= 400) expect(changes()).toBe(before);
  });

  it('with what a customer has, for another customer', async () => {
    const { status, text } = await visit(route, entry, await gateway.token('stranger', customerScopes));
    const may = access === 'public' || customerScopes.includes(access);
    expect(status).toBe(may ? entry.stranger : 403);
    expect(text).not.toContain(OWNERS_SECRET);
  });

  it('for the operator', async () => {
    expect((await visit(route, entry, await gateway.operator())).status).toBe(entry.operator);
  });

  it('asked for its head, it is as closed', async () => {
    if (route.method !== 'GET') return;
    const { path } = entry.request(gateway);
    const head = async (token?: string) => (await gateway.call('HEAD', path, { token })).status;
    expect(await head()).toBe(access === 'public' ? entry.owner : 401);
    expect(await head(await gateway.token('stranger', scopes))).toBe(entry.stranger);
  });
});

/** What of an answer may tell whether something exists; the rest names the request. */
const told = ({ status, headers, text }: Awaited<ReturnType<GatewayUnderTest['call']>>, id: string) => ({
  status,
  text: text.replaceAll(id, 'ID').replace(/"correlationId":"[^"]+"/, ''),
  headers: [...headers.keys()].filter((name) => name !== 'date').sort(),
});

it.each(cases.filter(([, , { stranger }]) => stranger === 404))(
  "%s tells the same of another's order as of one that is not there",
  async (_name, route, entry) => {
    const token = await gateway.token(
      'stranger',
      everyScope.filter((scope) => scope === route.access),
    );
    const { path, call } = entry.request(gateway);
    const id = /^\/v1\/orders\/([^/]+)/.exec(path)?.[1] ?? '';
    const nobodys = crypto.randomUUID();
    const others = await gateway.call(route.method, path, { ...call, token });
    const none = await gateway.call(route.method, path.replace(id, nobodys), { ...call, token });
    expect(told(others, id)).toEqual(told(none, nobodys));
  },
);

describe('a bad token', () => {
  const claims = { scope: everyScope.join(' ') };
  const good = (kid: string) =>
    new SignJWT(claims)
      .setProtectedHeader({ alg: 'ES256', kid })
      .setSubject(OWNER)
      .setIssuer('flotilla')
      .setAudience('flotilla')
      .setIssuedAt()
      .setExpirationTime('60s');
  const bad: Readonly<Record<string, (jwk: SigningKey) => Promise<string> | string>> = {
    'that has expired': async (jwk) =>
      good(jwk.kid)
        .setExpirationTime('1s ago')
        .sign(await importJWK(jwk, 'ES256')),
    'that is not valid yet': async (jwk) =>
      good(jwk.kid)
        .setNotBefore('1h')
        .sign(await importJWK(jwk, 'ES256')),
    'for another audience': async (jwk) =>
      good(jwk.kid)
        .setAudience('billing')
        .sign(await importJWK(jwk, 'ES256')),
    'of another issuer': async (jwk) =>
      good(jwk.kid)
        .setIssuer('elsewhere')
        .sign(await importJWK(jwk, 'ES256')),
    'with an unknown key id': async (jwk) => good('nobody').sign(await importJWK(jwk, 'ES256')),
    'signed with another key': async (jwk) => good(jwk.kid).sign((await generateKeyPair('ES256')).privateKey),
    'signed with the public key as a secret': ({ d: _private, ...publicJwk }) =>
      new SignJWT(claims)
        .setProtectedHeader({ alg: 'HS256', kid: publicJwk.kid })
        .setSubject(OWNER)
        .setIssuer('flotilla')
        .setAudience('flotilla')
        .setExpirationTime('60s')
        .sign(new TextEncoder().encode(JSON.stringify(publicJwk))),
    'without a signature': () =>
      new UnsecuredJWT(claims)
        .setSubject(OWNER)
        .setIssuer('flotilla')
        .setAudience('flotilla')
        .setExpirationTime('60s')
        .encode(),
    'of a critical extension that nobody knows': async (jwk) => {
      const [, payload] = (await good(jwk.kid).sign(await importJWK(jwk, 'ES256'))).split('.');
      const header = { alg: 'ES256', kid: jwk.kid, crit: ['b64'], b64: false };
      return `${Buffer.from(JSON.stringify(header)).toString('base64url')}.${payload}.AAAA`;
    },
    'that is longer than any header': () => 'x'.repeat(12_000),
  };

  it.each(Object.entries(bad))('%s opens no route', async (_what, make) => {
    const jwk = await gateway.signingKey();
    const token = await make(jwk);
    for (const [name, route, entry] of cases) {
      const { status, headers } = await visit(route, entry, token);
      expect([name, status]).toEqual([name, route.access === 'public' ? entry.owner : 401]);
      if (status === 401) expect(headers.get('www-authenticate')).toBe('Bearer error="invalid_token"');
    }
  });
});

describe('the probes', () => {
  it.each(['/health/live', '/health/ready', '/metrics'])(
    '%s is for the platform, without a token',
    async (path) => {
      expect((await gateway.call('GET', path)).status).toBe(200);
      expect((await gateway.call('GET', path, { token: 'nonsense' })).status).toBe(200);
      expect((await gateway.call('POST', path)).status).toBe(404);
    },
  );
});
