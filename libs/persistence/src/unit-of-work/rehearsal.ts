import type { DataSource } from 'typeorm';
import { BusinessError } from '@flotilla/contracts-protocol';
import { systemClock, type Clock } from '@flotilla/kernel';
import { PipelinedClient } from '../connection/pipelined-client.ts';
import { lockNow } from '../inbox/inbox-statements.ts';
import type { OutgoingMessage } from '../outbox/outgoing-message.ts';
import { PersistenceOptionsError, UnitOfWorkTimedOutError } from '../persistence.errors.ts';
import { unitStorage } from './active-unit-of-work.ts';
import { guardUnit, setTransactionState } from './lane.ts';
import { MemberUnit } from './member-unit.ts';

export interface RehearseOptions {
  /** Names of what the work competes for, as for `run`; they are held until the rehearsal is over. */
  readonly locks?: readonly string[];
  /** As for `process`: called, in a transaction of its own, when the work is refused. */
  readonly onRefusal?: (error: BusinessError) => void | Promise<void>;
  /** After this the connection is cut, in milliseconds. Default 10,000; a statement gets half of it. */
  readonly withinMs?: number;
  /** Rows shown of each table, at most. Default 20. */
  readonly rowsPerTable?: number;
  readonly clock?: Clock;
}

/** What would have changed in one table. */
export interface TableChange {
  /** With its schema unless that is `public`. */
  readonly table: string;
  readonly inserted: number;
  readonly updated: number;
  readonly deleted: number;
  /** Rows that were inserted, updated or deleted, as far as they were looked for. */
  readonly rows: readonly RowChange[];
  /** Why not all of them are shown. */
  readonly notShown?: string;
}

export interface RowChange {
  /** Null for a row that was not there. */
  readonly before: Readonly<Record<string, unknown>> | null;
  /** Null for a row that would be gone. */
  readonly after: Readonly<Record<string, unknown>> | null;
}

/** What a work would have done. Nothing of it is. */
export interface Rehearsal<T> {
  readonly outcome:
    { readonly result: T } | { readonly refusal: BusinessError } | { readonly error: unknown };
  /** What it would have sent, in order. */
  readonly messages: readonly OutgoingMessage[];
  readonly tables: readonly TableChange[];
  /** How many actions it wanted done after the commit; none was. */
  readonly afterCommit: number;
}

const DEFAULT_WITHIN_MS = 10_000;
const DEFAULT_ROWS = 20;
/** Larger tables are counted and not looked through, in bytes. */
const LOOK_THROUGH_BYTES = 64 * 1024 * 1024;
/** Old versions of rows that are looked through for those that are gone, at most. */
const MAX_OLD_ROWS = 1_000;
/** What is reported as messages, or is only bookkeeping. */
const OWN_TABLE = /^(?:inbox|outbox)(?:_|$)/;

const COUNTS = `SELECT relid::text AS id, schemaname AS schema, relname AS name, n_tup_ins::int AS inserted,
    n_tup_upd::int AS updated, n_tup_del::int AS deleted
  FROM pg_stat_xact_user_tables WHERE n_tup_ins + n_tup_upd + n_tup_del > 0 ORDER BY schemaname, relname`;

interface Count {
  readonly id: string;
  readonly schema: string;
  readonly name: string;
  readonly inserted: number;
  readonly updated: number;
  readonly deleted: number;
}

/**
 * Runs work in a unit of work of its own that is always undone, and tells what it would have changed and sent. Locks and
 * rows that it takes are held meanwhile, so it gets little time. What the work does outside of its unit, such as a call to
 * another system, is done: rehearse only what keeps its effects in the unit.
 */
