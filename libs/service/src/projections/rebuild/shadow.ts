import type { DataSource } from 'typeorm';
import type { Projection } from '../projection.ts';
import { writeRows, type ViewRows } from '../view-rows.ts';
import type { ViewTable } from '../view-table.ts';
import { inTransaction, type Query } from './transaction.ts';

/** Where a view is built beside the live one: the same tables under the same names. */
export const SHADOW_SCHEMA = 'rebuild';

/** A row that the live view and the shadow do not have alike. */
export interface Difference {
  readonly table: string;
  readonly key: Readonly<Record<string, unknown>>;
  /** `missing`: the shadow lacks it; `added`: only the shadow has it. */
  readonly kind: 'missing' | 'added' | 'changed';
  readonly live: unknown;
  readonly shadow: unknown;
}

export interface Comparison {
  readonly rows: number;
  readonly missing: number;
  readonly added: number;
  readonly changed: number;
  /** The first of them. */
  readonly differences: readonly Difference[];
}

/** Differences that are kept, and looked at again; of more, only the number. */
export const MAX_DIFFERENCES = 1_000;
/** How long a swap waits for statements that use the tables; then it gives way and is tried again. */
const LOCK_TIMEOUT_MS = 2_000;

/** A second copy of a projection's tables. */
export class Shadow {
  readonly #dataSource: DataSource;
  readonly #projection: Projection;

  constructor(dataSource: DataSource, projection: Projection) {
    this.#dataSource = dataSource;
    this.#projection = projection;
  }

  /** Makes empty tables like the live ones, with the same indexes and constraints; what was there is dropped. */
  create(): Promise<void> {
    return this.#forEachTable('flotilla_create_shadow');
  }

  drop(): Promise<void> {
    return this.#forEachTable('flotilla_drop_shadow');
  }

  async exists(): Promise<boolean> {
    const [row] = await this.#read<{ there: boolean }>(
      `SELECT bool_and(to_regclass($1 || '.' || name) IS NOT NULL) AS there FROM unnest($2::text[]) AS name`,
      [SHADOW_SCHEMA, this.#projection.tables.map(({ name }) => name)],
    );
    return row?.there === true;
  }

  /** Merges rows into the shadow, in a transaction of their own or in the given one. */
  write(rows: ViewRows, within?: Query): Promise<void> {
    const { tables } = this.#projection;
    return within
      ? writeRows(within, tables, rows, SHADOW_SCHEMA)
      : inTransaction(this.#dataSource, (query) => writeRows(query, tables, rows, SHADOW_SCHEMA));
  }

  /** How many aggregates begin, in the shadow, with another version than 1: their first events are nowhere. */
  async headless(): Promise<number> {
    const { history } = this.#projection;
    if (history === undefined) return 0;
    const [row] = await this.#read<{ n: string }>(
      `SELECT count(*) AS n FROM (${headlessOf(history.table, history.column)}) AS headless`,
    );
    return Number(row?.n ?? 0);
  }

