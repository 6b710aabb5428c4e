import { errorMessage, type Clock } from '@flotilla/kernel';
import {
  createLocalJWKSet,
  errors,
  type CompactJWSHeaderParameters,
  type FlattenedJWSInput,
  type JWTVerifyGetKey,
} from 'jose';

/** The largest set that is read, in bytes, and in keys. */
const MAX_BYTES = 256 * 1_024;
const MAX_KEYS = 100;
/** After a failed fetch without any keys to go on with, the next one waits this long, in milliseconds. */
const FAILURE_PAUSE_MS = 1_000;

export interface RemoteKeysOptions {
  readonly url: string;
  /** How often, at most, an unknown key id makes the keys be fetched, in milliseconds. */
  readonly cooldownMs: number;
  /** After this the keys are fetched again, while those that are known go on, in milliseconds. */
  readonly refreshMs: number;
  /** How long known keys serve while they cannot be fetched, in milliseconds. */
  readonly maxStaleMs: number;
  /** How long one fetch may take, in milliseconds. */
  readonly timeoutMs: number;
  readonly clock: Clock;
  /** Told when fetching begins to fail and when it works again: once each. */
  readonly onChange?: (message: string) => void;
  readonly fetch?: typeof fetch;
}

/** Thrown when the issuer's keys cannot be had: nothing can be said of a token. */
export class KeysUnavailableError extends Error {
  constructor(reason: string, options: { readonly cause?: unknown } = {}) {
    super(`The issuer's keys cannot be had: ${reason}`, options);
    this.name = 'KeysUnavailableError';
  }
}

interface Known {
  readonly text: string;
  readonly select: JWTVerifyGetKey;
}

/**
 * The keys that an issuer publishes (JWKS). One fetch at a time, whoever asks; an unknown key id causes one at most
 * every cool-down, whether the last one succeeded or not, so that forged ids flood nobody; keys are fetched again in
 * the background while the known ones serve; when that fails they serve on, for a bounded time. A key that the issuer
 * takes out is out with the next fetch.
 */
export class RemoteKeys {
  readonly #options: RemoteKeysOptions;
  #known: Known | undefined;
  #fetchedAtMs = -Infinity;
  #triedAtMs = -Infinity;
  #failure: KeysUnavailableError | undefined;
  #flight: Promise<void> | undefined;

  constructor(options: RemoteKeysOptions) {
    this.#options = options;
  }

  /** The key of a token. Throws {@link KeysUnavailableError}, or an error of `jose` that says what the token lacks. */
  readonly get: JWTVerifyGetKey = async (header, token) => {
    const { clock, refreshMs, maxStaleMs } = this.#options;
    const ageMs = clock.monotonicMs() - this.#fetchedAtMs;
    if (!this.#known || ageMs >= maxStaleMs) await this.#need();
    else if (ageMs >= refreshMs && this.#isDue()) void this.#fetch();
    return this.#select(header, token);
  };

  async #select(header: CompactJWSHeaderParameters, token: FlattenedJWSInput) {
    const known = this.#known;
    if (!known) throw this.#failure ?? new KeysUnavailableError('they were not fetched');
    try {
      return await known.select(header, token);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
      if (this.#isDue()) await this.#fetch();
      else await this.#flight;
      // While the issuer is away nobody knows whether the key is new or made up.
      if (this.#failure) throw this.#failure;
      if (this.#known === known || !this.#known) throw error;
      return this.#known.select(header, token);
    }
  }

  /** Fetches, unless that failed a moment ago. Throws when there are no keys afterwards. */
  async #need(): Promise<void> {
    const { clock, cooldownMs } = this.#options;
    const pauseMs = Math.min(cooldownMs, FAILURE_PAUSE_MS);
    if (!this.#flight && this.#failure && clock.monotonicMs() - this.#triedAtMs < pauseMs)
      throw this.#failure;
    await this.#fetch();
    if (this.#failure) throw this.#failure;
  }

  #isDue(): boolean {
    return this.#options.clock.monotonicMs() - this.#triedAtMs >= this.#options.cooldownMs;
  }

  /** One flight for all; never rejects. */
  #fetch(): Promise<void> {
    if (!this.#flight) {
      this.#triedAtMs = this.#options.clock.monotonicMs();
      this.#flight = this.#load().finally(() => (this.#flight = undefined));
    }
    return this.#flight;
  }

  async #load(): Promise<void> {
    try {
      const text = await this.#read();
      // The same set keeps the keys that were imported from it.
      if (text !== this.#known?.text) this.#known = { text, select: createLocalJWKSet(keySet(text)) };
      this.#fetchedAtMs = this.#options.clock.monotonicMs();
      if (this.#failure) this.#options.onChange?.("The issuer's keys can be fetched again");
      this.#failure = undefined;
    } catch (error) {
      const failure = new KeysUnavailableError(errorMessage(error), { cause: error });
      if (!this.#failure) this.#options.onChange?.(failure.message);
      this.#failure = failure;
    }
  }

  async #read(): Promise<string> {
    const { url, timeoutMs, fetch: request = fetch } = this.#options;
    const response = await request(url, {
      headers: { accept: 'application/json, application/jwk-set+json' },
      redirect: 'error',
      signal: AbortSignal.timeout(timeoutMs),
    });
    if (response.status !== 200) {
      await response.body?.cancel();
      throw new Error(`it answers ${response.status}`);
    }
    const chunks: Uint8Array[] = [];
    let bytes = 0;
    for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
      bytes += chunk.length;
      if (bytes > MAX_BYTES) throw new Error(`it answers with more than ${MAX_BYTES} bytes`);
      chunks.push(chunk);
    }
    return Buffer.concat(chunks).toString('utf8');
  }
}

function keySet(text: string): { keys: object[] } {
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch {
    throw new Error('it does not answer with JSON');
  }
  const keys: unknown =
    typeof content === 'object' && content !== null && 'keys' in content ? content.keys : [];
  if (!Array.isArray(keys) || keys.length === 0) throw new Error('it answers with no keys');
  if (keys.length > MAX_KEYS) throw new Error(`it answers with more than ${MAX_KEYS} keys`);
  // Key types that are not known here are none of our tokens'.
  return { keys: keys.filter((key): key is object => typeof key === 'object' && key !== null) };
}
