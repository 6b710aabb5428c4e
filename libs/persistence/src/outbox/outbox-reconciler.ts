import type { Pool } from 'pg';
import { OUTBOX_CHANNEL } from './outbox-row.ts';

/** What a stream says of itself. */
export interface StreamState {
  /** When the stream was created, milliseconds since the epoch. */
  readonly createdAtMs: number;
  /** The last sequence it gave out; 0 when it is new. */
  readonly lastSequence: number;
}

/** The port to the broker for finding out what it has lost. */
export interface StreamView {
  /** Undefined: there is no such stream. */
  streamState(stream: string): Promise<StreamState | undefined>;
  /**
   * Whether that message is at that place of the stream, or may have been and was removed as it should (acknowledged,
   * or too old): false only if the broker has certainly lost it. Finds the loss when a broker was restored from an old
   * copy and has given out the lost sequences again. Default: believed to be there.
   */
  exists?(stream: string, sequence: number, id: string): Promise<boolean>;
}

export interface ReconcileOptions extends StreamView {
  /** Only messages published since, milliseconds since the epoch. Default: all that the outbox still has. */
  readonly sinceMs?: number;
}

export interface ReconcileReport {
  /** How many published messages were lost and will be published again. */
  readonly lost: number;
  readonly streams: readonly {
    readonly stream: string;
    readonly lost: number;
    readonly reason: 'nothing lost' | 'stream is gone' | 'stream was made anew' | 'stream went back';
  }[];
}

type Reason = ReconcileReport['streams'][number]['reason'];

/** What the clocks of the broker and of the database may differ by where only an order of seconds matters. */
const CLOCK_SKEW_MS = 1_000;
/** This many messages in a row that are there, from the newest back: those before are there too. */
const PRESENT_IN_A_ROW = 50;
const PAGE = 500;

/**
 * Compares where the broker said it stored messages with the streams it has now, and has what is lost published
 * again. Receivers that had a message before it was lost recognise it by its id.
 */
export async function reconcile(pool: Pool, options: ReconcileOptions): Promise<ReconcileReport> {
  const since = new Date(options.sinceMs ?? 0).toISOString();
  const { rows: streams } = await pool.query<{ stream: string }>(
    'SELECT DISTINCT stream FROM outbox WHERE published_at >= $1 AND stream IS NOT NULL ORDER BY stream',
    [since],
  );
  const report: ReconcileReport['streams'][number][] = [];
  for (const { stream } of streams) {
    // What is published from here on may lie behind the state that the stream is about to tell.
    const asOf = await databaseTime(pool);
    const state = await options.streamState(stream);
    const { condition, parameters, reason } = await lostOf(pool, stream, state, { since, asOf }, options);
    const lost = await unpublish(pool, `stream = $1 AND published_at BETWEEN $2 AND $3 AND (${condition})`, [
      stream,
      since,
      asOf,
      ...parameters,
    ]);
    report.push({ stream, lost, reason: lost === 0 ? 'nothing lost' : reason });
  }
  const lost = report.reduce((sum, entry) => sum + entry.lost, 0);
  if (lost > 0) await pool.query('SELECT pg_notify($1, $2)', [OUTBOX_CHANNEL, '']);
  return { lost, streams: report };
}

/** The messages that were marked as published in it are compared. */
interface Span {
  readonly since: string;
  readonly asOf: string;
}

interface Lost {
  /** SQL; $1 is the stream, $2 and $3 the span of time. */
  readonly condition: string;
  readonly parameters: readonly unknown[];
  readonly reason: Reason;
}

async function lostOf(
  pool: Pool,
  stream: string,
  state: StreamState | undefined,
  { since, asOf }: Span,
  view: StreamView,
): Promise<Lost> {
  if (state === undefined) return { condition: 'true', parameters: [], reason: 'stream is gone' };
  const createdAt = new Date(state.createdAtMs).toISOString();
  const { rows } = await pool.query<{ older: boolean; newer: boolean }>(
    `SELECT coalesce(bool_or(published_at < $4), false) AS older, coalesce(bool_or(sequence > $5), false) AS newer
       FROM outbox WHERE stream = $1 AND published_at BETWEEN $2 AND $3`,
    [stream, since, asOf, createdAt, state.lastSequence],
  );
  const older = rows[0]?.older === true;
  const absent = older ? [] : await absentOf(pool, stream, state, since, view);
  const markedLate = await markedLateOf(pool, stream, state, { since, asOf }, view);
  return {
    condition: 'published_at < $4 OR sequence > $5 OR position = ANY ($6::bigint[])',
    parameters: [createdAt, state.lastSequence, [...absent, ...markedLate]],
    reason: older ? 'stream was made anew' : 'stream went back',
  };
}

/** Positions of messages that are not at their place any more, though the stream reaches that far. */
async function absentOf(
  pool: Pool,
  stream: string,
  state: StreamState,
  since: string,
  view: StreamView,
): Promise<string[]> {
  const absent: string[] = [];
  if (view.exists === undefined) return absent;
  let presentInARow = 0;
  for (let below = state.lastSequence + 1; ;) {
    const { rows } = await pool.query<{ position: string; sequence: string; id: string }>(
      `SELECT position, sequence, id FROM outbox
        WHERE stream = $1 AND published_at >= $2 AND sequence < $3 ORDER BY sequence DESC LIMIT ${PAGE}`,
      [stream, since, below],
    );
    for (const row of rows) {
      if (await view.exists(stream, Number(row.sequence), row.id)) {
        presentInARow += 1;
        if (presentInARow >= PRESENT_IN_A_ROW) return absent;
      } else {
        presentInARow = 0;
        absent.push(row.position);
      }
    }
    const last = rows.at(-1);
    if (last === undefined || rows.length < PAGE) return absent;
    below = Number(last.sequence);
  }
}

/**
 * Positions of messages that the stream before this one had: they were written before this one was made, and marked
 * after, with a sequence that this one has given to another since.
 */
async function markedLateOf(
  pool: Pool,
  stream: string,
  state: StreamState,
  { since, asOf }: Span,
  view: StreamView,
): Promise<string[]> {
  const late: string[] = [];
  if (view.exists === undefined) return late;
  const createdAt = new Date(state.createdAtMs).toISOString();
  const writtenBefore = new Date(state.createdAtMs + CLOCK_SKEW_MS).toISOString();
  for (let after = '0'; ;) {
    const { rows } = await pool.query<{ position: string; sequence: string; id: string }>(
      `SELECT position, sequence, id FROM outbox
        WHERE stream = $1 AND published_at BETWEEN $2 AND $3 AND published_at >= $4 AND created_at < $5
          AND sequence <= $6 AND position > $7 ORDER BY position LIMIT ${PAGE}`,
      [stream, since, asOf, createdAt, writtenBefore, state.lastSequence, after],
    );
    for (const { position, sequence, id } of rows)
      if (!(await view.exists(stream, Number(sequence), id))) late.push(position);
    const last = rows.at(-1);
    if (last === undefined || rows.length < PAGE) return late;
    after = last.position;
  }
}

async function databaseTime(pool: Pool): Promise<string> {
  const { rows } = await pool.query<{ now: string }>('SELECT clock_timestamp()::text AS now');
  return rows[0]?.now ?? 'infinity';
}

async function unpublish(pool: Pool, condition: string, parameters: unknown[]): Promise<number> {
  const { rowCount } = await pool.query(
    `UPDATE outbox SET published_at = NULL, stream = NULL, sequence = NULL, relay = true WHERE ${condition}`,
    parameters,
  );
  return rowCount ?? 0;
}