export async function rehearse<T>(
  dataSource: DataSource,
  work: () => Promise<T>,
  options: RehearseOptions = {},
): Promise<Rehearsal<T>> {
  const { withinMs = DEFAULT_WITHIN_MS, clock = systemClock } = options;
  const runner = dataSource.createQueryRunner();
  const client: unknown = await runner.connect();
  if (!(client instanceof PipelinedClient)) {
    await runner.release();
    throw new PersistenceOptionsError('the rehearsal', ['its DataSource was not made by createDataSource()']);
  }
  const stage = new Stage(dataSource, client, options);
  const late = new UnitOfWorkTimedOutError(withinMs);
  const patience = clock.after(withinMs, () => client.abort(late));
  const begin = async (): Promise<void> => {
    await client.send('BEGIN READ WRITE');
    setTransactionState(runner, true);
    await client.send(
      `SET LOCAL statement_timeout = ${Math.ceil(withinMs / 2)}; SET LOCAL lock_timeout = 2000`,
    );
  };
  const end = async (): Promise<void> => {
    client.guard = undefined;
    setTransactionState(runner, false);
    if (client.lost === undefined) await client.send('ROLLBACK');
  };
  const inUnit = async <R>(action: () => R | Promise<R>): Promise<{ unit: MemberUnit; result: R }> => {
    const unit = new MemberUnit(runner.manager, client, undefined);
    client.guard = guardUnit;
    try {
      const running = unitStorage.run({ owner: dataSource, unit }, async () => action());
      return { unit, result: await unlessLost(client, running) };
    } finally {
      client.guard = undefined;
      unit.end();
    }
  };
  try {
    await begin();
    const before = await stage.counts();
    try {
      const { unit, result } = await inUnit(async () => {
        const unitNow = unitStorage.getStore()?.unit;
        if (options.locks !== undefined && unitNow !== undefined) await lockNow(unitNow, options.locks);
        return work();
      });
      // What a commit would have checked.
      await client.send('SET CONSTRAINTS ALL IMMEDIATE');
      return {
        outcome: { result },
        messages: unit.messages.map(({ message }) => message),
        tables: await stage.changesSince(before),
        afterCommit: unit.afterCommitActions.length,
      };
    } catch (error) {
      if (client.lost !== undefined) return failed(client.lost === late ? late : error);
      if (!isRefusal(error) || options.onRefusal === undefined) {
        return isRefusal(error)
          ? { outcome: { refusal: error }, messages: [], tables: [], afterCommit: 0 }
          : failed(error);
      }
      // A refusal undoes the work and keeps what is answered.
      await end();
      await begin();
      const { onRefusal } = options;
      const { unit } = await inUnit(() => onRefusal(error));
      return {
        outcome: { refusal: error },
        messages: unit.messages.map(({ message }) => message),
        tables: [],
        afterCommit: 0,
      };
    }
  } finally {
    patience.cancel();
    try {
      await end();
    } finally {
      await runner.release();
    }
  }
}

function isRefusal(error: unknown): error is BusinessError {
  return error instanceof BusinessError;
}

function failed(error: unknown): Rehearsal<never> {
  return { outcome: { error }, messages: [], tables: [], afterCommit: 0 };
}

/** Work that hangs for another reason than the database ends with its connection too. */
function unlessLost<R>(client: PipelinedClient, running: Promise<R>): Promise<R> {
  return new Promise((resolve, reject) => {
    const lost = (): void => reject(client.lost ?? new Error('The connection was lost'));
    client.once('end', lost);
    running.then(resolve, reject).finally(() => client.off('end', lost));
  });
}

/** Looks at what the transaction of a rehearsal has changed. */
class Stage {
  readonly #dataSource: DataSource;
  readonly #client: PipelinedClient;
  readonly #rows: number;

  constructor(dataSource: DataSource, client: PipelinedClient, options: RehearseOptions) {
    this.#dataSource = dataSource;
    this.#client = client;
    this.#rows = options.rowsPerTable ?? DEFAULT_ROWS;
  }

  /** The numbers of a connection may still hold those of the transaction before. */
  async counts(): Promise<ReadonlyMap<string, Count>> {
    const { rows } = await this.#client.ask<Count>(COUNTS, []);
    return new Map(rows.map((row) => [row.id, row]));
  }

