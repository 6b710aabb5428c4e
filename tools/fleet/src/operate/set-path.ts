import { UsageError } from '../fleet.errors.ts';

/** One change to a body: where, and what is to be there. */
export interface Change {
  /** `lines[0].quantity` as its parts. */
  readonly path: readonly (string | number)[];
  readonly value: unknown;
}

/** Reads `lines[0].quantity=2`: the value is JSON, or a text where it is none. */
export function readChange(text: string): Change {
  const equals = text.indexOf('=');
  const path = equals < 1 ? undefined : readPath(text.slice(0, equals));
  if (path === undefined)
    throw new UsageError(`"${text}" is no change: write path=value, for example lines[0].quantity=2`);
  return { path, value: readValue(text.slice(equals + 1)) };
}

/** A copy with the changes made. Throws when a path leads through something that is not there. */
export function withChanges(body: unknown, changes: readonly Change[]): unknown {
  const copy = structuredClone(body);
  for (const { path, value } of changes) {
    let at: unknown = copy;
    for (const [depth, part] of path.entries()) {
      if (typeof at !== 'object' || at === null || (typeof part === 'number') !== Array.isArray(at))
        throw new UsageError(
          `There is no ${written(path)} in the body: ${written(path.slice(0, depth)) || 'it'} has no ${written([part])}`,
        );
      const holder = at as Record<string | number, unknown>;
      if (depth < path.length - 1) at = holder[part];
      else holder[part] = value;
    }
  }
  return copy;
}

function readPath(text: string): (string | number)[] | undefined {
  const parts: (string | number)[] = [];
  const one = /(?:^|\.)([^.[\]=]+)|\[(\d{1,6})\]/y;
  while (one.lastIndex < text.length) {
    const match = one.exec(text);
    if (match === null) return undefined;
    const [, name, index] = match;
    if (name === '__proto__') return undefined;
    parts.push(name ?? Number(index));
  }
  return parts.length === 0 ? undefined : parts;
}

function readValue(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function written(path: readonly (string | number)[]): string {
  return path
    .map((part, n) => (typeof part === 'number' ? `[${part}]` : n === 0 ? part : `.${part}`))
    .join('');
}
