import { link, readFile, rm, writeFile } from 'node:fs/promises';
import { FlotillaError } from '@flotilla/kernel';
import {
  exportJWK,
  generateKeyPair,
  importJWK,
  SignJWT,
  type CryptoKey,
  type JSONWebKeySet,
  type JWK,
} from 'jose';
import type { GatewayConfig } from '../gateway.config.ts';

const ALGORITHM = 'ES256';

export interface IssueOptions {
  readonly subject: string;
  readonly scope: string;
  readonly ttlSeconds: number;
}

/** Issues tokens to anybody who asks: for development and tests. */
export class EmbeddedIssuer {
  readonly #key: CryptoKey | Uint8Array;
  readonly #publicJwk: JWK;
  readonly #issuer: string;
  readonly #audience: string;

  private constructor(key: CryptoKey | Uint8Array, publicJwk: JWK, issuer: string, audience: string) {
    this.#key = key;
    this.#publicJwk = publicJwk;
    this.#issuer = issuer;
    this.#audience = audience;
  }

  /** The issuer that the configuration asks for, if any. Throws where nobody may get a token for the asking. */
  static async fromConfig(config: GatewayConfig): Promise<EmbeddedIssuer | undefined> {
    if (!config.authEmbeddedIssuer) return undefined;
    if (config.environment === 'production') {
      throw new FlotillaError(
        'EMBEDDED_ISSUER_IN_PRODUCTION',
        'AUTH_EMBEDDED_ISSUER gives tokens to anybody and is refused in production: set AUTH_JWKS_URL to a real issuer',
        { retry: 'never' },
      );
    }
    if (config.authJwksUrl !== undefined) {
      throw new FlotillaError(
        'TWO_TOKEN_ISSUERS',
        'AUTH_EMBEDDED_ISSUER and AUTH_JWKS_URL are both set: choose whose tokens count',
        { retry: 'never' },
      );
    }
    return EmbeddedIssuer.create(config.authIssuer, config.authAudience, config.authSigningKeyFile);
  }

  /** With the key in `keyFile`, made if there is none; without a file, with a new key. */
  static async create(issuer: string, audience: string, keyFile?: string): Promise<EmbeddedIssuer> {
    const jwk =
      keyFile === undefined ? await newKey() : ((await readKey(keyFile)) ?? (await firstKey(keyFile)));
    const { d: _private, ...publicJwk } = jwk;
    return new EmbeddedIssuer(await importJWK(jwk, ALGORITHM), publicJwk, issuer, audience);
  }

  /** The public keys. */
  get jwks(): JSONWebKeySet {
    return { keys: [this.#publicJwk] };
  }

  issue({ subject, scope, ttlSeconds }: IssueOptions): Promise<string> {
    const { kid } = this.#publicJwk;
    return new SignJWT({ scope })
      .setProtectedHeader({ alg: ALGORITHM, ...(kid !== undefined && { kid }) })
      .setSubject(subject)
      .setIssuer(this.#issuer)
      .setAudience(this.#audience)
      .setIssuedAt()
      .setExpirationTime(`${ttlSeconds}s`)
      .sign(this.#key);
  }
}

async function readKey(file: string): Promise<JWK | undefined> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  const jwk = parseJwk(text);
  if (jwk?.kty !== 'EC' || jwk.d === undefined) {
    throw new FlotillaError(
      'INVALID_SIGNING_KEY',
      `${file} holds no private EC key as a JWK: remove it, and a new one is made`,
      {
        retry: 'never',
      },
    );
  }
  return jwk;
}

function parseJwk(text: string): JWK | undefined {
  try {
    return JSON.parse(text) as JWK;
  } catch {
    return undefined;
  }
}

/** Makes the key of the file; a process that starts at the same time may have been first. */
async function firstKey(file: string): Promise<JWK> {
  const jwk = await newKey();
  const draft = `${file}.${crypto.randomUUID()}`;
  // Written aside and linked: whoever sees the file sees all of it.
  await writeFile(draft, JSON.stringify(jwk), { mode: 0o600 });
  try {
    await link(draft, file);
    return jwk;
  } catch (error) {
    const other = await readKey(file);
    if (!other) throw error;
    return other;
  } finally {
    await rm(draft);
  }
}

async function newKey(): Promise<JWK> {
  const { privateKey } = await generateKeyPair(ALGORITHM, { extractable: true });
  return { ...(await exportJWK(privateKey)), alg: ALGORITHM, use: 'sig', kid: crypto.randomUUID() };
}
