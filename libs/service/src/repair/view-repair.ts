import { eventStream, subjectToken } from '@flotilla/contracts-protocol';
import { decodeMessage, type StreamReader } from '@flotilla/messaging';
import type { DataSource } from 'typeorm';
import type { Projection } from '../projections/projection.ts';
import { inTransaction, type Query } from '../projections/rebuild/transaction.ts';
import { ViewRows } from '../projections/view-rows.ts';
import type { ViewTable } from '../projections/view-table.ts';
import { logRepairs, type Repaired } from './repair-log.ts';

type Fields = Readonly<Record<string, unknown>>;

/** A row of a view that is not what the events say. */
export interface ViewDifference {
  readonly projection: string;
  readonly table: string;
  readonly key: Fields;
  /** `missing`: the view lacks it; `unexplained`: no event tells of it. */
  readonly kind: 'missing' | 'changed' | 'unexplained';
  /** The columns that differ, as they are and as the events say. */
  readonly columns: Readonly<Record<string, { readonly is: unknown; readonly should: unknown }>>;
}

/** What an examination found of one aggregate. */
export interface ExaminedView {
  readonly aggregate: string;
  readonly projection: string;
  /** How many events there are of it. */
  readonly events: number;
  readonly differences: readonly ViewDifference[];
  /** Why it cannot be built from events again; absent: it can. */
  readonly obstacle?: string;
}

interface Story {
  readonly events: number;
  readonly rows: ViewRows;
  readonly obstacle?: string;
}

/** Events of one aggregate that are read; of more, it is left to a rebuild of the whole view. */
const MAX_EVENTS = 1_000;
/** How long a repair waits for the live projection at a row. */
const LOCK_TIMEOUT_MS = 2_000;

/** Compares the views of single aggregates with their events, and writes those again that differ. */
export class ViewRepair {
  readonly #projections: readonly Projection[];
  readonly #dataSource: DataSource;
  readonly #streams: StreamReader;

  constructor(projections: readonly Projection[], dataSource: DataSource, streams: StreamReader) {
    this.#projections = projections;
    this.#dataSource = dataSource;
    this.#streams = streams;
  }

  /** Only what differs. What came a moment ago may not have been projected yet: look again. */
  async examine(aggregates: readonly string[]): Promise<ExaminedView[]> {
    const query: Query = (sql, parameters = []) => this.#dataSource.query(sql, [...parameters]);
    const examined: ExaminedView[] = [];
    for (const aggregate of aggregates) {
      for (const projection of this.#projections) {
        const story = await this.#read(projection, aggregate);
        const differences = await differencesOf(query, projection, aggregate, story.rows);
        if (differences.length > 0) examined.push(examinedOf(projection, aggregate, story, differences));
      }
    }
    return examined;
  }

