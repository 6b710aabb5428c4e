import { canonicalJson, formatJson, jsonText, parseJson, type Json } from './json.ts';
import { Numeric } from './numeric.ts';
import { PostgresError } from './postgres-error.ts';
import {
  BOOL,
  INT8,
  isNumber,
  JSON_TYPE,
  JSONB,
  NUMERIC,
  TEXT,
  TIMESTAMP,
  TIMESTAMPTZ,
  type Row,
  type SqlType,
  type Value,
} from './types.ts';

export function memberOf(json: Json, key: string | number): Json | undefined {
  if (Array.isArray(json)) {
    const list = json as readonly Json[];
    return typeof key === 'number' ? list.at(key) : undefined;
  }
  if (typeof json !== 'object' || json === null || json instanceof Numeric || typeof key === 'number')
    return undefined;
  return Object.hasOwn(json, key) ? (json as Readonly<Record<string, Json>>)[key] : undefined;
}

/** The JSON of any value, as to_jsonb makes it. */
export function jsonOf(value: Value, type: SqlType): Json {
  if (value === null) return null;
  if (type === BOOL) return value as boolean;
  if (type === JSONB || type === JSON_TYPE) return parseJson(String(value));
  if (type === INT8) return new Numeric(value as bigint, 0);
  if (type === NUMERIC) return value as Numeric;
  if (isNumber(type)) {
    const number = value as number;
    return Number.isFinite(number) ? number : type.output(value);
  }
  if (type.element !== undefined) {
    const { element } = type;
    return (value as Row).map((each) => jsonOf(each, element));
  }
  if (type.fields !== undefined) {
    const { fields } = type;
    return Object.fromEntries(
      (value as Row).map((each, index) => [
        fields[index]?.name ?? `f${index + 1}`,
        jsonOf(each, fields[index]?.type ?? TEXT),
      ]),
    );
  }
  if (type === TIMESTAMPTZ || type === TIMESTAMP) {
    return type.output(value).replace(' ', 'T').replace(/\+00$/, '+00:00');
  }
  return type.output(value);
}

/** The value of a column from JSON, as jsonb_to_recordset reads it. */
export function fromJson(json: Json | undefined, type: SqlType): Value {
  if (json === undefined || json === null) return null;
  if (type === JSONB || type === JSON_TYPE)
    return type === JSONB ? canonicalJson(formatJson(json)) : formatJson(json);
  if (type.element !== undefined && Array.isArray(json)) {
    const { element } = type;
    return (json as readonly Json[]).map((each) => fromJson(each, element));
  }
  return type.input(jsonText(json) ?? '');
}

export function arrayOfJson(text: string): readonly Json[] {
  const json = parseJson(text);
  if (!Array.isArray(json)) throw new PostgresError('22023', 'cannot get array length of a non-array');
  return json as readonly Json[];
}

export function jsonTypeOf(json: Json): string {
  if (json === null) return 'null';
  if (Array.isArray(json)) return 'array';
  return json instanceof Numeric ? 'number' : typeof json;
}

export function withoutNulls(json: Json): Json {
  if (Array.isArray(json)) return (json as readonly Json[]).map(withoutNulls);
  if (typeof json !== 'object' || json === null || json instanceof Numeric) return json;
  return Object.fromEntries(
    Object.entries(json as Readonly<Record<string, Json>>)
      .filter(([, value]) => value !== null)
      .map(([key, value]) => [key, withoutNulls(value)]),
  );
}

export function setAt(json: Json, [name, ...rest]: readonly string[], value: Json): Json {
  if (name === undefined) return value;
  if (Array.isArray(json)) {
    const copy = [...(json as readonly Json[])];
    const index = Number(name) < 0 ? copy.length + Number(name) : Number(name);
    if (index < copy.length) copy[index] = setAt(copy[index] as Json, rest, value);
    else if (rest.length === 0) copy.push(value);
    return copy;
  }
  if (typeof json !== 'object' || json === null || json instanceof Numeric)
    throw new PostgresError('22023', 'cannot set path in scalar');
  const object = json as Readonly<Record<string, Json>>;
  if (!Object.hasOwn(object, name)) return rest.length === 0 ? { ...object, [name]: value } : object;
  return { ...object, [name]: setAt(object[name] as Json, rest, value) };
}

/** The text that the functions for json make of a value: JSON as it is, arrays and rows without spaces. */
export function jsonTextOf(value: Value, type: SqlType): string {
  if (value === null) return 'null';
  if (type === JSON_TYPE || type === JSONB) return String(value);
  if (type.element !== undefined) {
    const { element } = type;
    return `[${(value as Row).map((each) => jsonTextOf(each, element)).join(',')}]`;
  }
  if (type.fields !== undefined) {
    const fields = type.fields.map(
      ({ name, type: of }, index) =>
        `${JSON.stringify(name)}:${jsonTextOf((value as Row)[index] ?? null, of)}`,
    );
    return `{${fields.join(',')}}`;
  }
  return formatJson(jsonOf(value, type));
}
