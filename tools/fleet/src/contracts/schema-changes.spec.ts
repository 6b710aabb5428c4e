import { z } from 'zod';
import { schemaChanges, type Position } from './schema-changes.ts';
import { tidySchema, type Json } from './schema-document.ts';

const schema = (type: z.ZodType): Json => tidySchema(z.toJSONSchema(type, { target: 'draft-7' })) as Json;

/** What breaks where; `request`, `stored`, `answer`. */
type Verdict = readonly [request: boolean, stored: boolean, answer: boolean];
const ALWAYS: Verdict = [true, true, true];
const NEVER: Verdict = [false, false, false];
const NARROWER: Verdict = [true, true, false];
const WIDER: Verdict = [false, true, true];

const a = z.string();
const object = z.object({ a });

const rules: readonly [rule: string, before: z.ZodType, after: z.ZodType, path: string, verdict: Verdict][] =
  [
    ['a new optional field', object, z.object({ a, b: a.optional() }), 'b', NEVER],
    ['a new required field', object, z.object({ a, b: a }), 'b', NARROWER],
    ['a new field with a default', object, z.object({ a, b: a.default('x') }), 'b', NEVER],
    ['a field that is gone', z.object({ a, b: a }), object, 'b', ALWAYS],
    ['an optional field that is gone', z.object({ a, b: a.optional() }), object, 'b', ALWAYS],
    ['a field that became required', z.object({ a: a.optional() }), object, 'a', NARROWER],
    ['a field that became optional', object, z.object({ a: a.optional() }), 'a', WIDER],
    ['another type', object, z.object({ a: z.number() }), 'a', ALWAYS],
    ['a number that became whole', z.number().min(0), z.int().min(0), '', NARROWER],
    ['a whole number that became any', z.int().min(0), z.number().min(0), '', WIDER],
    ['a value that may be null', a, a.nullable(), '', WIDER],
    ['a value that may not be null any more', a.nullable(), a, '', NARROWER],
    ['a new value', z.enum(['x']), z.enum(['x', 'y']), '', WIDER],
    ['a value that is gone', z.enum(['x', 'y']), z.enum(['x']), '', ALWAYS],
    ['a constant that became a choice', z.literal('x'), z.enum(['x', 'y']), '', WIDER],
    ['a text that became a choice', a, z.enum(['x']), '', NARROWER],
    ['a choice that became a text', z.enum(['x']), a, '', WIDER],
    ['a tighter length', a.max(10), a.max(9), '', NARROWER],
    ['a looser length', a.max(9), a.max(10), '', WIDER],
    ['a new length', a, a.max(10), '', NARROWER],
    ['a shorter list', z.array(a).max(3), z.array(a).max(2), '', NARROWER],
    ['a higher minimum', z.int().min(1), z.int().min(2), '', NARROWER],
    ['a lower minimum', z.int().min(2), z.int().min(1), '', WIDER],
    ['a new pattern', a, a.regex(/^x/), '', NARROWER],
    ['another pattern', a.regex(/^x/), a.regex(/^y/), '', ALWAYS],
    ['a format', a, z.uuid(), '', NARROWER],
    ['a format that is gone', z.uuid(), a, '', WIDER],
    ['entries of a list', z.array(object), z.array(z.object({ a, b: a })), '[].b', NARROWER],
    ['a field of a field', z.object({ o: object }), z.object({ o: z.object({}) }), 'o.a', ALWAYS],
    ['values of a record', z.record(a, z.string()), z.record(a, z.number()), '.*', ALWAYS],
    [
      'a new variant',
      z.union([z.object({ k: z.literal('x') })]),
      z.union([z.object({ k: z.literal('x') }), z.object({ k: z.literal('y') })]),
      '',
      WIDER,
    ],
    [
      'a variant that is gone',
      z.union([z.object({ k: z.literal('x') }), z.object({ k: z.literal('y') })]),
      z.union([z.object({ k: z.literal('x') })]),
      '',
      ALWAYS,
    ],
    [
      'a field of a variant',
      z.union([z.object({ k: z.literal('x') }), z.object({ k: z.literal('y'), a })]),
      z.union([z.object({ k: z.literal('x') }), z.object({ k: z.literal('y'), a: z.number() })]),
      'a',
      ALWAYS,
    ],
    ['fields that are not listed', z.looseObject({ a }), z.strictObject({ a }), '', NARROWER],
    ['what it cannot compare', z.tuple([a]), z.tuple([a, a]), '', ALWAYS],
  ];

describe('a change of a schema', () => {
  it.each(rules)('%s', (_, before, after, path, verdict) => {
    const positions: readonly Position[] = ['request', 'stored', 'answer'];
    const found = positions.map((position) => schemaChanges(schemaFor(before), schemaFor(after), position));
    for (const changes of found) {
      expect(changes.length).toBeGreaterThan(0);
      expect(changes.map((change) => change.path)).toContain(path);
    }
    expect(found.map((changes) => changes.some(({ breaking }) => breaking))).toEqual(verdict);
  });

  it('is none when only words, the order of fields or the way of writing a bound differ', () => {
    const before = {
      type: 'object',
      properties: { a: { type: 'integer', exclusiveMinimum: 0 }, b: {} },
      required: ['a', 'b'],
    };
    const after = {
      type: 'object',
      description: 'new words',
      properties: { b: { description: 'anything' }, a: { type: 'integer', minimum: 1 } },
      required: ['b', 'a'],
    };
    expect(schemaChanges(before, after, 'stored')).toEqual([]);
  });

  it('of a field that is called like a keyword is a change of that field', () => {
    const before = schema(z.object({ description: a, title: a }));
    const after = schema(z.object({ description: z.number(), title: a }));
    expect(schemaChanges(before, after, 'request')).toEqual([
      { path: 'description', text: 'the type string became number', breaking: true },
    ]);
  });

  it('says what a default became, which breaks nobody', () => {
    const changes = schemaChanges(schema(z.int().default(1)), schema(z.int().default(2)), 'stored');
    expect(changes).toEqual([{ path: '', text: 'the default 1 became 2', breaking: false }]);
  });
});

/** The schema of a value that is written, in which a field with a default may be left out. */
function schemaFor(type: z.ZodType): Json {
  return tidySchema(z.toJSONSchema(type, { target: 'draft-7', io: 'input' })) as Json;
}
