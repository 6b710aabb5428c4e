import { withoutPersonalData } from '@flotilla/kernel';
import { isNativeError } from 'node:util/types';
import { stdSerializers } from 'pino';

const censored = '[redacted]';
const deepest = 6;

/**
 * A function that returns its argument with the values of secret fields replaced, at any depth down to six, names
 * compared without case, and with errors as objects that JSON can show. What holds neither is returned as it is;
 * nothing is changed in place.
 */
export function redactor(secrets: readonly string[]): <T>(value: T) => T {
  const names = new Set(secrets.map((name) => name.toLowerCase()));
  const known = new Map<string, boolean>();
  const isSecret = (key: string): boolean => {
    let secret = known.get(key);
    if (secret === undefined) {
      secret = names.has(key.toLowerCase());
      // Keys may be data (a map by id): what is remembered stays bounded.
      if (known.size < 2_000) known.set(key, secret);
    }
    return secret;
  };

  const redact = (value: unknown, depth: number): unknown => {
    if (typeof value !== 'object' || value === null || depth > deepest) return value;
    if (isNativeError(value)) {
      const shown: Record<string, unknown> = stdSerializers.err(value);
      for (const [key, field] of Object.entries(shown))
        shown[key] = isSecret(key) ? censored : redact(field, depth + 1);
      return shown;
    }
    if (ArrayBuffer.isView(value) || typeof (value as { toJSON?: unknown }).toJSON === 'function')
      return value;
    let copy: Record<string, unknown> | undefined;
    for (const [key, field] of Object.entries(value)) {
      const clean =
        isSecret(key) && field !== undefined && field !== null ? censored : redact(field, depth + 1);
      if (clean !== field) {
        copy ??= (Array.isArray(value) ? [...(value as unknown[])] : { ...value }) as Record<string, unknown>;
        copy[key] = clean;
      }
    }
    return copy ?? value;
  };
  return <T>(value: T) => redact(value, 1) as T;
}

const urlCredentials = /([a-z][a-z0-9+.-]*:\/\/)[^\s/@"\\]+@/gi;

/**
 * The line without what must not be in it whatever field it stands in: the user and password of URLs, e-mail
 * addresses, card numbers, tokens.
 */
export function withoutSecrets(line: string): string {
  return withoutPersonalData(line.includes('://') ? line.replace(urlCredentials, `$1${censored}@`) : line);
}
