import { createServer, type Server } from 'node:http';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from '@flotilla/testing';
import { decodeProtectedHeader, exportJWK, generateKeyPair, SignJWT, type CryptoKey, type JWK } from 'jose';
import { EmbeddedIssuer } from '../src/auth/embedded-issuer.ts';
import { customerScopes } from '../src/auth/scopes.ts';
import {
  MAX_TOKEN_TTL_SECONDS,
  newSigningKey,
  openSigningKeys,
  publicPart,
  readSigningKeys,
  rotateSigningKeys,
} from '../src/auth/signing-keys.ts';
import { TokenVerifier } from '../src/auth/token-verifier.ts';
import { GatewayConfig } from '../src/gateway.config.ts';
import { aProblem, GatewayUnderTest } from './gateway-under-test.ts';

const COOLDOWN_MS = 300;

/** An issuer outside: publishes the keys it has now, or fails. */
class OutsideIssuer {
  readonly #server: Server;
  readonly #keys = new Map<string, { readonly key: CryptoKey; readonly jwk: JWK }>();
  answer: 'keys' | 'error' | 'rubbish' = 'keys';
  fetches = 0;

  constructor() {
    this.#server = createServer((_request, response) => {
      this.fetches++;
      response.statusCode = this.answer === 'error' ? 500 : 200;
      const keys = [...this.#keys.values()].map(({ jwk }) => jwk);
      response.end(this.answer === 'rubbish' ? '<html>' : JSON.stringify({ keys }));
    });
  }

  async start(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/jwks.json`;
  }

  async addKey(kid: string, alg: 'ES256' | 'RS256' = 'ES256'): Promise<void> {
    const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
    this.#keys.set(kid, { key: privateKey, jwk: { ...(await exportJWK(publicKey)), kid, alg, use: 'sig' } });
  }

  async token(kid: string, alg: 'ES256' | 'RS256' = 'ES256', claimedKid = kid): Promise<string> {
    const key = this.#keys.get(kid)?.key;
    if (!key) throw new Error(`no key ${kid}`);
    return new SignJWT({ scope: 'orders:read' })
      .setProtectedHeader({ alg, kid: claimedKid })
      .setSubject('c-1')
      .setIssuer('https://issuer.example')
      .setAudience('flotilla')
      .setExpirationTime('60s')
      .sign(key);
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

describe('with an issuer outside', () => {
  let issuer: OutsideIssuer;
  let gateway: GatewayUnderTest;
  beforeEach(async () => {
    issuer = new OutsideIssuer();
    gateway = await GatewayUnderTest.start({
      AUTH_JWKS_URL: await issuer.start(),
      AUTH_ISSUER: 'https://issuer.example',
      AUTH_JWKS_COOLDOWN_MS: String(COOLDOWN_MS),
      NODE_ENV: 'production',
    });
  });
  afterEach(async () => {
    await gateway.stop();
    await issuer.stop();
  });
  const list = async (token: string) => (await gateway.call('GET', '/v1/orders', { token })).status;

  it('its tokens are good, keys are fetched once, and followed when they change', async () => {
    await issuer.addKey('one');
    await issuer.addKey('two', 'RS256');
    expect(await list(await issuer.token('one'))).toBe(200);
    expect(await list(await issuer.token('two', 'RS256'))).toBe(200);
    expect(issuer.fetches).toBe(1);
    await issuer.addKey('three');
    const rotated = await issuer.token('three');
    await until(async () => (await list(rotated)) === 200, { describe: 'the new key is known' });
    expect(await list(await issuer.token('one'))).toBe(200);
    expect(issuer.fetches).toBe(2);
  });

  it('unknown key ids do not hammer it', async () => {
    await issuer.addKey('one');
    expect(await list(await issuer.token('one'))).toBe(200);
    const forged = await Promise.all(
      Array.from({ length: 50 }, (_, n) => issuer.token('one', 'ES256', `unknown-${n}`)),
    );
    const startedAt = performance.now();
    expect(new Set(await Promise.all(forged.map(list)))).toEqual(new Set([401]));
    const cooldowns = Math.ceil((performance.now() - startedAt) / COOLDOWN_MS);
    expect(issuer.fetches).toBeLessThanOrEqual(1 + cooldowns);
  });

  it.each(['error', 'rubbish'] as const)('that answers with %s is 503, and heals', async (answer) => {
    await issuer.addKey('one');
    const token = await issuer.token('one');
    issuer.answer = answer;
    const failed = await gateway.call('GET', '/v1/orders', { token });
    expect([failed.status, failed.headers.get('retry-after'), failed.body]).toEqual([
      503,
      '5',
      aProblem(503, 'issuer-unavailable'),
    ]);
    expect((await gateway.call('GET', '/v1/products')).status).toBe(200);
    issuer.answer = 'keys';
    await until(async () => (await list(token)) === 200, { describe: 'the keys are there' });
  });

  it('that is away is 503', async () => {
    await issuer.addKey('one');
    const token = await issuer.token('one');
    await issuer.stop();
    expect((await gateway.call('GET', '/v1/orders', { token })).body).toEqual(
      aProblem(503, 'issuer-unavailable'),
    );
    await issuer.start();
  });

  it('the gateway issues none', async () => {
    const token = await gateway.call('POST', '/v1/auth/token', { body: {} });
    expect(token.body).toEqual(aProblem(404, 'no-embedded-issuer'));
    expect((await gateway.call('GET', '/.well-known/jwks.json')).body).toEqual(
      aProblem(404, 'no-embedded-issuer'),
    );
  });
});

describe('the embedded issuer', () => {
  let folder: string;
  let keyFile: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'issuer-'));
    keyFile = join(folder, 'key.json');
  });
  afterEach(() => rm(folder, { recursive: true }));
  const create = () => EmbeddedIssuer.create({ issuer: 'flotilla', audience: 'flotilla', keyFile });

  it('gives tokens that the gateway takes, with the scopes of a customer by default', async () => {
    await using gateway = await GatewayUnderTest.start();
    const issue = (body: object) =>
      gateway.call<{ access_token: string }>('POST', '/v1/auth/token', { body });
    const issued = await issue({ customerId: 'c-7' });
    expect([issued.status, issued.body]).toEqual([
      200,
      {
        access_token: expect.any(String) as string,
        token_type: 'Bearer',
        expires_in: 3_600,
        scope: customerScopes.join(' '),
      },
    ]);
    const listed = await gateway.call('GET', '/v1/orders', { token: issued.body.access_token });
    expect(listed.body).toEqual({ orders: [] });
    expect((await issue({ scope: 'orders:read world:rule' })).body).toEqual(aProblem(400, 'unknown-scope'));
    expect((await issue({ ttlSeconds: 0 })).body).toMatchObject({ errors: [{ path: 'ttlSeconds' }] });
    expect((await gateway.call('POST', '/v1/auth/token')).status).toBe(200);
    const { body } = await gateway.call<{ keys: JWK[] }>('GET', '/.well-known/jwks.json');
    expect(body.keys).toHaveLength(1);
    expect(body.keys[0]).not.toHaveProperty('d');
  });

  it('keeps its key in a file that only its user may read, so that tokens outlive a restart', async () => {
    await using gateway = await GatewayUnderTest.start();
    const token = await gateway.token();
    const replica = await gateway.service.startReplica();
    const response = await fetch(`${await replica.app.getUrl()}/v1/orders`, {
      headers: { authorization: `Bearer ${token}` },
    });
    expect(response.status).toBe(200);
    expect((await stat(gateway.keyFile)).mode & 0o777).toBe(0o600);
  });

  it('of several processes that start at once has one key', async () => {
    const issuers = await Promise.all(Array.from({ length: 8 }, create));
    const ids = await Promise.all(issuers.map(async (each) => (await each.jwks()).keys[0]?.kid));
    expect(new Set(ids).size).toBe(1);
    const kept = JSON.parse(await readFile(keyFile, 'utf8')) as { keys: JWK[] };
    expect((await (await create()).jwks()).keys[0]?.kid).toBe(kept.keys[0]?.kid);
  });

  it('reads the key file of an earlier version, which is one key', async () => {
    const key = await newSigningKey();
    await writeFile(keyFile, JSON.stringify(key));
    expect((await (await create()).jwks()).keys).toEqual([publicPart(key)]);
  });

  it('has its keys rotated while it runs: in every process, and without a token being refused', async () => {
    await using gateway = await GatewayUnderTest.start();
    const replica = await (await gateway.service.startReplica()).app.getUrl();
    const urls = [gateway.service.url, replica];
    const statusAt = async (url: string, token: string) =>
      (await fetch(`${url}/v1/orders`, { headers: { authorization: `Bearer ${token}` } })).status;
    const issuedAt = async (url: string) => {
      const response = await fetch(`${url}/v1/auth/token`, { method: 'POST' });
      return ((await response.json()) as { access_token: string }).access_token;
    };
    const keysAt = async (url: string) =>
      ((await (await fetch(`${url}/.well-known/jwks.json`)).json()) as { keys: JWK[] }).keys;
    const old = await issuedAt(gateway.service.url);

    const rotated = await rotateSigningKeys(gateway.keyFile, { nowMs: Date.now() });
    expect((await stat(gateway.keyFile)).mode & 0o777).toBe(0o600);
    for (const url of urls) {
      const token = await until(
        async () => {
          const each = await issuedAt(url);
          return decodeProtectedHeader(each).kid === rotated[0].kid && each;
        },
        { describe: `${url} signs with the new key` },
      );
      for (const other of urls) {
        await until(async () => (await statusAt(other, token)) === 200, { describe: 'the new key is known' });
        expect(await statusAt(other, old)).toBe(200);
      }
      const published = await keysAt(url);
      expect(published.map(({ kid }) => kid)).toEqual(rotated.map(({ kid }) => kid));
      expect(published).toHaveLength(2);
      for (const key of published) {
        expect(key).not.toHaveProperty('d');
        expect(key).not.toHaveProperty('retiredAt');
      }
    }

    await rotateSigningKeys(gateway.keyFile, { nowMs: Date.now(), revoke: true });
    for (const url of urls) {
      await until(async () => (await statusAt(url, old)) === 401, { describe: `${url} refuses the old key` });
      expect(await statusAt(url, await issuedAt(url))).toBe(200);
      expect(await keysAt(url)).toHaveLength(1);
    }
  });

  it('forgets a key when the last token that it can have signed has ended, and keeps few', async () => {
    const start = Date.parse('2030-01-01T00:00:00Z');
    const [first] = await openSigningKeys(keyFile, start);
    const day = MAX_TOKEN_TTL_SECONDS * 1_000;
    const [second] = await rotateSigningKeys(keyFile, { nowMs: start });
    const ids = async (nowMs: number) => (await readSigningKeys(keyFile, nowMs))?.map(({ kid }) => kid);
    expect(await ids(start + day - 1_000)).toEqual([second.kid, first.kid]);
    expect(await ids(start + day + 1_000)).toEqual([second.kid]);
    for (let n = 0; n < 20; n++) await rotateSigningKeys(keyFile, { nowMs: start + n });
    expect(await ids(start + 20)).toHaveLength(8);
  });

  it.each(['', '{}', 'not JSON', '{"kty":"oct","k":"AA"}', '{"keys":[]}', '{"keys":[{"kty":"EC"}]}'])(
    'refuses the key file %j',
    async (content) => {
      await writeFile(keyFile, content);
      await expect(create()).rejects.toMatchObject({ code: 'INVALID_SIGNING_KEY' });
    },
  );
});

describe('a configuration', () => {
  const config = (env: Record<string, string>) =>
    GatewayConfig.fromEnvironment<GatewayConfig>({ NATS_URL: 'nats://127.0.0.1:4222', PORT: '0', ...env });

  it('with the embedded issuer in production is refused', async () => {
    const production = config({ AUTH_EMBEDDED_ISSUER: 'true', NODE_ENV: 'production' });
    await expect(EmbeddedIssuer.fromConfig(production)).rejects.toMatchObject({
      code: 'EMBEDDED_ISSUER_IN_PRODUCTION',
    });
  });

  it('without an issuer, or with two, is refused', async () => {
    const none = config({});
    expect(await EmbeddedIssuer.fromConfig(none)).toBeUndefined();
    expect(() => new TokenVerifier(none, undefined)).toThrow(
      expect.objectContaining({ code: 'NO_TOKEN_ISSUER' }) as Error,
    );
    const two = config({ AUTH_EMBEDDED_ISSUER: 'true', AUTH_JWKS_URL: 'https://issuer.example/jwks.json' });
    await expect(EmbeddedIssuer.fromConfig(two)).rejects.toMatchObject({ code: 'TWO_TOKEN_ISSUERS' });
  });
});
