import { isDeepStrictEqual } from 'node:util';
import { at, isJson, type Json } from './schema-document.ts';

/**
 * Who may be of an older version than the schema.
 * - `request`: a sender of today writes what the receiver of tomorrow reads (commands, queries, bodies).
 * - `stored`: both ways. A reader of today reads what is written tomorrow, and a reader of tomorrow what was stored
 *   today (events in their streams, remembered replies).
 * - `answer`: a reader of today reads what is written tomorrow (answers over HTTP).
 */
export type Position = 'request' | 'stored' | 'answer';

export interface Change {
  /** Where in the payload; empty: the whole. */
  readonly path: string;
  readonly text: string;
  readonly breaking: boolean;
}

/** What a change does to the set of values that are valid. */
type Effect = 'narrows' | 'widens' | 'replaces';

const breaks: Readonly<Record<Position, Readonly<Record<Effect, boolean>>>> = {
  request: { narrows: true, widens: false, replaces: true },
  stored: { narrows: true, widens: true, replaces: true },
  answer: { narrows: false, widens: true, replaces: true },
};

/** Keywords that say nothing about which values are valid. */
const annotations = [
  'description',
  'title',
  'examples',
  'deprecated',
  'readOnly',
  'writeOnly',
  '$id',
  '$schema',
];

/** Keywords that the comparison takes apart; every other one only stays as it is or is replaced. */
const compared = new Set([
  ...[
    'type',
    'properties',
    'required',
    'items',
    'enum',
    'const',
    'anyOf',
    'oneOf',
    'format',
    'pattern',
    'default',
  ],
  ...['minimum', 'exclusiveMinimum', 'maximum', 'exclusiveMaximum'],
  ...['minLength', 'maxLength', 'minItems', 'maxItems', 'additionalProperties'],
]);

/** How a schema changed, and which of it breaks programs that know only the one before. Pure. */
export function schemaChanges(before: Json, after: Json, position: Position, path = ''): Change[] {
  if (isDeepStrictEqual(bare(before), bare(after))) return [];
  const changes: Change[] = [];
  const say = (effect: Effect, text: string): void => {
    changes.push({ path, text, breaking: breaks[position][effect] });
  };
  const unions = [variantsOf(before), variantsOf(after)] as const;
  if (unions[0] ?? unions[1]) {
    return unionChanges(unions[0] ?? [before], unions[1] ?? [after], position, path);
  }

  const types = [typesOf(before), typesOf(after)] as const;
  const lost = types[0].filter((each) => !accepts(types[1], each));
  const gained = types[1].filter((each) => !accepts(types[0], each));
  if (lost.length > 0 || gained.length > 0) {
    const effect = lost.length > 0 && gained.length > 0 ? 'replaces' : lost.length > 0 ? 'narrows' : 'widens';
    say(effect, `the type ${types[0].join(' or ')} became ${types[1].join(' or ')}`);
    if (effect === 'replaces') return changes;
  }
  valueChanges(before, after, say);
  boundChanges(before, after, say);
  for (const keyword of ['format', 'pattern']) {
    const [was, is] = [before[keyword], after[keyword]];
    if (isDeepStrictEqual(was, is)) continue;
    if (was === undefined) say('narrows', `it must fit the ${keyword} ${JSON.stringify(is)}`);
    else if (is === undefined)
      say('widens', `it need not fit the ${keyword} ${JSON.stringify(was)} any more`);
    else say('replaces', `the ${keyword} ${JSON.stringify(was)} became ${JSON.stringify(is)}`);
  }
  if (!isDeepStrictEqual(before['default'], after['default'])) {
    const [was, is] = [before['default'], after['default']].map((each) => JSON.stringify(each) ?? 'none');
    changes.push({ path, text: `the default ${was} became ${is}`, breaking: false });
  }
  for (const keyword of new Set([...Object.keys(before), ...Object.keys(after)])) {
    if (compared.has(keyword) || annotations.includes(keyword)) continue;
    if (!isDeepStrictEqual(before[keyword], after[keyword])) say('replaces', `${keyword} changed`);
  }

  changes.push(...fieldChanges(before, after, position, path));
  const elements = [before['items'], after['items']] as const;
  if (isJson(elements[0]) && isJson(elements[1])) {
    changes.push(...schemaChanges(elements[0], elements[1], position, `${path}[]`));
  } else if (!isDeepStrictEqual(elements[0], elements[1])) {
    say(
      elements[0] === undefined ? 'narrows' : elements[1] === undefined ? 'widens' : 'replaces',
      'items changed',
    );
  }
  return changes;
}

