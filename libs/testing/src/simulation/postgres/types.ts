import type { Interval } from './date-time.ts';
import { DAY, formatDate, formatTimestamp, parseInterval, parseTimestamp, type Micros } from './date-time.ts';
import { canonicalJson, parseJson } from './json.ts';
import { Numeric } from './numeric.ts';
import { PostgresError, unsupported } from './postgres-error.ts';

/**
 * A value of a column or expression: int2 and int4 as number, int8 as bigint, dates and times as microseconds, json
 * and jsonb as text (jsonb in its canonical form), rows and arrays as arrays.
 */
export type Value = null | boolean | number | bigint | string | Numeric | Interval | readonly Value[];
export type Row = readonly Value[];

/** As `pg_type.typcategory`: decides which types go together. */
export type Category = 'B' | 'N' | 'S' | 'D' | 'T' | 'A' | 'U' | 'C' | 'P' | 'X';

export interface SqlType {
  readonly name: string;
  readonly oid: number;
  readonly category: Category;
  readonly element?: SqlType;
  /** Of rows. */
  readonly fields?: readonly { readonly name: string; readonly type: SqlType }[];
  /** Reads the text form; `now` is for the word "now". */
  input(text: string, now?: () => Micros): Value;
  output(value: Value): string;
  compare(a: Value, b: Value): number;
  /** The same for equal values, and only for them. */
  key(value: Value): string | number | bigint | boolean;
}

const primitive = (a: Value, b: Value): number =>
  (a as number) < (b as number) ? -1 : (a as number) > (b as number) ? 1 : 0;
const itself = (value: Value): string | number | bigint | boolean => value as string;
const asText = (value: Value): string => String(value);

function define(
  name: string,
  oid: number,
  category: Category,
  input: SqlType['input'],
  rest: Partial<SqlType> = {},
): SqlType {
  return { name, oid, category, input, output: asText, compare: primitive, key: itself, ...rest };
}

function invalid(type: string, text: string): PostgresError {
  return new PostgresError('22P02', `invalid input syntax for type ${type}: "${text}"`);
}

function integer(name: string, oid: number, min: number, max: number): SqlType {
  return define(name, oid, 'N', (text) => {
    const value = Number(text);
    if (!/^\s*[+-]?\d+\s*$/.test(text)) throw invalid(name, text);
    if (value < min || value > max)
      throw new PostgresError('22003', `value "${text}" is out of range for type ${name}`);
    return value;
  });
}

export const INT8_MIN = -(2n ** 63n);
export const INT8_MAX = 2n ** 63n - 1n;

function bigInteger(text: string): bigint {
  if (!/^\s*[+-]?\d+\s*$/.test(text)) throw invalid('bigint', text);
  const value = BigInt(text.trim().replace(/^\+/, ''));
  if (value < INT8_MIN || value > INT8_MAX)
    throw new PostgresError('22003', `value "${text}" is out of range for type bigint`);
  return value;
}

function float(text: string): number {
  const trimmed = text.trim().toLowerCase();
  if (trimmed === 'infinity' || trimmed === 'inf') return Infinity;
  if (trimmed === '-infinity' || trimmed === '-inf') return -Infinity;
  if (trimmed === 'nan') return NaN;
  if (trimmed === '' || !/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/.test(trimmed))
    throw invalid('double precision', text);
  return Number(trimmed);
}

/** Shortest text that is read back the same, in Postgres' form. */
export function formatFloat(value: number): string {
  if (Number.isNaN(value)) return 'NaN';
  if (!Number.isFinite(value)) return value > 0 ? 'Infinity' : '-Infinity';
  if (Object.is(value, -0)) return '-0';
  if (value === 0) return '0';
  const exponent = Number(value.toExponential().split('e')[1]);
  if (exponent >= -5 + 1 && exponent < 15) {
    const text = String(value);
    return text.includes('e') ? Numeric.parse(text).toString() : text;
  }
  const [mantissa = '', power = ''] = value.toExponential().split('e');
  return `${mantissa}e${power.startsWith('-') ? '-' : '+'}${power.replace(/^[+-]/, '').padStart(2, '0')}`;
}

function compareFloats(a: Value, b: Value): number {
  const [x, y] = [a as number, b as number];
  if (Number.isNaN(x) || Number.isNaN(y)) return Number(Number.isNaN(x)) - Number(Number.isNaN(y));
  return x < y ? -1 : x > y ? 1 : 0;
}

const UUID = /^\{?([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})\}?$/i;

function boolean(text: string): boolean {
  const word = text.trim().toLowerCase();
  if (word !== '' && ('true'.startsWith(word) || 'yes'.startsWith(word) || word === 'on' || word === '1'))
    return true;
  if (word !== '' && ('false'.startsWith(word) || 'no'.startsWith(word) || word === 'off' || word === '0'))
    return false;
  throw invalid('boolean', text);
}

