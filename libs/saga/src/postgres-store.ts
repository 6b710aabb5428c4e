import { bulkParameters, defineBulk, type BulkStatement } from '@flotilla/persistence/bulk';
import type {
  Branch,
  BufferedEvent,
  HistoryEntry,
  HistoryKind,
  Parked,
  PendingCancel,
  RefusedCancel,
  SagaDirection,
  SagaInstance,
  SagaRef,
  SagaStatus,
  SagaWaiting,
} from './instance.ts';
import type { SagaReason } from './definition/next.ts';
import { RecentInstances } from './recent-instances.ts';
import {
  DEFAULT_LIST_LIMIT,
  type DueTimer,
  type SagaCount,
  type SagaFilter,
  type SagaStore,
} from './store.ts';

/** The current unit of work, as this library sees it: SQL in its transaction. */
export interface SagaUnit {
  query<R>(sql: string, params?: unknown[]): Promise<R[]>;
  /** Runs a bulk statement for one row, together with what other units ask at the same time. Without it: by `query`. */
  bulk?<R>(statement: BulkStatement, row: readonly unknown[]): Promise<R[]>;
  /** Runs `action` once the unit of work is committed. Without it no instance is recalled. */
  afterCommit?(action: () => void): void;
}

/** What is not queried by column. What a saga does not use takes no room. */
interface Progress {
  readonly direction: SagaDirection;
  readonly waiting: SagaWaiting | null;
  readonly undo: readonly string[];
  readonly branches?: readonly Branch[];
  readonly deadlines?: Readonly<Record<string, number>>;
  readonly buffer?: readonly BufferedEvent[];
  readonly signals?: readonly string[];
  readonly cancel?: PendingCancel;
  readonly cancelRefused?: RefusedCancel;
  readonly failing?: SagaReason;
  readonly reason?: SagaReason;
  readonly parked?: Parked;
  readonly inDoubt?: true;
}

interface InstanceRow {
  readonly id: string;
  readonly saga: string;
  readonly version: number;
  readonly revision: number;
  readonly status: SagaStatus;
  readonly step: string | null;
  readonly attempt: number;
  readonly epoch: number;
  readonly command_id: string | null;
  readonly due_at: number | null;
  readonly progress: Progress;
  readonly data: unknown;
  readonly correlation_id: string | null;
  readonly traceparent: string | null;
  readonly started_at: number;
  readonly updated_at: number;
  readonly ended_at: number | null;
}

// Times go in and out as milliseconds in double precision, so that no driver's idea of dates comes into it.
const time = (parameter: string): string => `to_timestamp(${parameter}::float8 / 1000)`;
const millis = (column: string): string => `(extract(epoch FROM ${column}) * 1000)::float8 AS ${column}`;

const COLUMNS = `id, saga, version, revision, status, step, attempt, epoch, command_id, ${millis('due_at')}, progress,
  data, correlation_id, traceparent, ${millis('started_at')}, ${millis('updated_at')}, ${millis('ended_at')}`;

const BY_REF = 'id = $1 AND saga = $2';

const CLAIM = `SELECT ${COLUMNS} FROM saga_instances WHERE ${BY_REF} AND due_at <= ${time('$3')} FOR UPDATE SKIP LOCKED`;

const LOAD = defineBulk(
  'reads',
  { id: 'text', saga: 'text' },
  (given) => `
  SELECT given.n::int AS n, found.* FROM ${given} CROSS JOIN LATERAL (
    SELECT ${COLUMNS} FROM saga_instances
    WHERE saga_instances.id = given.id AND saga_instances.saga = given.saga OFFSET 0
  ) AS found`,
);

/** Adds the given rows' `lines` to the history: of each row that `condition` lets pass. */
const history = (condition: string): string => `
  INSERT INTO saga_history (id, saga, at, kind, step, detail)
  SELECT given.id, given.saga, ${time('line.at')}, line.kind, line.step, line.detail
  FROM given ${condition} CROSS JOIN LATERAL ROWS FROM (
    jsonb_to_recordset(given.lines) AS (at float8, kind text, step text, detail jsonb)
  ) WITH ORDINALITY AS line (at, kind, step, detail, number)
  ORDER BY given.n, line.number`;

