import type { Interval } from './date-time.ts';
import { addInterval } from './date-time.ts';
import {
  cast,
  commonType,
  constant,
  typeOf,
  union,
  type Expression,
  type ParameterTypes,
} from './expression.ts';
import { noFunction } from './functions.ts';
import { arrayOfJson, fromJson } from './json-values.ts';
import { formatJson, jsonText, parseJson, type Json } from './json.ts';
import { PostgresError } from './postgres-error.ts';
import type { Run } from './run.ts';
import {
  INT4,
  INT8,
  INTERVAL,
  JSON_TYPE,
  JSONB,
  TEXT,
  TIMESTAMP,
  TIMESTAMPTZ,
  type Row,
  type SqlType,
} from './types.ts';

/** A function that gives a table. */
export interface TableFunction {
  readonly columns: readonly { readonly name: string; readonly type: SqlType }[];
  readonly slots: ReadonlySet<number>;
  rows(run: Run): readonly Row[];
}

type ColumnDefinitions = readonly { readonly name: string; readonly type: SqlType }[];

/** A call of a built-in function in FROM; undefined: it gives a single value. */
export function callTableFunction(
  parameters: ParameterTypes,
  name: string,
  args: readonly Expression[],
  definitions: ColumnDefinitions | undefined,
): TableFunction | undefined {
  switch (name) {
    case 'unnest': {
      const arrays = args.map((each) => {
        if (each.type.element === undefined) throw noFunction(name, args);
        return { expression: each, element: each.type.element };
      });
      return {
        columns: arrays.map(({ element }) => ({ name: 'unnest', type: element })),
        slots: union(args),
        rows: (run) => {
          const values = arrays.map(({ expression }) => (expression.eval(run) as Row | null) ?? []);
          const length = Math.max(0, ...values.map((each) => each.length));
          return Array.from({ length }, (_, index) => values.map((each) => each[index] ?? null));
        },
      };
    }
    case 'generate_series': {
      const [from, to, step] = args;
      if (from === undefined || to === undefined) throw noFunction(name, args);
      const type = typeOf(parameters, from);
      if (type === TIMESTAMPTZ || type === TIMESTAMP) {
        if (step === undefined) throw noFunction(name, args);
        const given = [
          from,
          cast(parameters, to, type, 'implicit'),
          cast(parameters, step, INTERVAL, 'implicit'),
        ];
        return {
          columns: [{ name, type }],
          slots: union(given),
          rows: (run) => {
            const [start, end, by] = given.map((each) => each.eval(run)) as [number, number, Interval];
            const rows: Row[] = [];
            for (let at = start; at <= end; at = addInterval(at, by, 1)) rows.push([at]);
            return rows;
          },
        };
      }
      const common = commonType(step === undefined ? [from, to] : [from, to, step], parameters);
      if (common !== INT4 && common !== INT8) throw noFunction(name, args);
      const given = [from, to, step ?? constant(INT4, 1)].map((each) =>
        cast(parameters, each, common, 'explicit'),
      );
      return {
        columns: [{ name, type: common }],
        slots: union(given),
        rows: (run) => {
          const [start, end, by] = given.map((each) => each.eval(run));
          if (start === null || end === null || by === null) return [];
          if (start === undefined || end === undefined || by === undefined) return [];
          const rows: Row[] = [];
          for (
            let at = Number(start);
            Number(by) > 0 ? at <= Number(end) : at >= Number(end);
            at += Number(by)
          )
            rows.push([common === INT8 ? BigInt(at) : at]);
          return rows;
        },
      };
    }
    case 'jsonb_to_recordset':
    case 'json_to_recordset':
    case 'jsonb_to_record':
    case 'json_to_record': {
      const json = name.startsWith('jsonb') ? JSONB : JSON_TYPE;
      const [given] = args;
      if (given === undefined) throw noFunction(name, args);
      if (definitions === undefined)
        throw new PostgresError(
          '42601',
          `a column definition list is required for functions returning "record"`,
        );
      const source = cast(parameters, given, json, 'implicit');
      const rowOf = (each: Json): Row => {
        if (typeof each !== 'object' || each === null || Array.isArray(each))
          throw new PostgresError('22023', `argument of ${name} must be an array of objects`);
        const object = each as Readonly<Record<string, Json>>;
        return definitions.map((column) =>
          fromJson(Object.hasOwn(object, column.name) ? object[column.name] : undefined, column.type),
        );
      };
      return {
        columns: definitions,
        slots: source.slots,
        rows: (run) => {
          const value = source.eval(run);
          if (value === null) return [];
          const parsed = parseJson(String(value));
          if (!name.endsWith('set')) return [rowOf(parsed)];
          if (!Array.isArray(parsed)) throw new PostgresError('22023', `cannot call ${name} on a non-array`);
          return (parsed as readonly Json[]).map(rowOf);
        },
      };
    }
    case 'jsonb_array_elements':
    case 'json_array_elements':
    case 'jsonb_array_elements_text':
    case 'json_array_elements_text': {
      const json = name.startsWith('jsonb') ? JSONB : JSON_TYPE;
      const asText = name.endsWith('_text');
      const [given] = args;
      if (given === undefined) throw noFunction(name, args);
      const source = cast(parameters, given, json, 'implicit');
      return {
        columns: [{ name: 'value', type: asText ? TEXT : json }],
        slots: source.slots,
        rows: (run) => {
          const value = source.eval(run);
          return value === null
            ? []
            : arrayOfJson(String(value)).map((each) => [asText ? jsonText(each) : formatJson(each)]);
        },
      };
    }
    case 'jsonb_each':
    case 'jsonb_each_text': {
      const [given] = args;
      if (given === undefined) throw noFunction(name, args);
      const source = cast(parameters, given, JSONB, 'implicit');
      const asText = name.endsWith('_text');
      return {
        columns: [
          { name: 'key', type: TEXT },
          { name: 'value', type: asText ? TEXT : JSONB },
        ],
        slots: source.slots,
        rows: (run) => {
          const value = source.eval(run);
          if (value === null) return [];
          const object = parseJson(String(value)) as Readonly<Record<string, Json>>;
          return Object.entries(object).map(([key, each]) => [
            key,
            asText ? jsonText(each) : formatJson(each),
          ]);
        },
      };
    }
    case 'jsonb_object_keys': {
      const source = cast(parameters, args[0] as Expression, JSONB, 'implicit');
      return {
        columns: [{ name, type: TEXT }],
        slots: source.slots,
        rows: (run) => {
          const value = source.eval(run);
          return value === null ? [] : Object.keys(parseJson(String(value)) as object).map((key) => [key]);
        },
      };
    }
    case 'current_database':
    case 'current_schema':
    default:
      return undefined;
  }
}
