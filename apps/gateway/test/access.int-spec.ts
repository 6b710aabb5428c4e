import { generateKeyPair, importJWK, SignJWT, UnsecuredJWT } from 'jose';
import type { Scope } from '../src/auth/scopes.ts';
import type { Route } from '../src/http/route.ts';
import { routes } from '../src/http/routes.ts';
import { aProblem, everyScope, GatewayUnderTest } from './gateway-under-test.ts';

let gateway: GatewayUnderTest;
let orderId: string;
beforeAll(async () => {
  gateway = await GatewayUnderTest.start();
  orderId = gateway.fleet.add('c-1', ['pending', 'confirmed', 'shipped', 'completed']);
});
afterAll(() => gateway.stop());

const names = Object.keys(routes) as (keyof typeof routes)[];
const pathOf = ({ path }: Route): string => path.replace('{id}', orderId).replace('{sku}', 'LAMP');
/** Calls the route with nothing but the token: with access, the answer is something else than 401 and 403. */
const visit = (route: Route, token?: string) => gateway.call(route.method, pathOf(route), { token });

describe.each(names)('%s', (name) => {
  const route: Route = routes[name];
  const { access } = route;

  if (access === 'public') {
    it('is open to anybody', async () => {
      const { status } = await visit(route);
      expect([401, 403, 404]).not.toContain(status);
      expect((await visit(route, 'not-a-token')).status).toBe(status);
    });
    return;
  }

  it('is closed without a token', async () => {
    const { status, headers, body } = await visit(route);
    expect([status, body]).toEqual([401, aProblem(401, 'token-missing')]);
    expect(headers.get('www-authenticate')).toBe('Bearer');
  });

  it(`is closed with every scope but ${access}`, async () => {
    const others = everyScope.filter((scope) => scope !== access);
    const { status, headers, body, text } = await visit(route, await gateway.token('c-1', others));
    expect([status, body]).toEqual([403, aProblem(403, 'scope-missing', { data: { scope: access } })]);
    expect(text).toContain(access);
    expect(headers.get('www-authenticate')).toBe(`Bearer error="insufficient_scope", scope="${access}"`);
  });

  it(`is open with ${access} alone`, async () => {
    const { status } = await visit(route, await gateway.token('c-1', [access]));
    expect([401, 403, 404, 500]).not.toContain(status);
  });
});

it('every scope opens something', () => {
  const used = new Set<string>(names.map((name) => routes[name].access));
  // These widen what a route does, in the handlers.
  const widening: Scope[] = ['orders:place-for-any', 'orders:read-any', 'orders:agree-price'];
  expect(everyScope.filter((scope) => !used.has(scope) && !widening.includes(scope))).toEqual([]);
});

describe('a token', () => {
  const list = (token: string) => gateway.call('GET', '/v1/orders', { token });
  const refused = async (token: string, code = 'token-invalid') => {
    const { status, headers, body } = await list(token);
    expect([status, body]).toEqual([401, aProblem(401, code)]);
    expect(headers.get('www-authenticate')).toBe('Bearer error="invalid_token"');
  };
  /** Signed with the gateway's own key, so that only what the test changes is wrong. */
  const signed = async (change: (token: SignJWT) => SignJWT, claimedKid?: string): Promise<string> => {
    const jwk = await gateway.signingKey();
    const token = new SignJWT({ scope: 'orders:read' })
      .setProtectedHeader({ alg: 'ES256', kid: claimedKid ?? jwk.kid })
      .setSubject('c-1')
      .setIssuer('flotilla')
      .setAudience('flotilla')
      .setExpirationTime('60s');
    return change(token).sign(await importJWK(jwk, 'ES256'));
  };

  it('of the issuer is good, in whatever case its scheme is written', async () => {
    expect((await list(await signed((token) => token))).status).toBe(200);
    const headers = { authorization: `bearer ${await gateway.token()}` };
    expect((await gateway.call('GET', '/v1/orders', { headers })).status).toBe(200);
  });

  it('that has expired says so', async () => {
    await refused(await signed((token) => token.setExpirationTime('1s ago')), 'token-expired');
  });

  it.each<[string, (token: SignJWT) => SignJWT]>([
    ['of another issuer', (token) => token.setIssuer('elsewhere')],
    ['for another audience', (token) => token.setAudience('billing')],
    ['that is not valid yet', (token) => token.setNotBefore('1h')],
  ])('%s is refused', async (_what, change) => refused(await signed(change)));

  it('with a key id that nobody has is refused', async () =>
    refused(await signed((token) => token, 'other')));

  it('without an end, or without a subject, is refused', async () => {
    const jwk = await gateway.signingKey();
    const key = await importJWK(jwk, 'ES256');
    const base = () =>
      new SignJWT({ scope: 'orders:read' })
        .setProtectedHeader({ alg: 'ES256', kid: jwk.kid })
        .setIssuer('flotilla')
        .setAudience('flotilla');
    await refused(await base().setSubject('c-1').sign(key));
    await refused(await base().setExpirationTime('60s').sign(key));
  });

  it('that is forged is refused', async () => {
    const jwk = await gateway.signingKey();
    const { privateKey } = await generateKeyPair('ES256');
    const claims = { scope: 'orders:read', sub: 'c-1', iss: 'flotilla', aud: 'flotilla', exp: 4_102_444_800 };
    await refused(
      await new SignJWT(claims).setProtectedHeader({ alg: 'ES256', kid: jwk.kid }).sign(privateKey),
    );
    // The public key as a shared secret.
    const { d: _private, ...publicKey } = jwk;
    const secret = new TextEncoder().encode(JSON.stringify(publicKey));
    await refused(await new SignJWT(claims).setProtectedHeader({ alg: 'HS256', kid: jwk.kid }).sign(secret));
    await refused(new UnsecuredJWT(claims).encode());
    // A good token whose claims were exchanged.
    const [header, , signature] = (await gateway.token('c-1')).split('.');
    const claimed = Buffer.from(JSON.stringify({ ...claims, sub: 'c-2' })).toString('base64url');
    await refused([header, claimed, signature].join('.'));
    for (const rubbish of ['x', 'a.b.c', `${header}..`, 'e30.e30.']) await refused(rubbish);
  });

  it('in another scheme is no token', async () => {
    for (const authorization of ['Basic dTpw', 'Bearer', 'Bearer ']) {
      const { body } = await gateway.call('GET', '/v1/orders', { headers: { authorization } });
      expect(body).toEqual(aProblem(401, 'token-missing'));
    }
  });
});
