import type {
  BufferedEvent,
  HistoryEntry,
  HistoryKind,
  Parked,
  SagaDirection,
  SagaInstance,
  SagaRef,
  SagaStatus,
  SagaWaiting,
} from './instance.ts';
import type { SagaReason } from './definition.ts';
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
}

/** What is not queried by column. */
interface Progress {
  readonly direction: SagaDirection;
  readonly waiting: SagaWaiting | null;
  readonly undo: readonly string[];
  readonly buffer?: readonly BufferedEvent[];
  readonly cancel?: SagaReason;
  readonly reason?: SagaReason;
  readonly parked?: Parked;
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
  readonly started_at: number;
  readonly updated_at: number;
  readonly ended_at: number | null;
}

// Times go in and out as milliseconds in double precision, so that no driver's idea of dates comes into it.
const time = (parameter: string): string => `to_timestamp(${parameter}::float8 / 1000)`;
const millis = (column: string): string => `(extract(epoch FROM ${column}) * 1000)::float8 AS ${column}`;

const COLUMNS = `id, saga, version, revision, status, step, attempt, epoch, command_id, ${millis('due_at')}, progress,
  data, correlation_id, ${millis('started_at')}, ${millis('updated_at')}, ${millis('ended_at')}`;

const BY_REF = 'id = $1 AND saga = $2';

const LOAD = `SELECT ${COLUMNS} FROM saga_instances WHERE ${BY_REF}`;

const CLAIM = `${LOAD} AND due_at <= ${time('$3')} FOR UPDATE SKIP LOCKED`;

/** The history rows of a statement, from four arrays: see {@link linesOf}. */
const historyFrom = (at: string, kinds: string, steps: string, details: string): string => `
  INSERT INTO saga_history (id, saga, at, kind, step, detail)
  SELECT $1, $2, ${time('line.at')}, line.kind, line.step, line.detail::jsonb
  FROM unnest(${at}::float8[], ${kinds}::text[], ${steps}::text[], ${details}::text[]) WITH ORDINALITY
    AS line (at, kind, step, detail, number)`;

const INSERT = `
  WITH written AS (
    INSERT INTO saga_instances (id, saga, version, revision, status, step, attempt, epoch, command_id, due_at, progress,
      data, correlation_id, started_at, updated_at, ended_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, ${time('$10')}, $11::jsonb, $12::jsonb, $13, ${time('$14')},
      ${time('$15')}, ${time('$16')})
    ON CONFLICT DO NOTHING
    RETURNING 1
  ), recorded AS (
    ${historyFrom('$17', '$18', '$19', '$20')}
    WHERE EXISTS (SELECT FROM written) ORDER BY line.number
  )
  SELECT count(*)::int AS written FROM written`;

const SAVE = `
  WITH written AS (
    UPDATE saga_instances SET revision = $4, status = $5, step = $6, attempt = $7, epoch = $8, command_id = $9,
      due_at = ${time('$10')}, progress = $11::jsonb, data = coalesce($12::jsonb, data), updated_at = ${time('$13')},
      ended_at = ${time('$14')}
    WHERE ${BY_REF} AND revision = $3
    RETURNING 1
  ), recorded AS (
    ${historyFrom('$15', '$16', '$17', '$18')}
    WHERE EXISTS (SELECT FROM written) ORDER BY line.number
  )
  SELECT count(*)::int AS written FROM written`;

const RECORD = `
  WITH recorded AS (${historyFrom('$3', '$4', '$5', '$6')} ORDER BY line.number)
  SELECT 1`;

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
 * primary key and one statement that writes the instance and its history.
 */
export class PostgresSagaStore implements SagaStore {
  readonly #unit: SagaUnit;

  /** @param unit runs SQL in the unit of work that the caller is in at that moment */
  constructor(unit: SagaUnit) {
    this.#unit = unit;
  }