const realNow = (): Micros => {
  throw new PostgresError('22007', 'the word "now" is not known here');
};

export const BOOL = define('boolean', 16, 'B', boolean, { output: (value) => (value === true ? 't' : 'f') });
export const INT2 = integer('smallint', 21, -32_768, 32_767);
export const INT4 = integer('integer', 23, -2_147_483_648, 2_147_483_647);
export const INT8 = define('bigint', 20, 'N', bigInteger);
export const OID = define('oid', 26, 'N', (text) => Number(text));
export const FLOAT8 = define('double precision', 701, 'N', float, {
  output: (value) => formatFloat(value as number),
  compare: compareFloats,
});
export const FLOAT4 = define('real', 700, 'N', (text) => Math.fround(float(text)), {
  output: (value) => formatFloat(Number((value as number).toPrecision(7))),
  compare: compareFloats,
});
export const NUMERIC = define('numeric', 1700, 'N', (text) => Numeric.parse(text), {
  compare: (a, b) => (a as Numeric).compare(b as Numeric),
  key: (value) => (value as Numeric).key,
});
const string = (text: string): Value => text;
export const TEXT = define('text', 25, 'S', string);
export const VARCHAR = define('character varying', 1043, 'S', string);
export const NAME = define('name', 19, 'S', string);
export const CHAR = define('"char"', 18, 'S', string);
/** A literal or parameter whose type nobody has said. */
export const UNKNOWN = define('unknown', 705, 'X', string);
export const UUID_TYPE = define('uuid', 2950, 'U', (text) => {
  const match = UUID.exec(text);
  if (match === null) throw invalid('uuid', text);
  return match.slice(1).join('-').toLowerCase();
});
export const JSON_TYPE = define('json', 114, 'U', (text) => {
  parseJson(text);
  return text;
});
export const JSONB = define('jsonb', 3802, 'U', canonicalJson);
export const TIMESTAMPTZ = define(
  'timestamp with time zone',
  1184,
  'D',
  (text, now = realNow) => parseTimestamp(text, 'timestamp with time zone', now),
  { output: (value) => formatTimestamp(value as Micros, '+00') },
);
export const TIMESTAMP = define(
  'timestamp without time zone',
  1114,
  'D',
  (text, now = realNow) => parseTimestamp(text.replace(/(?:Z|[+-]\d\d(?::?\d\d)?)$/, ''), 'timestamp', now),
  { output: (value) => formatTimestamp(value as Micros, '') },
);
export const DATE = define(
  'date',
  1082,
  'D',
  (text, now = realNow) => Math.floor(parseTimestamp(text, 'date', now) / DAY) * DAY,
  { output: (value) => formatDate(value as Micros) },
);
export const INTERVAL = define('interval', 1186, 'T', parseInterval, {
  compare: (a, b) => (a as Interval).estimate - (b as Interval).estimate,
  key: (value) => (value as Interval).estimate,
});
export const BYTEA = define('bytea', 17, 'U', string);
export const TID = define('tid', 27, 'U', string);
export const REGCLASS = define('regclass', 2205, 'N', string);
export const VOID = define('void', 2278, 'P', () => '', { output: () => '' });
export const TRIGGER = define('trigger', 2279, 'P', () => null);

const ARRAY_OIDS: Readonly<Record<number, number>> = {
  16: 1000,
  17: 1001,
  18: 1002,
  19: 1003,
  20: 1016,
  21: 1005,
  23: 1007,
  25: 1009,
  26: 1028,
  27: 1010,
  114: 199,
  700: 1021,
  701: 1022,
  1043: 1015,
  1082: 1182,
  1114: 1115,
  1184: 1185,
  1186: 1187,
  1700: 1231,
  2205: 2210,
  2249: 2287,
  2950: 2951,
  3802: 3807,
};

const arrays = new Map<SqlType, SqlType>();

/** The type of one-dimensional arrays of a type. */
export function arrayOf(element: SqlType): SqlType {
  const known = arrays.get(element);
  if (known !== undefined) return known;
  const oid = ARRAY_OIDS[element.oid];
  if (oid === undefined) throw unsupported(`arrays of ${element.name}`);
  const type: SqlType = {
    name: `${element.name}[]`,
    oid,
    category: 'A',
    element,
    input: (text, now) => parseArray(text, element, now),
    output: (value) => formatArray(value as readonly Value[], element),
    compare: (a, b) => compareRows(a as Row, b as Row, () => element),
    key: (value) =>
      (value as Row).map((each) => (each === null ? '\u0001' : String(element.key(each)))).join('\u0002'),
  };
  arrays.set(element, type);
  return type;
}

