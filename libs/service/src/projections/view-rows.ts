import type { ViewRow, ViewTable } from './view-table.ts';

/** Rows gathered from events, one for each key: what a batch writes, and in tests the view itself. */
export class ViewRows {
  readonly #tables = new Map<ViewTable, Map<string, Readonly<Record<string, unknown>>>>();

  add(rows: readonly ViewRow[]): this {
    for (const { table, values } of rows) {
      let known = this.#tables.get(table);
      if (known === undefined) {
        known = new Map<string, Readonly<Record<string, unknown>>>();
        this.#tables.set(table, known);
      }
      const id = table.keyOf(values);
      const before = known.get(id);
      known.set(id, before === undefined ? values : table.merge(before, values));
    }
    return this;
  }

  /** How many rows there are in all tables. */
  get size(): number {
    let size = 0;
    for (const rows of this.#tables.values()) size += rows.size;
    return size;
  }

  of(table: ViewTable): Readonly<Record<string, unknown>>[] {
    return [...(this.#tables.get(table)?.values() ?? [])];
  }
}

/** Runs a statement; `UnitOfWork.query`, for example. */
export type RunStatement = (sql: string, parameters: readonly unknown[]) => Promise<unknown>;

/** Merges rows into their tables, with one statement for each; `schema`: into the tables of that schema instead. */
export async function writeRows(
  run: RunStatement,
  tables: readonly ViewTable[],
  rows: ViewRows,
  schema?: string,
): Promise<void> {
  // Sent together, and always in this order: transactions that write the same rows wait for each other at the first.
  await Promise.all(
    tables.flatMap((table) => {
      const values = rows.of(table);
      if (values.length === 0) return [];
      const target = schema === undefined ? table.name : `${schema}.${table.name}`;
      return [run(table.mergeStatement(target), [JSON.stringify(values)])];
    }),
  );
}