/** What every transition writes, with the types of the parameters; see {@link changing}. */
const CHANGING = {
  version: 'int',
  revision: 'int',
  status: 'text',
  step: 'text',
  attempt: 'int',
  epoch: 'int',
  command_id: 'text',
  due_at: 'float8',
  progress: 'jsonb',
  updated_at: 'float8',
  ended_at: 'float8',
};

const GIVEN_CHANGES = `given.version, given.revision, given.status, given.step, given.attempt, given.epoch, given.command_id,
      ${time('given.due_at')}, given.progress, ${time('given.updated_at')}, ${time('given.ended_at')}`;

const INSERT = defineBulk(
  'writes',
  {
    id: 'text',
    saga: 'text',
    ...CHANGING,
    data: 'jsonb',
    correlation_id: 'text',
    traceparent: 'text',
    started_at: 'float8',
    lines: 'jsonb',
  },
  (given) => `
  WITH given AS (SELECT * FROM ${given}), written AS (
    INSERT INTO saga_instances (id, saga, ${Object.keys(CHANGING).join(', ')}, data, correlation_id, traceparent, started_at)
    SELECT given.id, given.saga, ${GIVEN_CHANGES},
      given.data, given.correlation_id, given.traceparent, ${time('given.started_at')}
    FROM given
    ON CONFLICT DO NOTHING
    RETURNING id, saga
  ), recorded AS (${history('JOIN written USING (id, saga)')})
  SELECT given.n::int AS n FROM given JOIN written USING (id, saga)`,
);

/**
 * An update in the form of an insert that always meets its row: the row is found by the primary key whatever the
 * planner believes of the table. Data that did not change is given as JSON null: its large values are not written
 * again.
 */
const SAVE = defineBulk(
  'writes',
  { id: 'text', saga: 'text', ...CHANGING, data: 'jsonb', lines: 'jsonb' },
  (given) => `
  WITH given AS (SELECT * FROM ${given}), written AS (
    INSERT INTO saga_instances (id, saga, ${Object.keys(CHANGING).join(', ')}, data, correlation_id, started_at)
    SELECT given.id, given.saga, ${GIVEN_CHANGES},
      given.data, found.correlation_id, found.started_at
    FROM given CROSS JOIN LATERAL (
      SELECT correlation_id, started_at FROM saga_instances
      WHERE saga_instances.id = given.id AND saga_instances.saga = given.saga
        AND saga_instances.revision = given.revision - 1 OFFSET 0
    ) AS found
    ON CONFLICT (id, saga) DO UPDATE SET
      ${Object.keys(CHANGING)
        .map((column) => `${column} = excluded.${column}`)
        .join(', ')},
      data = CASE WHEN excluded.data = 'null'::jsonb THEN saga_instances.data ELSE excluded.data END
    WHERE saga_instances.revision = excluded.revision - 1
    RETURNING id, saga
  ), recorded AS (${history('JOIN written USING (id, saga)')})
  SELECT given.n::int AS n FROM given JOIN written USING (id, saga)`,
);

const RECORD = defineBulk(
  'writes',
  { id: 'text', saga: 'text', lines: 'jsonb' },
  (given) => `
  WITH given AS (SELECT * FROM ${given}), recorded AS (${history('')})
  SELECT given.n::int AS n FROM given`,
);

const PURGE = `
  WITH ended AS (
    SELECT id, saga FROM saga_instances WHERE ended_at < ${time('$1')} ORDER BY ended_at LIMIT $2 FOR UPDATE SKIP LOCKED
  ), lines AS (
    DELETE FROM saga_history USING ended WHERE saga_history.id = ended.id AND saga_history.saga = ended.saga
  ), purged AS (
    DELETE FROM saga_instances USING ended
    WHERE saga_instances.id = ended.id AND saga_instances.saga = ended.saga
    RETURNING 1
  )
  SELECT count(*)::int AS purged FROM purged`;

