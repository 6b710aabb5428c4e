/**
 * A statement that does for many rows what it does for one, so that units of work that overlap share it: the round
 * trip, the parsing and the planning are paid once for all. Made by {@link defineBulk}.
 */
export interface BulkStatement {
  /** What the connection calls it once it is prepared. */
  readonly name: string;
  readonly text: string;
  readonly columns: number;
  /** Whether it changes rows: then a unit that used it cannot be undone by itself. */
  readonly writes: boolean;
}

/** Statements defined so far: their names are numbers. */
let defined = 0;

/** The parameters of a bulk statement for some rows: an array for each column. */
export function bulkParameters(
  { columns }: BulkStatement,
  rows: readonly (readonly unknown[])[],
): unknown[][] {
  return Array.from({ length: columns }, (_, column) => rows.map((row) => row[column]));
}

/**
 * Declares a bulk statement. `columns` are the given rows' columns with their types in Postgres, in the order of the
 * values; no type may be an array (unnest would take it apart): use jsonb. `sql` gets the FROM item of the given rows, to be
 * used once; each has its number `n`, and every row of the result says in a column `n` (integer) which one it belongs to.
 *
 * Join tables by their keys: in independent units rows are looked up by index whatever the planner believes. A statement that
 * is also used elsewhere looks them up by `CROSS JOIN LATERAL (SELECT ... OFFSET 0)` and writes with `ON CONFLICT`.
 */
export function defineBulk(
  kind: 'reads' | 'writes',
  columns: Readonly<Record<string, string>>,
  sql: (given: string) => string,
): BulkStatement {
  const names = Object.keys(columns);
  const arrays = Object.values(columns).map((type, index) => `$${index + 1}::${type}[]`);
  const given = `unnest(${arrays.join(', ')}) WITH ORDINALITY AS given (${names.join(', ')}, n)`;
  defined += 1;
  return {
    name: `flotilla_bulk_${defined}`,
    text: sql(given),
    columns: names.length,
    writes: kind === 'writes',
  };
}
