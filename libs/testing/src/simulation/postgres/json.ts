import { Numeric } from './numeric.ts';
import { PostgresError } from './postgres-error.ts';

/** A parsed JSON value. */
export type Json =
  null | boolean | number | string | Numeric | readonly Json[] | { readonly [key: string]: Json };

export function parseJson(text: string, type = 'json'): Json {
  try {
    return JSON.parse(text) as Json;
  } catch {
    throw new PostgresError('22P02', `invalid input syntax for type ${type}`, {
      detail: `The text is ${text.slice(0, 100)}`,
    });
  }
}

/** The text that Postgres makes of a jsonb: keys by length and bytes, each once, with its own spacing. */
export function canonicalJson(text: string): string {
  if (text.includes('\\u0000')) {
    throw new PostgresError('22P05', 'unsupported Unicode escape sequence', {
      detail: '\\u0000 cannot be converted to text.',
    });
  }
  const value = parseJson(text, 'jsonb');
  return typeof value === 'string' ? JSON.stringify(value) : formatJson(value);
}

export function formatJson(value: Json): string {
  if (value === null || typeof value === 'boolean') return String(value);
  if (typeof value === 'number') {
    const text = String(value);
    return text.includes('e') ? Numeric.parse(text).toString() : text;
  }
  if (typeof value === 'string') return JSON.stringify(value);
  if (value instanceof Numeric) return value.toString();
  if (Array.isArray(value)) return `[${(value as readonly Json[]).map(formatJson).join(', ')}]`;
  const object = value as Readonly<Record<string, Json>>;
  const keys = Object.keys(object);
  if (keys.length > 1) keys.sort(byLengthAndBytes);
  return `{${keys.map((key) => `${JSON.stringify(key)}: ${formatJson(object[key] ?? null)}`).join(', ')}}`;
}

function byLengthAndBytes(a: string, b: string): number {
  const difference = Buffer.byteLength(a) - Buffer.byteLength(b);
  return difference !== 0 ? difference : a < b ? -1 : a > b ? 1 : 0;
}

/** What `->>` makes of a member. */
export function jsonText(value: Json): string | null {
  if (value === null) return null;
  return typeof value === 'string' ? value : formatJson(value);
}

/** Whether `whole` contains `part` (jsonb `@>`). */
export function contains(whole: Json, part: Json): boolean {
  if (Array.isArray(part)) {
    return (
      Array.isArray(whole) &&
      (part as readonly Json[]).every((item) =>
        (whole as readonly Json[]).some((each) => contains(each, item)),
      )
    );
  }
  if (Array.isArray(whole)) return (whole as readonly Json[]).some((each) => each === part);
  if (typeof part === 'object' && part !== null && !(part instanceof Numeric)) {
    if (typeof whole !== 'object' || whole === null || whole instanceof Numeric) return false;
    const object = whole as Readonly<Record<string, Json>>;
    return Object.entries(part as Readonly<Record<string, Json>>).every(
      ([key, value]) => Object.hasOwn(object, key) && contains(object[key] ?? null, value),
    );
  }
  return whole === part;
}