  /** Writes the rows of aggregates as their events say; each in a transaction, with what is noted of it. */
  async mend(aggregates: readonly string[], operator: string): Promise<Repaired[]> {
    const repaired: Repaired[] = [];
    for (const aggregate of aggregates) {
      const before = repaired.length;
      for (const projection of this.#projections) {
        const done = await inTransaction(this.#dataSource, async (query) => {
          const outcome = await this.#mendOne(query, projection, aggregate);
          if (outcome !== undefined) await logRepairs(query, operator, 'rebuild view', [outcome]);
          return outcome;
        });
        if (done !== undefined) repaired.push(done);
      }
      if (repaired.length > before) continue;
      const detail = 'its views are what its events say';
      repaired.push({ about: aggregate, target: 'views', outcome: 'nothing to do', detail });
    }
    return repaired;
  }

  /** Undefined: the view is as it should be. */
  async #mendOne(query: Query, projection: Projection, aggregate: string): Promise<Repaired | undefined> {
    const about = { about: aggregate, target: `view ${projection.name}` };
    await query(`SET LOCAL lock_timeout = ${LOCK_TIMEOUT_MS}`);
    // What the live projection has written of these rows is in the stream once it has let go of them, so the events that
    // count are those that are read while the rows are held.
    await lockRows(query, projection, (await this.#read(projection, aggregate)).rows);
    const story = await this.#read(projection, aggregate);
    const differences = await differencesOf(query, projection, aggregate, story.rows);
    if (differences.length === 0) return undefined;
    const obstacle = obstacleOf(story, differences);
    if (obstacle !== undefined) return { ...about, outcome: 'refused', detail: obstacle };
    for (const table of projection.tables) {
      const rows = story.rows.of(table);
      if (rows.length > 0) await query(overwriteStatement(table), [JSON.stringify(rows)]);
    }
    return {
      ...about,
      outcome: 'repaired',
      detail: `${differences.length === 1 ? 'a row' : `${differences.length} rows`} written as ${story.events} events say`,
    };
  }

  /** All events of the aggregate that the owners' streams have, projected. */
  async #read(projection: Projection, aggregate: string): Promise<Story> {
    const { name, events: types, history } = projection;
    const rows = new ViewRows();
    let count = 0;
    for (const owner of new Set(types.map(({ contract }) => contract.owner))) {
      const stream = eventStream(owner);
      const filter = `evt.${owner}.*.*.*.${subjectToken(aggregate)}`;
      const found = await this.#streams.read(stream, 1, MAX_EVENTS, filter);
      if (found.length === MAX_EVENTS) {
        return {
          events: count,
          rows,
          obstacle: `it has more than ${MAX_EVENTS} events: build ${name} again as a whole`,
        };
      }
      for (const { subject, headers, body } of found) {
        const message = decodeMessage(subject, headers, body);
        try {
          const projected = projection.project(message.envelope.type, message.json());
          if (projected === undefined) continue;
          rows.add(projected.rows);
          count += 1;
        } catch {
          // Poison: the live projection made nothing of it either, and it is among the dead letters.
          continue;
        }
      }
    }
    if (history !== undefined && count > 0) {
      const versions = rows.of(history.table).map((row) => Number(row[history.column]));
      if (Math.min(...versions) > 1) {
        const obstacle = 'its first events are no longer in the stream: build the view again with --keep-old';
        return { events: count, rows, obstacle };
      }
    }
    return { events: count, rows };
  }
}

function examinedOf(
  { name }: Projection,
  aggregate: string,
  story: Story,
  differences: readonly ViewDifference[],
): ExaminedView {
  const obstacle = obstacleOf(story, differences);
  return {
    aggregate,
    projection: name,
    events: story.events,
    differences,
    ...(obstacle !== undefined && { obstacle }),
  };
}

/** Why the events that there are do not settle it. */
function obstacleOf({ obstacle }: Story, differences: readonly ViewDifference[]): string | undefined {
  if (obstacle !== undefined) return obstacle;
  const unexplained = differences.find(({ kind }) => kind === 'unexplained');
  if (unexplained !== undefined) {
    return (
      `no event tells of the row ${JSON.stringify(unexplained.key)} of ${unexplained.table}: either it is wrong or the ` +
      'events are gone; "fleet tracking rebuild" shows all such rows, and --accept goes without them'
    );
  }
  const lacking = differences.find(
    ({ kind, columns }) =>
      kind === 'changed' && Object.values(columns).some(({ is, should }) => is !== null && should === null),
  );
  return lacking === undefined
    ? undefined
    : `the events that are left tell less of ${lacking.table} than it has: build the view again with --keep-old`;
}

async function differencesOf(
  query: Query,
  projection: Projection,
  aggregate: string,
  rows: ViewRows,
): Promise<ViewDifference[]> {
  const differences: ViewDifference[] = [];
  for (const table of projection.tables) {
    const told = rows.of(table);
    if (told.length === 0) continue;
    const found = await query<{ is: Fields | null; should: Fields }>(compareStatement(table), [
      JSON.stringify(told),
    ]);
    for (const { is, should } of found) differences.push(differenceOf(projection, table, is, should));
    const column = aggregateColumn(table, aggregate, told);
    if (column === undefined) continue;
    const extra = await query<{ is: Fields }>(unexplainedStatement(table, column), [
      JSON.stringify(told),
      aggregate,
    ]);
    for (const { is } of extra) {
      const key = Object.fromEntries(table.keys.map((each) => [each, is[each]]));
      differences.push({
        projection: projection.name,
        table: table.name,
        key,
        kind: 'unexplained',
        columns: {},
      });
    }
  }
  return differences;
}