/** The type of anonymous rows. */
export function recordOf(fields: readonly { readonly name: string; readonly type: SqlType }[]): SqlType {
  return {
    name: 'record',
    oid: 2249,
    category: 'C',
    fields,
    input: () => {
      throw new PostgresError('0A000', 'input of anonymous composite types is not implemented');
    },
    output: (value) =>
      `(${(value as Row)
        .map((each, index) => (each === null ? '' : quoteField((fields[index]?.type ?? TEXT).output(each))))
        .join(',')})`,
    compare: (a, b) => compareRows(a as Row, b as Row, (index) => fields[index]?.type ?? TEXT),
    key: (value) =>
      (value as Row)
        .map((each, index) => (each === null ? '\u0001' : String((fields[index]?.type ?? TEXT).key(each))))
        .join('\u0002'),
  };
}

function quoteField(text: string): string {
  return text === '' || /[(),"\\\s]/.test(text) ? `"${text.replace(/(["\\])/g, '$1$1')}"` : text;
}

function compareRows(a: Row, b: Row, typeAt: (index: number) => SqlType): number {
  for (let index = 0; index < Math.min(a.length, b.length); index += 1) {
    const x = a[index] ?? null;
    const y = b[index] ?? null;
    if (x === null || y === null) {
      if (x !== y) return x === null ? 1 : -1;
      continue;
    }
    const order = typeAt(index).compare(x, y);
    if (order !== 0) return order;
  }
  return a.length - b.length;
}

function parseArray(text: string, element: SqlType, now: (() => Micros) | undefined): Value {
  const malformed = (): PostgresError =>
    new PostgresError('22P02', `malformed array literal: "${text.slice(0, 100)}"`);
  const trimmed = text.trim();
  if (!trimmed.startsWith('{') || !trimmed.endsWith('}')) throw malformed();
  const values: Value[] = [];
  let at = 1;
  const end = trimmed.length - 1;
  while (at < end) {
    while (trimmed[at] === ' ') at += 1;
    if (trimmed[at] === '{') throw unsupported('arrays of more than one dimension');
    if (trimmed[at] === '"') {
      let item = '';
      at += 1;
      while (at < end && trimmed[at] !== '"') {
        if (trimmed[at] === '\\') at += 1;
        item += trimmed[at] ?? '';
        at += 1;
      }
      if (at >= end) throw malformed();
      at += 1;
      values.push(element.input(item, now));
    } else {
      let comma = trimmed.indexOf(',', at);
      if (comma === -1 || comma > end) comma = end;
      const item = trimmed.slice(at, comma).trim().replace(/\\(.)/g, '$1');
      if (item === '') throw malformed();
      values.push(item.toUpperCase() === 'NULL' ? null : element.input(item, now));
      at = comma;
    }
    while (trimmed[at] === ' ') at += 1;
    if (at < end && trimmed[at] !== ',') throw malformed();
    at += 1;
  }
  return values;
}

function formatArray(values: readonly Value[], element: SqlType): string {
  const items = values.map((value) => {
    if (value === null) return 'NULL';
    const text = element.output(value);
    return text === '' || /[{}",\\\s]/.test(text) || text.toUpperCase() === 'NULL'
      ? `"${text.replace(/(["\\])/g, '\\$1')}"`
      : text;
  });
  return `{${items.join(',')}}`;
}

const NAMES: Readonly<Record<string, SqlType>> = {
  bool: BOOL,
  boolean: BOOL,
  int2: INT2,
  smallint: INT2,
  int4: INT4,
  int: INT4,
  integer: INT4,
  int8: INT8,
  bigint: INT8,
  oid: OID,
  float4: FLOAT4,
  real: FLOAT4,
  float8: FLOAT8,
  numeric: NUMERIC,
  decimal: NUMERIC,
  text: TEXT,
  varchar: VARCHAR,
  bpchar: VARCHAR,
  name: NAME,
  char: CHAR,
  uuid: UUID_TYPE,
  json: JSON_TYPE,
  jsonb: JSONB,
  timestamptz: TIMESTAMPTZ,
  timestamp: TIMESTAMP,
  date: DATE,
  interval: INTERVAL,
  bytea: BYTEA,
  tid: TID,
  regclass: REGCLASS,
  void: VOID,
  trigger: TRIGGER,
  record: recordOf([]),
};

/** A type by its name in the grammar, for example `int4` or `text`. */
export function typeNamed(name: string): SqlType | undefined {
  return Object.hasOwn(NAMES, name) ? NAMES[name] : undefined;
}

const RANKS = new Map<SqlType, number>([
  [INT2, 1],
  [INT4, 2],
  [INT8, 3],
  [NUMERIC, 4],
  [FLOAT4, 5],
  [FLOAT8, 6],
]);

/** Numbers go to the larger of two types. */
export function rankOf(type: SqlType): number {
  return RANKS.get(type) ?? 0;
}

export function isNumber(type: SqlType): boolean {
  return RANKS.has(type);
}

export function isText(type: SqlType): boolean {
  return type.category === 'S';
}
