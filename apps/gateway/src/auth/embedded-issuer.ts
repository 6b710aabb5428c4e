import { FlotillaError, systemClock, type Clock } from '@flotilla/kernel';
import {
  createLocalJWKSet,
  importJWK,
  SignJWT,
  type CryptoKey,
  type JSONWebKeySet,
  type JWTVerifyGetKey,
} from 'jose';
import type { GatewayConfig } from '../gateway.config.ts';
import {
  newSigningKey,
  openSigningKeys,
  publicPart,
  readSigningKeys,
  SIGNING_ALGORITHM,
  versionOf,
  type SigningKeys,
} from './signing-keys.ts';

/** How long a rotation of the file may go unnoticed, in milliseconds. Looking costs one `stat`. */
const LOOK_EVERY_MS = 1_000;

export interface IssueOptions {
  readonly subject: string;
  readonly scope: string;
  readonly ttlSeconds: number;
}

export interface EmbeddedIssuerOptions {
  readonly issuer: string;
  readonly audience: string;
  /** Keeps the keys; without it they end with the process. */
  readonly keyFile?: string | undefined;
  readonly clock?: Clock;
}

/** What is made of one content of the key file. */
interface Loaded {
  readonly version: string | undefined;
  readonly kid: string;
  readonly key: CryptoKey | Uint8Array;
  readonly jwks: JSONWebKeySet;
  readonly verifyingKeys: JWTVerifyGetKey;
}

/**
 * Issues tokens to anybody who asks: for development and tests. Follows its key file, so that a rotation
 * (`fleet auth rotate`) counts in every process within a second or two, without a restart.
 */
export class EmbeddedIssuer {
  readonly #options: EmbeddedIssuerOptions;
  readonly #clock: Clock;
  #loaded: Loaded;
  #lookedAtMs: number;
  #looking: Promise<void> | undefined;

  private constructor(options: EmbeddedIssuerOptions, clock: Clock, loaded: Loaded) {
    this.#options = options;
    this.#clock = clock;
    this.#loaded = loaded;
    this.#lookedAtMs = clock.monotonicMs();
  }

  /** The issuer that the configuration asks for, if any. Throws where nobody may get a token for the asking. */
  static async fromConfig(config: GatewayConfig, clock?: Clock): Promise<EmbeddedIssuer | undefined> {
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
    return EmbeddedIssuer.create({
      issuer: config.authIssuer,
      audience: config.authAudience,
      keyFile: config.authSigningKeyFile,
      ...(clock && { clock }),
    });
  }

  /** With the keys of the key file, made if there are none; without a file, with a new key. */
  static async create(options: EmbeddedIssuerOptions): Promise<EmbeddedIssuer> {
    const { keyFile, clock = systemClock } = options;
    if (keyFile === undefined)
      return new EmbeddedIssuer(options, clock, await load(undefined, [await newSigningKey()]));
    // The version first: what is written after it is found at the next look.
    let version = await versionOf(keyFile);
    const keys = await openSigningKeys(keyFile, clock.now());
    version ??= await versionOf(keyFile);
    return new EmbeddedIssuer(options, clock, await load(version, keys));
  }

  /** The public keys: of the key that signs, and of those whose tokens may still be about. */
  async jwks(): Promise<JSONWebKeySet> {
    await this.#follow();
    return this.#loaded.jwks;
  }

  /** For verifying: looks after the key file first. */
  readonly verifyingKeys: JWTVerifyGetKey = async (header, token) => {
    await this.#follow();
    return this.#loaded.verifyingKeys(header, token);
  };

  async issue({ subject, scope, ttlSeconds }: IssueOptions): Promise<string> {
    await this.#follow();
    const { kid, key } = this.#loaded;
    return new SignJWT({ scope })
      .setProtectedHeader({ alg: SIGNING_ALGORITHM, kid })
      .setSubject(subject)
      .setIssuer(this.#options.issuer)
      .setAudience(this.#options.audience)
      .setIssuedAt()
      .setExpirationTime(`${ttlSeconds}s`)
      .sign(key);
  }

  /** Reads the key file again if it is another one than before; asked often, it looks seldom. */
  #follow(): Promise<void> | undefined {
    const { keyFile } = this.#options;
    if (keyFile === undefined) return undefined;
    if (this.#clock.monotonicMs() - this.#lookedAtMs < LOOK_EVERY_MS) return this.#looking;
    this.#lookedAtMs = this.#clock.monotonicMs();
    this.#looking ??= this.#look(keyFile).finally(() => (this.#looking = undefined));
    return this.#looking;
  }

  async #look(keyFile: string): Promise<void> {
    const version = await versionOf(keyFile);
    if (version === this.#loaded.version) return;
    const keys = await readSigningKeys(keyFile, this.#clock.now());
    // A file that is gone, as after `fleet up --fresh` beside a gateway that runs: its keys go on.
    if (keys) this.#loaded = await load(version, keys);
  }
}

async function load(version: string | undefined, keys: SigningKeys): Promise<Loaded> {
  const [signing] = keys;
  const jwks = { keys: keys.map(publicPart) };
  return {
    version,
    kid: signing.kid,
    key: await importJWK(signing, SIGNING_ALGORITHM),
    jwks,
    verifyingKeys: createLocalJWKSet(jwks),
  };
}
