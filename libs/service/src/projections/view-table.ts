import { ProjectionDefinitionError } from './projections.errors.ts';

/** What a column holds, as Postgres names it. */
export type ColumnType = 'uuid' | 'text' | 'integer' | 'bigint' | 'boolean' | 'jsonb' | 'timestamptz';

/** How two things said of one cell become one; whatever the rule, the order in which they are said does not matter. */
export type MergeRule = 'key' | 'version' | 'newest' | 'greatest' | 'once';

export interface ViewColumn {
  readonly type: ColumnType;
  readonly rule: MergeRule;
}

/** Part of what makes the row one. */
export const key = (type: ColumnType): ViewColumn => ({ type, rule: 'key' });
/** The version of the aggregate that the row tells of: the highest one. What is `newest` goes by it. */
export const version = (): ViewColumn => ({ type: 'integer', rule: 'version' });
/** The value of the highest version. Every row that is projected has to tell it. */
export const newest = (type: ColumnType): ViewColumn => ({ type, rule: 'newest' });
/** The greatest value: the latest of several times, for example. */
export const greatest = (type: ColumnType): ViewColumn => ({ type, rule: 'greatest' });
/** Told once, by one event or by several alike; null until then. */
export const once = (type: ColumnType): ViewColumn => ({ type, rule: 'once' });

/** A row, or a part of one, that an event adds to a table. Null and absent are the same: not told. */
export interface ViewRow {
  readonly table: ViewTable;
  readonly values: Readonly<Record<string, unknown>>;
}

/** The column names of a row type, with how each is merged. */
export type ViewColumns<R> = { readonly [C in keyof R & string]-?: ViewColumn };

/**
 * A table that a projection keeps. Its migration makes it; this says how rows for the same key become one. The rules
 * are commutative, associative and idempotent, so that events may come late, twice, in batches and in any order.
 */
export class ViewTable<R extends object = object> {
  readonly name: string;
  readonly columns: Readonly<Record<string, ViewColumn>>;
  readonly keys: readonly string[];
  readonly #versionColumn: string | undefined;

  constructor(name: string, columns: ViewColumns<R>) {
    this.name = name;
    this.columns = columns;
    const withRule = (rule: MergeRule): string[] =>
      Object.entries<ViewColumn>(columns).flatMap(([column, each]) => (each.rule === rule ? column : []));
    this.keys = withRule('key');
    const versions = withRule('version');
    this.#versionColumn = versions[0];
    const problems = [
      ...[name, ...Object.keys(columns)]
        .filter((each) => !/^[a-z][a-z0-9_]*$/.test(each))
        .map((each) => `"${each}" must be a name in snake_case`),
      ...(this.keys.length === 0 ? ['it has no key() column'] : []),
      ...(versions.length > 1 ? [`it has several version() columns: ${versions.join(', ')}`] : []),
      ...(versions.length === 0 && withRule('newest').length > 0
        ? [`${withRule('newest').join(', ')}: newest() needs a version() column`]
        : []),
    ];
    if (problems.length > 0) throw new ProjectionDefinitionError(`table ${name}`, problems);
  }

  /** What an event says of one row of the table. */
  row(values: R): ViewRow {
    return { table: this, values: values as Readonly<Record<string, unknown>> };
  }

  /** Tells a row from the others of its table. */
  keyOf(values: Readonly<Record<string, unknown>>): string {
    return this.keys.length === 1
      ? String(values[this.keys[0] as string])
      : JSON.stringify(this.keys.map((column) => values[column]));
  }

  /** One row of two that have the same key, as the database does it. */
  merge(
    known: Readonly<Record<string, unknown>>,
    told: Readonly<Record<string, unknown>>,
  ): Record<string, unknown> {
    const newer =
      this.#versionColumn !== undefined &&
      Number(told[this.#versionColumn]) > Number(known[this.#versionColumn]);
    const merged: Record<string, unknown> = {};
    for (const [column, { type, rule }] of Object.entries(this.columns)) {
      const before = known[column] ?? null;
      const now = told[column] ?? null;
      if (rule === 'newest') merged[column] = newer ? now : before;
      else if (rule === 'greatest' || rule === 'version') merged[column] = greater(type, before, now);
      else merged[column] = before ?? now;
    }
    return merged;
  }

  /**
   * The statement that merges rows, each key at most once, into a table of these columns: those of a JSON array in
   * `$1`, or those that `source`, the rest of a SELECT from its FROM on, finds.
   * Rows are locked in the order of their keys, so that replicas with the same rows wait for each other and do not
   * deadlock; a row of which nothing new is told is not written.
   */
  mergeStatement(target = this.name, source?: string): string {
    const entries = Object.entries(this.columns);
    const names = entries.map(([column]) => column).join(', ');
    const typed = entries.map(([column, { type }]) => `${column} ${type}`).join(', ');
    const newer = `known.${this.#versionColumn} < excluded.${this.#versionColumn}`;
    const assignments: string[] = [];
    const news = new Set<string>();
    for (const [column, { rule }] of entries) {
      const known = `known.${column}`;
      const told = `excluded.${column}`;
      if (rule === 'newest')
        assignments.push(`${column} = CASE WHEN ${newer} THEN ${told} ELSE ${known} END`);
      if (rule === 'version') assignments.push(`${column} = greatest(${known}, ${told})`);
      if (rule === 'newest' || rule === 'version') news.add(newer);
      if (rule === 'greatest') {
        assignments.push(`${column} = greatest(${known}, ${told})`);
        news.add(`${known} IS DISTINCT FROM greatest(${known}, ${told})`);
      }
      if (rule === 'once') {
        assignments.push(`${column} = coalesce(${known}, ${told})`);
        news.add(`(${known} IS NULL AND ${told} IS NOT NULL)`);
      }
    }
    return [
      `INSERT INTO ${target} AS known (${names})`,
      `SELECT ${names} ${source ?? `FROM json_to_recordset($1::json) AS told (${typed})`}`,
      `ORDER BY ${this.keys.join(', ')}`,
      assignments.length === 0
        ? `ON CONFLICT (${this.keys.join(', ')}) DO NOTHING`
        : `ON CONFLICT (${this.keys.join(', ')}) DO UPDATE SET ${assignments.join(', ')} WHERE ${[...news].join(' OR ')}`,
    ].join('\n');
  }
}

/** Declares a table that a projection keeps: `viewTable<OrderRow>('order_views', { order_id: key('uuid'), ... })`. */
export function viewTable<R extends object>(name: string, columns: ViewColumns<R>): ViewTable<R> {
  return new ViewTable<R>(name, columns);
}

function greater(type: ColumnType, one: unknown, other: unknown): unknown {
  if (one === null || other === null) return one ?? other;
  return comparable(type, other) > comparable(type, one) ? other : one;
}

function comparable(type: ColumnType, value: unknown): number | string {
  if (type === 'timestamptz') return value instanceof Date ? value.getTime() : Date.parse(String(value));
  if (type === 'integer' || type === 'bigint') return Number(value);
  if (type === 'boolean') return value === true ? 1 : 0;
  return String(value);
}
