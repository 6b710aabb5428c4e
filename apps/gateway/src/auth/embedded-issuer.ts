import { readFile, writeFile } from 'node:fs/promises';
import { FlotillaError } from '@flotilla/kernel';
import { exportJWK, generateKeyPair, importJWK, SignJWT, type CryptoKey, type JSONWebKeySet, type JWK } from 'jose';

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

  /** With the key in `keyFile`, made if there is none; without a file, with a new key. */
  static async create(issuer: string, audience: string, keyFile?: string): Promise<EmbeddedIssuer> {
    const jwk = (keyFile && (await readKey(keyFile))) || (await newKey(keyFile));
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
  const jwk = JSON.parse(text) as JWK;
  if (jwk.kty !== 'EC' || jwk.d === undefined) {
    throw new FlotillaError('INVALID_SIGNING_KEY', `${file} holds no private EC key as a JWK: remove it, and a new one is made`, {
      retry: 'never',
    });
  }
  return jwk;
}

async function newKey(file: string | undefined): Promise<JWK> {
  const { privateKey } = await generateKeyPair(ALGORITHM, { extractable: true });
  const jwk: JWK = { ...(await exportJWK(privateKey)), alg: ALGORITHM, use: 'sig', kid: crypto.randomUUID() };
  if (file) await writeFile(file, JSON.stringify(jwk), { mode: 0o600 });
  return jwk;
}
