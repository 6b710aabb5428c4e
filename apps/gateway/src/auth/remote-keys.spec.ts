import { ManualClock } from '@flotilla/testing';
import { exportJWK, generateKeyPair, jwtVerify, SignJWT, type CryptoKey, type JWK } from 'jose';
import { RemoteKeys } from './remote-keys.ts';

const COOLDOWN_MS = 30_000;
const REFRESH_MS = 300_000;
const MAX_STALE_MS = 3_600_000;

/** An issuer that is a function: answers with its keys, fails, or keeps its caller waiting. */
class Issuer {
  readonly clock = new ManualClock();
  readonly changes: string[] = [];
  readonly #keys = new Map<string, { readonly key: CryptoKey; readonly jwk: JWK }>();
  fetches = 0;
  answer: () => Response | Promise<Response> = () => this.jwks();

  readonly keys = new RemoteKeys({
    url: 'https://issuer.example/jwks.json',
    cooldownMs: COOLDOWN_MS,
    refreshMs: REFRESH_MS,
    maxStaleMs: MAX_STALE_MS,
    timeoutMs: 5_000,
    clock: this.clock,
    onChange: (message) => void this.changes.push(message),
    fetch: async () => {
      this.fetches++;
      return this.answer();
    },
  });

  jwks(): Response {
    return Response.json({ keys: [...this.#keys.values()].map(({ jwk }) => jwk) });
  }

  fails(): void {
    this.answer = () => new Response('', { status: 500 });
  }

  works(): void {
    this.answer = () => this.jwks();
  }

  async add(kid: string): Promise<void> {
    const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true });
    this.#keys.set(kid, {
      key: privateKey,
      jwk: { ...(await exportJWK(publicKey)), kid, alg: 'ES256', use: 'sig' },
    });
  }

  remove(kid: string): () => Promise<string> {
    const token = this.token(kid);
    this.#keys.delete(kid);
    return () => token;
  }

  /** A token that is signed with a key; it may claim another. */
  token(kid: string, claimed = kid): Promise<string> {
    const known = this.#keys.get(kid);
    if (!known) throw new Error(`no key ${kid}`);
    return new SignJWT({}).setProtectedHeader({ alg: 'ES256', kid: claimed }).sign(known.key);
  }

  /** `good`, or the code or name of the error. */
  async verify(token: string | Promise<string>): Promise<string> {
    try {
      await jwtVerify(await token, this.keys.get);
      return 'good';
    } catch (error) {
      return (error as { code?: string }).code ?? (error as Error).name;
    }
  }
}

const UNKNOWN = 'ERR_JWKS_NO_MATCHING_KEY';
const UNAVAILABLE = 'KeysUnavailableError';

let issuer: Issuer;
beforeEach(async () => {
  issuer = new Issuer();
  await issuer.add('one');
});

it('fetches once for all who ask at the same time, and not again', async () => {
  const tokens = await Promise.all(Array.from({ length: 20 }, () => issuer.token('one')));
  expect(new Set(await Promise.all(tokens.map((token) => issuer.verify(token))))).toEqual(new Set(['good']));
  expect(issuer.fetches).toBe(1);
});

it('takes tokens of two live keys, and of a third as soon as the cool-down has passed', async () => {
  await issuer.add('two');
  expect(await issuer.verify(issuer.token('one'))).toBe('good');
  expect(await issuer.verify(issuer.token('two'))).toBe('good');
  await issuer.add('three');
  expect(await issuer.verify(issuer.token('three'))).toBe(UNKNOWN);
  await issuer.clock.advance(COOLDOWN_MS);
  expect(await issuer.verify(issuer.token('three'))).toBe('good');
  expect(await issuer.verify(issuer.token('one'))).toBe('good');
  expect(issuer.fetches).toBe(2);
});

it('is not made to fetch by key ids that nobody has, however many', async () => {
  expect(await issuer.verify(issuer.token('one'))).toBe('good');
  for (let round = 1; round <= 3; round++) {
    await issuer.clock.advance(COOLDOWN_MS);
    const forged = Array.from({ length: 50 }, (_, n) => issuer.verify(issuer.token('one', `forged-${n}`)));
    expect(new Set(await Promise.all(forged))).toEqual(new Set([UNKNOWN]));
    expect(issuer.fetches).toBe(1 + round);
  }
});