function fieldChanges(before: Json, after: Json, position: Position, path: string): Change[] {
  const changes: Change[] = [];
  const [was, is] = [at(before, 'properties'), at(after, 'properties')];
  const needed = [before, after].map(({ required }) => new Set((required ?? []) as string[])) as [
    Set<string>,
    Set<string>,
  ];
  for (const name of new Set([...Object.keys(was), ...Object.keys(is)])) {
    const inner = path === '' ? name : `${path}.${name}`;
    const say = (text: string, breaking: boolean): void => {
      changes.push({ path: inner, text, breaking });
    };
    const [old, now] = [was[name], is[name]];
    if (now === undefined) {
      say('the field is gone', true);
    } else if (old === undefined) {
      // A default fills in what the messages of before do not have.
      const must = needed[1].has(name) && at(now)['default'] === undefined;
      say(must ? 'a new required field' : 'a new optional field', must && position !== 'answer');
    } else {
      if (!needed[0].has(name) && needed[1].has(name)) {
        const filled = at(now)['default'] !== undefined;
        say('the field became required', !filled && breaks[position].narrows);
      }
      if (needed[0].has(name) && !needed[1].has(name)) {
        say('the field became optional', breaks[position].widens);
      }
      changes.push(...schemaChanges(at(old), at(now), position, inner));
    }
  }
  const others = [before['additionalProperties'], after['additionalProperties']] as const;
  if (!isDeepStrictEqual(others[0], others[1])) {
    if (isJson(others[0]) && isJson(others[1])) {
      changes.push(...schemaChanges(others[0], others[1], position, `${path}.*`));
    } else if (others[1] === false || others[0] === undefined || others[0] === true) {
      changes.push({
        path,
        text: 'fields that are not listed became restricted',
        breaking: breaks[position].narrows,
      });
    } else if (position === 'request') {
      changes.push({ path, text: 'fields that are not listed became allowed', breaking: false });
    }
  }
  return changes;
}

function valueChanges(before: Json, after: Json, say: (effect: Effect, text: string) => void): void {
  const [was, is] = [valuesOf(before), valuesOf(after)];
  if (was === undefined && is === undefined) return;
  if (was === undefined) return say('narrows', `only ${listed(is ?? [])} are valid`);
  if (is === undefined) return say('widens', `any value is valid, not only ${listed(was)}`);
  const gone = was.filter((each) => !is.includes(each));
  const added = is.filter((each) => !was.includes(each));
  if (gone.length > 0) say('replaces', `${listed(gone)} is no value any more`);
  if (added.length > 0) say('widens', `${listed(added)} is a new value`);
}

function boundChanges(before: Json, after: Json, say: (effect: Effect, text: string) => void): void {
  const whole = typesOf(after).every((type) => type === 'integer');
  const least = [lowest(before, whole), lowest(after, whole)] as const;
  const most = [highest(before, whole), highest(after, whole)] as const;
  bound('minimum', least[0], least[1], 1, say);
  bound('maximum', most[0], most[1], -1, say);
  for (const unit of ['Length', 'Items']) {
    bound(`min${unit}`, numberOf(before[`min${unit}`]), numberOf(after[`min${unit}`]), 1, say);
    bound(`max${unit}`, numberOf(before[`max${unit}`]), numberOf(after[`max${unit}`]), -1, say);
  }
}

/** `direction` is 1 where a greater bound lets less through, -1 where it lets more through. */
function bound(
  name: string,
  was: number | undefined,
  is: number | undefined,
  direction: 1 | -1,
  say: (effect: Effect, text: string) => void,
): void {
  if (was === is) return;
  const tighter = was === undefined || (is !== undefined && (is - was) * direction > 0);
  say(tighter ? 'narrows' : 'widens', `${name} ${was ?? 'none'} became ${is ?? 'none'}`);
}