  /**
   * Takes over from the live view what can no longer be built: rows that the shadow lacks, and those of aggregates whose
   * history in the shadow does not begin at its beginning. Returns how many rows the live view gave.
   */
  carryOver(): Promise<number> {
    const { tables, history } = this.#projection;
    return inTransaction(this.#dataSource, async (query) => {
      let carried = 0;
      for (const table of tables) {
        const missing = `NOT EXISTS (SELECT FROM ${SHADOW_SCHEMA}.${table.name} s WHERE ${join(table)})`;
        const aggregate = history ? aggregateOf(history.table, history.column) : [];
        // Only tables with the aggregate's columns tell whose rows they are.
        const headless =
          history && aggregate.every((column) => column in table.columns)
            ? ` OR (${aggregate.map((column) => `l.${column}`).join(', ')}) IN (${headlessOf(history.table, history.column)})`
            : '';
        const source = `FROM public.${table.name} l WHERE ${missing}${headless}`;
        const [row] = await query<{ n: string }>(`SELECT count(*) AS n ${source}`);
        carried += Number(row?.n ?? 0);
        // The history decides for all tables: it is written last.
        if (table !== history?.table)
          await query(table.mergeStatement(`${SHADOW_SCHEMA}.${table.name}`, source));
      }
      if (history) {
        const { table, column } = history;
        const missing = `NOT EXISTS (SELECT FROM ${SHADOW_SCHEMA}.${table.name} s WHERE ${join(table)})`;
        const columns = aggregateOf(table, column)
          .map((each) => `l.${each}`)
          .join(', ');
        const source = `FROM public.${table.name} l WHERE ${missing} OR (${columns}) IN (${headlessOf(table, column)})`;
        await query(table.mergeStatement(`${SHADOW_SCHEMA}.${table.name}`, source));
      }
      return carried;
    });
  }

  /** Compares all rows, or those of earlier differences again. */
  async compare(again?: readonly Difference[]): Promise<Comparison> {
    const total = { rows: 0, missing: 0, added: 0, changed: 0 };
    const differences: Difference[] = [];
    for (const table of this.#projection.tables) {
      const keys = again?.filter((each) => each.table === table.name).map(({ key }) => key);
      if (keys?.length === 0) continue;
      const those =
        keys === undefined
          ? ''
          : `WHERE (${table.keys.map((column) => `coalesce(l.${column}, s.${column})`).join(', ')}) IN
             (SELECT ${table.keys.join(', ')} FROM json_to_recordset($1::json)
              AS k (${table.keys.map((column) => `${column} ${table.columns[column]?.type}`).join(', ')}))`;
      const joined = `FROM public.${table.name} l FULL JOIN ${SHADOW_SCHEMA}.${table.name} s ON ${join(table)} ${those}`;
      const parameters = keys === undefined ? [] : [JSON.stringify(keys)];
      const differ = 'to_jsonb(l) IS DISTINCT FROM to_jsonb(s)';
      const first = table.keys[0] as string;
      const [counts] = await this.#read<Record<'rows' | 'missing' | 'added' | 'changed', string>>(
        `SELECT count(*) AS rows,
                count(*) FILTER (WHERE s.${first} IS NULL) AS missing,
                count(*) FILTER (WHERE l.${first} IS NULL) AS added,
                count(*) FILTER (WHERE l.${first} IS NOT NULL AND s.${first} IS NOT NULL AND ${differ}) AS changed
         ${joined}`,
        parameters,
      );
      for (const name of ['rows', 'missing', 'added', 'changed'] as const)
        total[name] += Number(counts?.[name] ?? 0);
      const room = MAX_DIFFERENCES - differences.length;
      if (room === 0 || counts === undefined) continue;
      const found = await this.#read<{ live: Row | null; shadow: Row | null }>(
        `SELECT to_jsonb(l) AS live, to_jsonb(s) AS shadow ${joined} ${those === '' ? 'WHERE' : 'AND'} ${differ} LIMIT ${room}`,
        parameters,
      );
      for (const { live, shadow } of found) {
        const row = (live ?? shadow) as Row;
        differences.push({
          table: table.name,
          key: Object.fromEntries(table.keys.map((column) => [column, row[column]])),
          kind: live === null ? 'added' : shadow === null ? 'missing' : 'changed',
          live,
          shadow,
        });
      }
    }
    return { ...total, differences };
  }

  /**
   * Puts the shadow in the place of the live tables, in one transaction. Writers wait meanwhile, readers only for the
   * renaming. `catchUp` is called when nobody writes any more: it brings the shadow to where the live view has got to.
   */
  async swap(
    catchUp: (query: Query) => Promise<void>,
    finish: (query: Query) => Promise<void>,
  ): Promise<void> {
    const { tables } = this.#projection;
    await this.#forEachTable('flotilla_analyze_shadow');
    await inTransaction(this.#dataSource, async (query) => {
      await query(`SET LOCAL lock_timeout = ${LOCK_TIMEOUT_MS}`);
      for (const { name } of tables) await query(`LOCK TABLE public.${name} IN SHARE ROW EXCLUSIVE MODE`);
      await catchUp(query);
      for (const { name } of tables) await query('SELECT flotilla_swap_shadow($1)', [name]);
      await finish(query);
    });
    await this.#forEachTable('flotilla_drop_retired');
  }

  /** Calls one of the database's functions, which do with their owner's rights what the service's role may not. */
  #forEachTable(call: string): Promise<void> {
    return inTransaction(this.#dataSource, async (query) => {
      for (const { name } of this.#projection.tables) await query(`SELECT ${call}($1)`, [name]);
    });
  }

  #read<R>(sql: string, parameters: readonly unknown[] = []): Promise<R[]> {
    return this.#dataSource.query<R[]>(sql, [...parameters]);
  }
}

type Row = Readonly<Record<string, unknown>>;

function join(table: ViewTable): string {
  return table.keys.map((column) => `l.${column} = s.${column}`).join(' AND ');
}

/** The columns that tell the aggregate of a row of the history. */
function aggregateOf(table: ViewTable, versionColumn: string): string[] {
  return table.keys.filter((column) => column !== versionColumn);
}

function headlessOf(table: ViewTable, versionColumn: string): string {
  const aggregate = aggregateOf(table, versionColumn).join(', ');
  return `SELECT ${aggregate} FROM ${SHADOW_SCHEMA}.${table.name} GROUP BY ${aggregate} HAVING min(${versionColumn}) > 1`;
}
