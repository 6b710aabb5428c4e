import { link, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { FlotillaError } from '@flotilla/kernel';
import { exportJWK, generateKeyPair, type JWK } from 'jose';

/** What the embedded issuer signs with. */
export const SIGNING_ALGORITHM = 'ES256';
/** The longest life of a token, in seconds: as long does a key that no longer signs still verify. */
export const MAX_TOKEN_TTL_SECONDS = 86_400;
/** However often keys are rotated within a day, no more than these are known: the file and the JWKS stay small. */
const MAX_KEYS = 8;

/** A private key of the embedded issuer, as its file has it. */
export interface SigningKey extends JWK {
  readonly kid: string;
  /** Since when it no longer signs, in seconds since the epoch. Never published. */
  readonly retiredAt?: number;
}

/** The keys of a file: the first signs, all verify. */
export type SigningKeys = readonly [SigningKey, ...SigningKey[]];

/** A new pair of keys for ES256, as a private JWK with an id of its own. */
export async function newSigningKey(): Promise<SigningKey> {
  const { privateKey } = await generateKeyPair(SIGNING_ALGORITHM, { extractable: true });
  const jwk = await exportJWK(privateKey);
  return { ...jwk, alg: SIGNING_ALGORITHM, use: 'sig', kid: crypto.randomUUID() };
}

/** What may be published of a key. */
export function publicPart({ d: _private, retiredAt: _when, ...jwk }: SigningKey): JWK {
  return jwk;
}

/** The keys of the file, made if there is none. Throws `INVALID_SIGNING_KEY` for what is no key file. */
export async function openSigningKeys(file: string, nowMs: number): Promise<SigningKeys> {
  return (await readSigningKeys(file, nowMs)) ?? (await firstKeys(file, nowMs));
}

/** The keys that the file has and that may still verify something; undefined if there is no file. */
export async function readSigningKeys(file: string, nowMs: number): Promise<SigningKeys | undefined> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  const [first, ...others] = keysIn(text);
  if (!first) {
    throw new FlotillaError(
      'INVALID_SIGNING_KEY',
      `${file} holds no private EC keys as JWKs: remove it, and a new one is made`,
      { retry: 'never' },
    );
  }
  const oldest = nowMs / 1_000 - MAX_TOKEN_TTL_SECONDS;
  return [first, ...others.filter(({ retiredAt = Infinity }) => retiredAt > oldest)];
}

/** What tells one content of the file from another without reading it; undefined if there is no file. */
export async function versionOf(file: string): Promise<string | undefined> {
  try {
    const { ino, mtimeMs, size } = await stat(file);
    return `${ino} ${mtimeMs} ${size}`;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/**
 * Gives the file a new key that signs from now on; every gateway that uses the file follows within seconds. The keys
 * of before verify the tokens that they have signed until the last of these ends; with `revoke` they do so no more.
 * One rotation at a time: of two at once, the later wins.
 */
export async function rotateSigningKeys(
  file: string,
  { nowMs, revoke = false }: { readonly nowMs: number; readonly revoke?: boolean },
): Promise<SigningKeys> {
  const known = revoke ? [] : ((await readSigningKeys(file, nowMs)) ?? []);
  const retiredAt = Math.floor(nowMs / 1_000);
  const keys: SigningKeys = [
    await newSigningKey(),
    ...known.map((key) => ({ retiredAt, ...key })).slice(0, MAX_KEYS - 1),
  ];
  const draft = await draftOf(file, keys);
  await rename(draft, file);
  return keys;
}

function keysIn(text: string): SigningKey[] {
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch {
    return [];
  }
  if (typeof content !== 'object' || content === null) return [];
  // The file of an earlier version is one key.
  const keys: unknown = 'keys' in content ? content.keys : [content];
  return Array.isArray(keys) && keys.every(isSigningKey) ? keys : [];
}

function isSigningKey(value: unknown): value is SigningKey {
  if (typeof value !== 'object' || value === null) return false;
  const { kty, d, kid } = value as Record<string, unknown>;
  return kty === 'EC' && typeof d === 'string' && typeof kid === 'string';
}

/** Makes the file; a process that starts at the same time may have been first. */
async function firstKeys(file: string, nowMs: number): Promise<SigningKeys> {
  const keys: SigningKeys = [await newSigningKey()];
  const draft = await draftOf(file, keys);
  try {
    await link(draft, file);
    return keys;
  } catch (error) {
    const others = await readSigningKeys(file, nowMs);
    if (!others) throw error;
    return others;
  } finally {
    await rm(draft);
  }
}

/** Written aside: whoever sees the file sees all of it. */
async function draftOf(file: string, keys: SigningKeys): Promise<string> {
  const draft = `${file}.${crypto.randomUUID()}`;
  await writeFile(draft, JSON.stringify({ keys }), { mode: 0o600 });
  return draft;
}