function differenceOf(
  { name }: Projection,
  table: ViewTable,
  is: Fields | null,
  should: Fields,
): ViewDifference {
  const key = Object.fromEntries(table.keys.map((each) => [each, should[each]]));
  if (is === null) return { projection: name, table: table.name, key, kind: 'missing', columns: {} };
  const columns = Object.fromEntries(
    Object.keys(table.columns)
      .filter((column) => JSON.stringify(is[column]) !== JSON.stringify(should[column]))
      .map((column) => [column, { is: is[column], should: should[column] }]),
  );
  return { projection: name, table: table.name, key, kind: 'changed', columns };
}

/** The key column that says whose row it is, where one does. */
function aggregateColumn(table: ViewTable, aggregate: string, rows: readonly Fields[]): string | undefined {
  return table.keys.length < 2
    ? undefined
    : table.keys.find((column) => rows.every((row) => String(row[column]) === aggregate));
}

async function lockRows(query: Query, { tables }: Projection, rows: ViewRows): Promise<void> {
  for (const table of tables) {
    const told = rows.of(table);
    if (told.length === 0) continue;
    const keys = table.keys.join(', ');
    // In the order in which the live projection takes them.
    await query(
      `SELECT FROM ${table.name} WHERE (${keys}) IN (SELECT ${keys} FROM ${toldOf(table)}) ORDER BY ${keys} FOR UPDATE`,
      [JSON.stringify(told)],
    );
  }
}

const toldOf = (table: ViewTable): string =>
  `json_to_recordset($1::json) AS told (${Object.entries(table.columns)
    .map(([column, { type }]) => `${column} ${type}`)
    .join(', ')})`;

const asJson = (table: ViewTable, alias: string): string =>
  `jsonb_build_object(${Object.keys(table.columns)
    .map((column) => `'${column}', ${alias}.${column}`)
    .join(', ')})`;

const sameKey = (table: ViewTable): string =>
  table.keys.map((column) => `live.${column} = told.${column}`).join(' AND ');

/** The rows of the events that the view does not have like this. */
function compareStatement(table: ViewTable): string {
  const present = `live.${table.keys[0]} IS NOT NULL`;
  return `
    SELECT CASE WHEN ${present} THEN ${asJson(table, 'live')} END AS is, ${asJson(table, 'told')} AS should
      FROM ${toldOf(table)} LEFT JOIN ${table.name} live ON ${sameKey(table)}
     WHERE CASE WHEN ${present} THEN ${asJson(table, 'live')} END IS DISTINCT FROM ${asJson(table, 'told')}
     LIMIT 100`;
}

/** The rows of the view that no event tells of. */
function unexplainedStatement(table: ViewTable, column: string): string {
  return `
    SELECT ${asJson(table, 'live')} AS is FROM ${table.name} live
     WHERE live.${column} = $2::${table.columns[column]?.type}
       AND NOT EXISTS (SELECT FROM ${toldOf(table)} WHERE ${sameKey(table)}) LIMIT 100`;
}

/** Rows as the events say, whatever was there. */
function overwriteStatement(table: ViewTable): string {
  const columns = Object.keys(table.columns);
  const others = columns.filter((column) => !table.keys.includes(column));
  const conflict =
    others.length === 0
      ? 'DO NOTHING'
      : `DO UPDATE SET ${others.map((column) => `${column} = excluded.${column}`).join(', ')}`;
  return `
    INSERT INTO ${table.name} (${columns.join(', ')})
    SELECT ${columns.join(', ')} FROM ${toldOf(table)} ORDER BY ${table.keys.join(', ')}
    ON CONFLICT (${table.keys.join(', ')}) ${conflict}`;
}