/**
 * Instances in Postgres, in the service's own database: see {@link sagaMigrations}. A transition is one read by
 * primary key, unless this process made the one before it, and one statement that writes the instance and its history.
 */
export class PostgresSagaStore implements SagaStore {
  readonly #unit: SagaUnit;
  readonly #recent = new RecentInstances();

  /** @param unit runs SQL in the unit of work that the caller is in at that moment */
  constructor(unit: SagaUnit) {
    this.#unit = unit;
  }

  async insert(instance: SagaInstance, history: readonly HistoryEntry[]): Promise<boolean> {
    const { id, saga, correlationId, traceparent, startedAt } = instance;
    const data = JSON.stringify(instance.data);
    const written = await this.#bulk(INSERT, [
      id,
      saga,
      ...changing(instance),
      data,
      correlationId,
      traceparent,
      startedAt,
      linesOf(history),
    ]);
    if (written.length !== 1) return false;
    this.#keep(instance, data);
    return true;
  }

  async load({ id, saga }: SagaRef): Promise<SagaInstance | undefined> {
    const [row] = await this.#bulk<InstanceRow>(LOAD, [id, saga]);
    return row && fromRow(row);
  }

  recall(ref: SagaRef): SagaInstance | undefined {
    return this.#recent.take(ref);
  }

  async save(before: SagaInstance, next: SagaInstance, history: readonly HistoryEntry[]): Promise<boolean> {
    // What is kept is out of date from here on, also for units that share this one's transaction.
    this.#recent.take(before);
    const same = next.data === before.data;
    // Only JSON that is surely what is stored: data in memory may have been changed in place since it was read.
    const data = same ? this.#recent.textOf(next.data) : JSON.stringify(next.data);
    const written = await this.#bulk(SAVE, [
      before.id,
      before.saga,
      ...changing(next),
      same ? 'null' : data,
      linesOf(history),
    ]);
    if (written.length !== 1) return false;
    if (data !== undefined) this.#keep(next, data);
    return true;
  }

  async record({ id, saga }: SagaRef, history: readonly HistoryEntry[]): Promise<void> {
    if (history.length > 0) await this.#bulk(RECORD, [id, saga, linesOf(history)]);
  }

  async nextTimers(limit: number): Promise<DueTimer[]> {
    const rows = await this.#unit.query<
      Pick<InstanceRow, 'id' | 'saga' | 'traceparent'> & { due_at: number }
    >(
      `SELECT id, saga, traceparent, ${millis('due_at')} FROM saga_instances WHERE due_at IS NOT NULL
       ORDER BY saga_instances.due_at LIMIT $1`,
      [limit],
    );
    return rows.map(({ id, saga, due_at: dueAt, traceparent }) => ({ saga, id, dueAt, traceparent }));
  }

  async claimDue({ id, saga }: SagaRef, now: number): Promise<SagaInstance | undefined> {
    const [row] = await this.#unit.query<InstanceRow>(CLAIM, [id, saga, now]);
    return row && fromRow(row);
  }

  async list(filter: SagaFilter): Promise<SagaInstance[]> {
    const { saga, status, step, version, unchangedSince, limit = DEFAULT_LIST_LIMIT, after } = filter;
    const params: unknown[] = [limit];
    const parameter = (value: unknown): string => `$${params.push(value)}`;
    const conditions = [
      ...(saga === undefined ? [] : [`saga = ${parameter(saga)}`]),
      ...(status === undefined ? [] : [status === 'open' ? OPEN : `status = ${parameter(status)}`]),
      ...(step === undefined ? [] : [`step = ${parameter(step)}`]),
      ...(version === undefined ? [] : [`version = ${parameter(version)}`]),
      ...(unchangedSince === undefined ? [] : [`updated_at < ${time(parameter(unchangedSince))}`]),
      ...(after === undefined ? [] : [`(id, saga) < (${parameter(after.id)}, ${parameter(after.saga)})`]),
    ];
    const where = conditions.length === 0 ? '' : `WHERE ${conditions.join(' AND ')}`;
    const rows = await this.#unit.query<InstanceRow>(
      `SELECT ${COLUMNS} FROM saga_instances ${where} ORDER BY id DESC, saga DESC LIMIT $1`,
      params,
    );
    return rows.map(fromRow);
  }

  async history({ id, saga }: SagaRef): Promise<HistoryEntry[]> {
    return this.#unit.query<{
      at: number;
      kind: HistoryKind;
      step: string | null;
      detail: HistoryEntry['detail'];
    }>(`SELECT ${millis('at')}, kind, step, detail FROM saga_history WHERE ${BY_REF} ORDER BY sequence`, [
      id,
      saga,
    ]);
  }

  async countOpen(): Promise<SagaCount[]> {
    return this.#unit.query<SagaCount>(
      `SELECT saga, version, status, count(*)::int AS count FROM saga_instances WHERE ${OPEN}
       GROUP BY saga, version, status ORDER BY saga, version, status`,
    );
  }

  async purge(endedBefore: number, limit: number): Promise<number> {
    const [row] = await this.#unit.query<{ purged: number }>(PURGE, [endedBefore, limit]);
    return row?.purged ?? 0;
  }

  #keep(instance: SagaInstance, data: string): void {
    this.#unit.afterCommit?.(() => this.#recent.put(instance, data));
  }

  #bulk<R>(statement: BulkStatement, row: readonly unknown[]): Promise<R[]> {
    return this.#unit.bulk
      ? this.#unit.bulk<R>(statement, row)
      : this.#unit.query<R>(statement.text, bulkParameters(statement, [row]));
  }
}