it('keeps the cool-down also while the issuer fails', async () => {
  expect(await issuer.verify(issuer.token('one'))).toBe('good');
  issuer.fails();
  await issuer.clock.advance(COOLDOWN_MS);
  for (let n = 0; n < 20; n++) expect(await issuer.verify(issuer.token('one', `new-${n}`))).toBe(UNAVAILABLE);
  expect(issuer.fetches).toBe(2);
  // Whose key is known does not notice.
  expect(await issuer.verify(issuer.token('one'))).toBe('good');
  expect(issuer.changes).toEqual(["The issuer's keys cannot be had: it answers 500"]);
});

it('refreshes in the background: nobody waits for it, and a key that was taken out is out', async () => {
  await issuer.add('two');
  expect(await issuer.verify(issuer.token('one'))).toBe('good');
  const taken = issuer.remove('one');
  let release = (): void => undefined;
  issuer.answer = () =>
    new Promise((resolve) => {
      release = () => resolve(issuer.jwks());
    });
  await issuer.clock.advance(REFRESH_MS);
  expect(await issuer.verify(taken())).toBe('good');
  expect(await issuer.verify(taken())).toBe('good');
  expect(issuer.fetches).toBe(2);
  release();
  await issuer.clock.advance(0);
  expect(await issuer.verify(taken())).toBe(UNKNOWN);
  expect(await issuer.verify(issuer.token('two'))).toBe('good');
});

it('goes on with the known keys while the issuer is away, for so long and no longer', async () => {
  expect(await issuer.verify(issuer.token('one'))).toBe('good');
  issuer.fails();
  for (let pastMs = 0; pastMs + REFRESH_MS < MAX_STALE_MS; pastMs += REFRESH_MS) {
    await issuer.clock.advance(REFRESH_MS);
    expect(await issuer.verify(issuer.token('one'))).toBe('good');
  }
  await issuer.clock.advance(REFRESH_MS);
  expect(await issuer.verify(issuer.token('one'))).toBe(UNAVAILABLE);
  issuer.works();
  await issuer.clock.advance(1_000);
  expect(await issuer.verify(issuer.token('one'))).toBe('good');
  expect(issuer.changes).toEqual([
    "The issuer's keys cannot be had: it answers 500",
    "The issuer's keys can be fetched again",
  ]);
});

it('without any keys, asks a failing issuer once a second', async () => {
  issuer.fails();
  for (let n = 0; n < 10; n++) expect(await issuer.verify(issuer.token('one'))).toBe(UNAVAILABLE);
  expect(issuer.fetches).toBe(1);
  await issuer.clock.advance(1_000);
  expect(await issuer.verify(issuer.token('one'))).toBe(UNAVAILABLE);
  expect(issuer.fetches).toBe(2);
});

it.each([
  ['no JSON', () => new Response('<html>')],
  ['no keys', () => Response.json({ keys: [] })],
  ['something else', () => Response.json(['keys'])],
  ['too many keys', () => Response.json({ keys: Array.from({ length: 101 }, () => ({})) })],
  ['too many bytes', () => new Response(`{"keys": ["${'x'.repeat(300_000)}"]}`)],
  ['a redirect', () => new Response('', { status: 302, headers: { location: 'https://elsewhere.example' } })],
])('takes %s for no keys, and keeps those that it has', async (_what, answer) => {
  issuer.answer = answer;
  expect(await issuer.verify(issuer.token('one'))).toBe(UNAVAILABLE);
  issuer.works();
  await issuer.clock.advance(1_000);
  expect(await issuer.verify(issuer.token('one'))).toBe('good');
  issuer.answer = answer;
  await issuer.clock.advance(REFRESH_MS);
  expect(await issuer.verify(issuer.token('one'))).toBe('good');
  await issuer.clock.advance(0);
  expect(await issuer.verify(issuer.token('one'))).toBe('good');
});
