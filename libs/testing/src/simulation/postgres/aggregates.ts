import { jsonOf, jsonTextOf } from './json-values.ts';
import { canonicalJson, formatJson, type Json } from './json.ts';
import { Numeric } from './numeric.ts';
import { PostgresError } from './postgres-error.ts';
import {
  arrayOf,
  BOOL,
  FLOAT4,
  FLOAT8,
  INT2,
  INT4,
  INT8,
  JSON_TYPE,
  isNumber,
  JSONB,
  NUMERIC,
  TEXT,
  UNKNOWN,
  type Row,
  type SqlType,
  type Value,
} from './types.ts';

/** An aggregate: a state, what adds to it, and what is made of it. */
export interface Aggregate {
  readonly type: SqlType;
  start(): unknown;
  add(state: unknown, values: readonly Value[]): unknown;
  finish(state: unknown): Value;
  /** Whether rows whose first value is null count too. */
  readonly takesNulls: boolean;
}

const AGGREGATES = new Set([
  'count',
  'sum',
  'avg',
  'min',
  'max',
  'bool_or',
  'bool_and',
  'every',
  'array_agg',
  'string_agg',
  'json_agg',
  'jsonb_agg',
  'json_object_agg',
  'jsonb_object_agg',
]);

export function isAggregate(name: string): boolean {
  return AGGREGATES.has(name);
}

/** The aggregate for arguments of these types, and the types that they have to have. */
export function aggregate(
  name: string,
  types: readonly SqlType[],
): { readonly aggregate: Aggregate; readonly types: readonly SqlType[] } {
  const [type = UNKNOWN] = types;
  const known = type === UNKNOWN ? TEXT : type;
  const of = (
    rest: Omit<Aggregate, 'takesNulls'> & { takesNulls?: boolean },
    ...given: SqlType[]
  ): ReturnType<typeof aggregate> => ({
    aggregate: { takesNulls: false, ...rest },
    types: given,
  });
  switch (name) {
    case 'count':
      return of(
        {
          type: INT8,
          start: () => 0,
          add: (state) => (state as number) + 1,
          finish: (state) => BigInt(state as number),
        },
        ...(types.length === 0 ? [] : [known]),
      );
    case 'sum': {
      if (known === FLOAT8 || known === FLOAT4) {
        return of(
          {
            type: known,
            start: () => null,
            add: (state, [value]) => ((state as number | null) ?? 0) + (value as number),
            finish: (state) => state as Value,
          },
          known,
        );
      }
      if (known === INT2 || known === INT4) {
        return of(
          {
            type: INT8,
            start: () => null,
            add: (state, [value]) => ((state as bigint | null) ?? 0n) + BigInt(value as number),
            finish: (state) => state as Value,
          },
          known,
        );
      }
      if (known === INT8 || known === NUMERIC) {
        return of(
          {
            type: NUMERIC,
            start: () => null,
            add: (state, [value]) => {
              const number = value instanceof Numeric ? value : Numeric.of(value as bigint);
              return state === null ? number : (state as Numeric).plus(number);
            },
            finish: (state) => state as Value,
          },
          known,
        );
      }
      break;
    }
    case 'avg': {
      const isFloat = known === FLOAT8 || known === FLOAT4;
      if (!isNumber(known)) break;
      return of(
        {
          type: isFloat ? FLOAT8 : NUMERIC,
          start: () => [Numeric.of(0), 0, 0],
          add: (state, [value]) => {
            const [sum, count, float] = state as [Numeric, number, number];
            return isFloat
              ? [sum, count + 1, float + (value as number)]
              : [sum.plus(value instanceof Numeric ? value : Numeric.of(value as number)), count + 1, float];
          },
          finish: (state) => {
            const [sum, count, float] = state as [Numeric, number, number];
            if (count === 0) return null;
            return isFloat ? float / count : sum.dividedBy(Numeric.of(count));
          },
        },
        known,
      );
    }
    case 'min':
    case 'max': {
      const sign = name === 'max' ? 1 : -1;
      return of(
        {
          type: known,
          start: () => null,
          add: (state, [value]) =>
            state === null || known.compare(value as Value, state as Value) * sign > 0 ? value : state,
          finish: (state) => state as Value,
        },
        known,
      );
    }
    case 'bool_or':
    case 'bool_and':
    case 'every': {
      const any = name === 'bool_or';
      return of(
        {
          type: BOOL,
          start: () => null,
          add: (state, [value]) =>
            state === null
              ? value
              : any
                ? state === true || value === true
                : state === true && value === true,
          finish: (state) => state as Value,
        },
        BOOL,
      );
    }
    case 'array_agg':
      return of(
        {
          type: arrayOf(known),
          takesNulls: true,
          start: () => null,
          add: (state, [value]) => [...((state as Row | null) ?? []), value as Value],
          finish: (state) => state as Value,
        },
        known,
      );
    case 'string_agg':
      return of(
        {
          type: TEXT,
          start: () => null,
          add: (state, [value, by]) =>
            state === null ? String(value) : `${state as string}${String(by ?? '')}${String(value)}`,
          finish: (state) => state as Value,
        },
        TEXT,
        TEXT,
      );
    case 'json_agg':
    case 'jsonb_agg':
      return of(
        {
          type: name === 'json_agg' ? JSON_TYPE : JSONB,
          takesNulls: true,
          start: () => null,
          add: (state, [value]) => [...((state as string[] | null) ?? []), jsonTextOf(value as Value, known)],
          finish: (state) => {
            if (state === null) return null;
            const text = `[${(state as string[]).join(', ')}]`;
            return name === 'json_agg' ? text : canonicalJson(text);
          },
        },
        known,
      );
    case 'json_object_agg':
    case 'jsonb_object_agg': {
      const second = types[1] ?? TEXT;
      return of(
        {
          type: name === 'json_object_agg' ? JSON_TYPE : JSONB,
          start: () => null,
          add: (state, [key, value]) => ({
            ...(state ?? {}),
            [String(key)]: jsonOf(value ?? null, second),
          }),
          finish: (state) => (state === null ? null : formatJson(state as Json)),
        },
        TEXT,
        second,
      );
    }
    default:
  }
  throw new PostgresError(
    '42883',
    `function ${name}(${types.map((each) => each.name).join(', ')}) does not exist`,
  );
}