  async insert(instance: SagaInstance, history: readonly HistoryEntry[]): Promise<boolean> {
    const { id, saga, version, data, correlationId, startedAt, updatedAt } = instance;
    const [row] = await this.#unit.query<{ written: number }>(INSERT, [
      id,
      saga,
      version,
      ...changing(instance),
      JSON.stringify(data),
      correlationId,
      startedAt,
      updatedAt,
      instance.endedAt,
      ...linesOf(history),
    ]);
    return row?.written === 1;
  }

  async load({ id, saga }: SagaRef): Promise<SagaInstance | undefined> {
    const [row] = await this.#unit.query<InstanceRow>(LOAD, [id, saga]);
    return row && fromRow(row);
  }

  async save(before: SagaInstance, next: SagaInstance, history: readonly HistoryEntry[]): Promise<boolean> {
    const [row] = await this.#unit.query<{ written: number }>(SAVE, [
      before.id,
      before.saga,
      before.revision,
      ...changing(next),
      // Data that did not change is not sent, and its large values are not written again.
      next.data === before.data ? null : JSON.stringify(next.data),
      next.updatedAt,
      next.endedAt,
      ...linesOf(history),
    ]);
    return row?.written === 1;
  }

  async record({ id, saga }: SagaRef, history: readonly HistoryEntry[]): Promise<void> {
    if (history.length > 0) await this.#unit.query(RECORD, [id, saga, ...linesOf(history)]);
  }

  async nextTimers(limit: number): Promise<DueTimer[]> {
    const rows = await this.#unit.query<{ id: string; saga: string; due_at: number }>(
      `SELECT id, saga, ${millis('due_at')} FROM saga_instances WHERE due_at IS NOT NULL
       ORDER BY saga_instances.due_at LIMIT $1`,
      [limit],
    );
    return rows.map(({ id, saga, due_at: dueAt }) => ({ saga, id, dueAt }));
  }

  async claimDue({ id, saga }: SagaRef, now: number): Promise<SagaInstance | undefined> {
    const [row] = await this.#unit.query<InstanceRow>(CLAIM, [id, saga, now]);
    return row && fromRow(row);
  }

  async list({ saga, status, limit = DEFAULT_LIST_LIMIT, after }: SagaFilter): Promise<SagaInstance[]> {
    const params: unknown[] = [limit];
    const parameter = (value: unknown): string => `$${params.push(value)}`;
    const conditions = [
      ...(saga === undefined ? [] : [`saga = ${parameter(saga)}`]),
      ...(status === undefined ? [] : [status === 'open' ? OPEN : `status = ${parameter(status)}`]),
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
}

const OPEN = `(due_at IS NOT NULL OR status = 'parked')`;

/** The values that both statements write, in the order of their parameters: revision to progress. */
function changing(instance: SagaInstance): unknown[] {
  const { revision, status, step, attempt, epoch, commandId, dueAt } = instance;
  const { direction, waiting, undo, buffer, cancel, reason, parked } = instance;
  const progress: Progress = {
    direction,
    waiting,
    undo,
    ...(buffer.length > 0 && { buffer }),
    ...(cancel && { cancel }),
    ...(reason && { reason }),
    ...(parked && { parked }),
  };
  return [revision, status, step, attempt, epoch, commandId, dueAt, JSON.stringify(progress)];
}

/** The history as arrays: times, kinds, steps and details. */
function linesOf(history: readonly HistoryEntry[]): unknown[][] {
  return [
    history.map(({ at }) => at),
    history.map(({ kind }) => kind),
    history.map(({ step }) => step),
    history.map(({ detail }) => (detail === null ? null : JSON.stringify(detail))),
  ];
}

function fromRow(row: InstanceRow): SagaInstance {
  const { direction, waiting, undo, buffer, cancel, reason, parked } = row.progress;
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
    undo,
    buffer: buffer ?? [],
    cancel: cancel ?? null,
    reason: reason ?? null,
    parked: parked ?? null,
    data: row.data,
    correlationId: row.correlation_id,
    startedAt: row.started_at,
    updatedAt: row.updated_at,
    endedAt: row.ended_at,
  };
}