const OPEN = `(due_at IS NOT NULL OR status = 'parked')`;

/** The values of {@link CHANGING}, in its order. */
function changing(instance: SagaInstance): unknown[] {
  const { version, revision, status, step, attempt, epoch, commandId, dueAt, updatedAt, endedAt } = instance;
  const { direction, waiting, undo, branches, deadlines, buffer, signals } = instance;
  const { cancel, cancelRefused, failing, reason, parked, inDoubt } = instance;
  const progress: Progress = {
    direction,
    waiting,
    undo,
    ...(branches.length > 0 && { branches }),
    ...(deadlines && { deadlines }),
    ...(buffer.length > 0 && { buffer }),
    ...(signals.length > 0 && { signals }),
    ...(cancel && { cancel }),
    ...(cancelRefused && { cancelRefused }),
    ...(failing && { failing }),
    ...(reason && { reason }),
    ...(parked && { parked }),
    ...(inDoubt && { inDoubt }),
  };
  return [
    version,
    revision,
    status,
    step,
    attempt,
    epoch,
    commandId,
    dueAt,
    JSON.stringify(progress),
    updatedAt,
    endedAt,
  ];
}

/** The history as JSON, for `jsonb_to_recordset`. */
function linesOf(history: readonly HistoryEntry[]): string {
  return JSON.stringify(history);
}

function fromRow(row: InstanceRow): SagaInstance {
  const { direction, waiting, undo, branches, deadlines, buffer, signals } = row.progress;
  const { cancel, cancelRefused, failing, reason, parked, inDoubt } = row.progress;
  return {
    saga: row.saga,
    id: row.id,
    version: row.version,
    revision: row.revision,
    status: row.status,
    direction,
    step: row.step,
    waiting,
    attempt: row.attempt,
    epoch: row.epoch,
    commandId: row.command_id,
    dueAt: row.due_at,
    branches: branches ?? [],
    deadlines: deadlines ?? null,
    undo,
    buffer: buffer ?? [],
    signals: signals ?? [],
    cancel: cancel ?? null,
    cancelRefused: cancelRefused ?? null,
    failing: failing ?? null,
    reason: reason ?? null,
    parked: parked ?? null,
    ...(inDoubt && { inDoubt }),
    data: row.data,
    correlationId: row.correlation_id,
    traceparent: row.traceparent,
    startedAt: row.started_at,
    updatedAt: row.updated_at,
    endedAt: row.ended_at,
  };
}
