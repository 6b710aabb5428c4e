import { z } from 'zod';
import type { ValueComments } from './doc-comments.ts';

export type Json = Record<string, unknown>;

/** The regular expressions by which zod checks a format: the format says it already. */
const formatPatterns: ReadonlySet<unknown> = new Set(
  [z.uuid(), z.email(), z.iso.datetime(), z.iso.date(), z.iso.time(), z.iso.duration()].map(
    (schema) => z.toJSONSchema(schema).pattern,
  ),
);

/**
 * A JSON Schema, or a document with schemas in it, as people and programs of other languages should read it:
 * without the dialect, without the expressions behind formats, and without the bounds of safe integers. With
 * `open`, objects may have fields that are not listed, because receivers drop what they do not know.
 */
export function tidySchema(value: unknown, options: { readonly open?: boolean } = {}): unknown {
  if (Array.isArray(value)) return value.map((each) => tidySchema(each, options));
  if (!isJson(value)) return value;
  const { open = false } = options;
  return Object.fromEntries(
    Object.entries(value)
      .filter(
        ([name, each]) =>
          name !== '$schema' &&
          !(name === 'pattern' && 'format' in value && formatPatterns.has(each)) &&
          !(name === 'minimum' && each === Number.MIN_SAFE_INTEGER) &&
          !(name === 'maximum' && each === Number.MAX_SAFE_INTEGER) &&
          !(open && name === 'additionalProperties' && each === false),
      )
      .map(([name, each]) => [name, tidySchema(each, options)]),
  );
}

/** Adds what the comments say of a value and its parts, where the schema says nothing itself. */
export function describeSchema(schema: Json, comments: ValueComments | undefined): Json {
  if (comments === undefined) return schema;
  const { text, fields = {}, items } = comments;
  const { properties, items: element } = schema;
  return {
    ...(text !== undefined && { description: text }),
    ...schema,
    ...(isJson(properties) && {
      properties: Object.fromEntries(
        Object.entries(properties).map(([name, each]) => [
          name,
          isJson(each) ? describeSchema(each, fields[name]) : each,
        ]),
      ),
    }),
    ...(isJson(element) && { items: describeSchema(element, items) }),
  };
}

export function isJson(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The object under a name; empty where there is none. */
export function at(value: unknown, ...path: readonly string[]): Json {
  let found: unknown = value;
  for (const name of path) found = isJson(found) ? found[name] : undefined;
  return isJson(found) ? found : {};
}

/** A value of a document as text; empty where there is none. */
export function textOf(value: unknown): string {
  return typeof value === 'string' ? value : value === undefined ? '' : JSON.stringify(value);
}

/** A document as it is kept in a file: each value on a line of its own, so that changes show and merge. */
export function documentText(document: unknown): string {
  return `${JSON.stringify(document, null, 2)}\n`;
}