  async changesSince(before: ReadonlyMap<string, Count>): Promise<TableChange[]> {
    const changes: TableChange[] = [];
    for (const count of (await this.counts()).values()) {
      const then = before.get(count.id);
      const change = {
        inserted: count.inserted - (then?.inserted ?? 0),
        updated: count.updated - (then?.updated ?? 0),
        deleted: count.deleted - (then?.deleted ?? 0),
      };
      if (change.inserted + change.updated + change.deleted === 0) continue;
      if (count.schema === 'public' && OWN_TABLE.test(count.name)) continue;
      const table = count.schema === 'public' ? count.name : `${count.schema}.${count.name}`;
      changes.push({ table, ...change, ...(await this.#rowsOf(count, change)) });
    }
    return changes;
  }

  async #rowsOf({ id, schema, name }: Count, change: Changed): Promise<Shown> {
    const [facts] = await this.#ask<{ bytes: string; key: string[] | null }>(
      `SELECT pg_relation_size($1::oid) AS bytes,
              (SELECT array_agg(a.attname::text) FROM pg_index i JOIN pg_attribute a
                 ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
                WHERE i.indrelid = $1::oid AND i.indisprimary) AS key`,
      [id],
    );
    if (Number(facts?.bytes) > LOOK_THROUGH_BYTES)
      return { rows: [], notShown: 'the table is too large to look through' };
    const target = `${quoted(schema)}.${quoted(name)}`;
    const key = facts?.key ?? [];
    const written = await this.#writtenRows(target, key, change);
    const gone = await this.#goneRows(target, key, change);
    const notShown = [written.notShown, gone.notShown].filter((each) => each !== undefined).join('; ');
    return { rows: [...written.rows, ...gone.rows], ...(notShown !== '' && { notShown }) };
  }

  async #writtenRows(target: string, key: readonly string[], { inserted, updated }: Changed): Promise<Shown> {
    const expected = inserted + updated;
    if (expected === 0) return { rows: [] };
    const after = await this.#ask<{ row: Record<string, unknown> }>(
      `SELECT to_jsonb(t) AS row FROM ${target} AS t WHERE t.xmin = pg_current_xact_id()::xid LIMIT ${this.#rows}`,
      [],
    );
    const rows: RowChange[] = [];
    for (const { row } of after) rows.push({ before: await this.#before(target, key, row), after: row });
    if (rows.length === this.#rows && expected > this.#rows)
      return { rows, notShown: `only the first ${this.#rows} are shown` };
    if (rows.length < expected)
      return {
        rows,
        notShown: 'rows written more than once, or in a savepoint, are shown once or not at all',
      };
    return { rows };
  }

  /**
   * Everybody else still sees the rows that the transaction has deleted, and by `xmax` that it has done something to them:
   * those are gone that it does not see itself.
   */
  async #goneRows(target: string, key: readonly string[], { updated, deleted }: Changed): Promise<Shown> {
    if (deleted === 0) return { rows: [] };
    if (key.length === 0 && updated > 0)
      return {
        rows: [],
        notShown: 'without a primary key, rows that are gone cannot be told from those that were updated',
      };
    const [transaction] = await this.#ask<{ id: string }>('SELECT pg_current_xact_id()::xid::text AS id', []);
    const old = await this.#dataSource.query<OldRow[]>(
      `SELECT t.ctid::text AS place, to_jsonb(t) AS row FROM ${target} AS t
        WHERE t.xmax = $1::text::xid LIMIT ${MAX_OLD_ROWS}`,
      [transaction?.id],
    );
    const gone = await this.#ask<{ row: Record<string, unknown> }>(
      `SELECT o.old -> 'row' AS row FROM jsonb_array_elements($1::jsonb) AS o (old)
        WHERE NOT EXISTS (SELECT 1 FROM ${target} AS t WHERE ${isSame(key)}) LIMIT ${this.#rows}`,
      [JSON.stringify(old)],
    );
    const rows = gone.map(({ row }): RowChange => ({ before: row, after: null }));
    if (rows.length === this.#rows && deleted > this.#rows)
      return { rows, notShown: `only the first ${this.#rows} that are gone are shown` };
    if (rows.length < deleted)
      return { rows, notShown: 'rows deleted in a savepoint, or inserted before, are not shown' };
    return { rows };
  }

  /** As everybody else sees the row: on another connection. */
  async #before(
    target: string,
    key: readonly string[],
    row: Readonly<Record<string, unknown>>,
  ): Promise<Record<string, unknown> | null> {
    if (key.length === 0) return null;
    const condition = key.map((column, n) => `to_jsonb(t) -> ${text(column)} = $${n + 1}::jsonb`);
    const [found] = await this.#dataSource.query<{ row: Record<string, unknown> }[]>(
      `SELECT to_jsonb(t) AS row FROM ${target} AS t WHERE ${condition.join(' AND ')}`,
      key.map((column) => JSON.stringify(row[column])),
    );
    return found?.row ?? null;
  }

  async #ask<R>(sql: string, parameters: readonly unknown[]): Promise<R[]> {
    return (await this.#client.ask<R>(sql, parameters)).rows;
  }
}

/** How many rows of a table the work has written. */
type Changed = Pick<TableChange, 'inserted' | 'updated' | 'deleted'>;
type Shown = Pick<TableChange, 'rows' | 'notShown'>;

interface OldRow {
  readonly place: string;
  readonly row: Record<string, unknown>;
}

/** That `t` is the row `o.old`: by its key, or where it was, which is the same as long as nothing was updated. */
function isSame(key: readonly string[]): string {
  if (key.length === 0) return `t.ctid::text = o.old ->> 'place'`;
  return key
    .map((column) => `to_jsonb(t) -> ${text(column)} = o.old -> 'row' -> ${text(column)}`)
    .join(' AND ');
}

function text(value: string): string {
  return `'${value.replaceAll("'", "''")}'`;
}

function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