/** The smallest valid number; where numbers are not whole, an excluded bound counts as just above. */
function lowest(schema: Json, whole: boolean): number | undefined {
  const excluded = numberOf(schema['exclusiveMinimum']);
  const step = whole ? 1 : Number.EPSILON;
  const bounds = [numberOf(schema['minimum']), excluded === undefined ? undefined : excluded + step];
  return bounds.reduce((a, b) => (a === undefined ? b : b === undefined ? a : Math.max(a, b)));
}

function highest(schema: Json, whole: boolean): number | undefined {
  const excluded = numberOf(schema['exclusiveMaximum']);
  const step = whole ? 1 : Number.EPSILON;
  const bounds = [numberOf(schema['maximum']), excluded === undefined ? undefined : excluded - step];
  return bounds.reduce((a, b) => (a === undefined ? b : b === undefined ? a : Math.min(a, b)));
}

/** Variants are the same one when they are equal, or told apart by the same constants. */
function unionChanges(was: readonly Json[], is: readonly Json[], position: Position, path: string): Change[] {
  const changes: Change[] = [];
  const left = [...is];
  const gone: Json[] = [];
  for (const variant of was) {
    const equal = left.findIndex((each) => isDeepStrictEqual(bare(each), bare(variant)));
    const tag = tagOf(variant);
    const same = equal >= 0 || tag === undefined ? equal : left.findIndex((each) => tagOf(each) === tag);
    const found = left[same];
    if (found === undefined) {
      gone.push(variant);
      continue;
    }
    left.splice(same, 1);
    changes.push(...schemaChanges(variant, found, position, path));
  }
  // One that is left on either side is the one that changed.
  const [lost, gained] = [gone[0], left[0]];
  if (lost && gained && gone.length === 1 && left.length === 1 && tagOf(lost) === tagOf(gained)) {
    return [...changes, ...schemaChanges(lost, gained, position, path)];
  }
  for (const each of gone) {
    changes.push({ path, text: `${nameOf(each)} is no variant any more`, breaking: true });
  }
  for (const each of left) {
    changes.push({ path, text: `${nameOf(each)} is a new variant`, breaking: breaks[position].widens });
  }
  return changes;
}

function variantsOf(schema: Json): Json[] | undefined {
  const variants = schema['anyOf'] ?? schema['oneOf'];
  return Array.isArray(variants) ? variants.filter(isJson) : undefined;
}

function tagOf(schema: Json): string | undefined {
  const constants = Object.entries(at(schema, 'properties')).filter(
    ([, each]) => at(each)['const'] !== undefined,
  );
  if (constants.length === 0) return undefined;
  return constants.map(([name, each]) => `${name} ${JSON.stringify(at(each)['const'])}`).join(', ');
}

function nameOf(schema: Json): string {
  return tagOf(schema) ?? typesOf(schema).join(' or ');
}

function typesOf(schema: Json): string[] {
  const { type } = schema;
  if (typeof type === 'string') return [type];
  if (Array.isArray(type)) return type.map(String).sort();
  const values = valuesOf(schema) ?? [];
  const types = values.map((each) => {
    const value: unknown = JSON.parse(each);
    return value === null ? 'null' : typeof value;
  });
  return types.length > 0 ? [...new Set(types)].sort() : ['anything'];
}

function accepts(types: readonly string[], type: string): boolean {
  return (
    types.includes(type) || types.includes('anything') || (type === 'integer' && types.includes('number'))
  );
}

/** The listed values, each as JSON. */
function valuesOf(schema: Json): string[] | undefined {
  if (schema['const'] !== undefined) return [JSON.stringify(schema['const'])];
  return Array.isArray(schema['enum']) ? schema['enum'].map((each) => JSON.stringify(each)) : undefined;
}

function listed(values: readonly string[]): string {
  return values.join(', ');
}

function numberOf(value: unknown): number | undefined {
  return typeof value === 'number' ? value : undefined;
}

/** A schema without annotations, at any depth. */
function bare(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(bare);
  if (!isJson(value)) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([name]) => !annotations.includes(name))
      .map(([name, each]) => [
        name,
        // The names of fields are no keywords.
        name === 'properties' && isJson(each)
          ? Object.fromEntries(Object.entries(each).map(([field, schema]) => [field, bare(schema)]))
          : name === 'required' && Array.isArray(each)
            ? [...(each as string[])].sort()
            : bare(each),
      ]),
  );
}
