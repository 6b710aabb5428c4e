import { errorMessage, systemClock, type Clock, type TimerHandle } from '@flotilla/kernel';
import type { Pool } from 'pg';
import { createBackgroundPool, createMarksPool } from '../connection/background-pool.ts';
import type { DatabaseConnection } from '../connection/connection.options.ts';
import type { PersistenceLog } from '../log.ts';
import type { PersistenceMetrics } from '../metrics.ts';
import { OutboxDispatcher } from './outbox-dispatcher.ts';
import { maintain, type MaintenanceReport } from './outbox-maintenance.ts';
import { OutboxMarks } from './outbox-marks.ts';
import { resolveOutboxLimits, type OutboxLimits } from './outbox.options.ts';
import { reconcile, type ReconcileOptions, type ReconcileReport } from './outbox-reconciler.ts';
import { OLDEST_UNPUBLISHED, OutboxRelay } from './outbox-relay.ts';
import { OUTBOX_CHANNEL, type OutboxRow } from './outbox-row.ts';
import type { OutboxPublisher } from './outgoing-message.ts';

export interface OutboxOptions extends OutboxLimits {
  /** The database of the unit of work. The outbox has two to four connections of its own there. */
  readonly connection: DatabaseConnection;
  readonly log: PersistenceLog;
  readonly clock?: Clock;
  readonly metrics?: PersistenceMetrics;
}

export interface OutboxStats {
  /** Age of the oldest message that is committed and not published, ms; 0 when there is none. */
  readonly oldestUnpublishedAgeMs: number;
  /** How many are committed and not published; counted up to 10,001. */
  readonly unpublished: number;
  /** How many of them the broker refused. */
  readonly refused: number;
  /** How many of them are in this process's memory. */
  readonly buffered: number;
}

/** A busy table is less busy a minute later. */
const MAINTENANCE_RETRY_MS = 60_000;

/**
 * Publishes what units of work have committed. Messages go to the broker from memory, right after the commit; the relay
 * finds in the table what this or another process has left behind.
 */
export class Outbox {
  readonly #pool: Pool;
  readonly #marksPool: Pool;
  readonly #limits: Required<OutboxLimits>;
  readonly #clock: Clock;
  readonly #log: PersistenceLog;
  readonly #marks: OutboxMarks;
  readonly #dispatcher: OutboxDispatcher;
  readonly #relay: OutboxRelay;
  #maintenance: TimerHandle | undefined;
  #maintaining: Promise<void> | undefined;
  #closed: Promise<void> | undefined;

  constructor(options: OutboxOptions) {
    const { connection, log, clock = systemClock, metrics = {} } = options;
    this.#limits = resolveOutboxLimits(options);
    this.#clock = clock;
    this.#log = log;
    this.#pool = createBackgroundPool(connection, log);
    this.#marksPool = createMarksPool(connection, log);
    const pool = this.#pool;
    const marksPool = this.#marksPool;
    this.#marks = new OutboxMarks({
      runner: { query: (sql, parameters) => marksPool.query(sql, parameters) },
      clock,
      log,
      delayMs: this.#limits.markDelayMs,
    });
    this.#dispatcher = new OutboxDispatcher({
      marks: this.#marks,
      refuse: (row, error) => this.#refuse(row, error),
      onSpill: () => this.#relay.wake(),
      limits: this.#limits,
      clock,
      log,
      metrics,
    });
    this.#relay = new OutboxRelay({
      pool,
      dispatcher: this.#dispatcher,
      limits: this.#limits,
      clock,
      log,
      metrics,
    });
  }

  /** Takes committed messages; called by the unit of work. */
  accept(rows: readonly OutboxRow[]): void {
    this.#dispatcher.accept(rows);
  }

  /** Starts publishing, relaying and maintenance. Resolves once the partitions for the next days were seen to. */
  async start(publisher: OutboxPublisher): Promise<void> {
    this.#dispatcher.start(publisher);
    this.#relay.start();
    await this.#maintainAndGoOn();
  }

  /** Makes partitions, drops old ones and trims the inbox, now. Runs by itself every `maintenanceMs`. */
  async maintain(): Promise<MaintenanceReport> {
    const report = await maintain(this.#pool, this.#limits);
    if (report.kept.length > 0) {
      this.#log.warn(
        `Old partitions of the outbox are kept, because they hold messages that are not published: ${report.kept.join(', ')}`,
      );
    }
    return report;
  }

  /** What the broker has lost is published again; see {@link reconcile}. */
  async reconcile(options: ReconcileOptions): Promise<ReconcileReport> {
    // A mark that is written after the comparison would name a place in a stream that is lost, and nobody would look again.
    await this.#marks.writeWaiting();
    return reconcile(this.#pool, options);
  }

  /** Counts in the table what waits. */
  async stats(): Promise<OutboxStats> {
    const [oldest, counts] = await Promise.all([
      this.#pool.query<{ age_ms: string }>(OLDEST_UNPUBLISHED),
      this.#pool.query<{ unpublished: string; refused: string }>(
        `SELECT count(*) AS unpublished, count(refused_at) AS refused
           FROM (SELECT refused_at FROM outbox WHERE published_at IS NULL LIMIT 10001) AS waiting`,
      ),
    ]);
    return {
      oldestUnpublishedAgeMs: Math.max(0, ...oldest.rows.map((row) => Number(row.age_ms))),
      unpublished: Number(counts.rows[0]?.unpublished ?? 0),
      refused: Number(counts.rows[0]?.refused ?? 0),
      buffered: this.#dispatcher.buffered,
    };
  }

  /** Age of the oldest message that is committed and not published, ms; 0 when there is none. */
  async oldestUnpublishedAgeMs(): Promise<number> {
    return (await this.stats()).oldestUnpublishedAgeMs;
  }

  /** Waits until everything in memory is published and marked; returns false if `withinMs` was not enough. */
  async flush(withinMs: number): Promise<boolean> {
    const bound = new AbortController();
    const late = this.#clock.sleep(withinMs, bound.signal).then(() => 'late' as const);
    try {
      if ((await Promise.race([this.#dispatcher.whenEmpty(), late])) === 'late') return false;
      return (await Promise.race([this.#marks.flush(), late])) !== 'late';
    } finally {
      bound.abort();
    }
  }

  /**
   * Publishes what is in memory for at most `drainMs` (default 5,000), leaves the rest to the relays of other replicas,
   * and closes its connections. Close the unit of work before, and the broker after.
   */
  close(options: { readonly drainMs?: number } = {}): Promise<void> {
    return (this.#closed ??= this.#close(options.drainMs ?? 5_000));
  }

  async #close(drainMs: number): Promise<void> {
    this.#maintenance?.cancel();
    try {
      await this.flush(drainMs);
    } catch (error) {
      this.#log.warn(`Published messages could not be marked before closing: ${errorMessage(error)}`);
    }
    const left = this.#dispatcher.close();
    this.#marks.stop();
    await this.#relay.close();
    await this.#maintaining;
    if (left.length > 0) await this.#handOver(left);
    await Promise.all([this.#pool.end(), this.#marksPool.end()]);
  }

  /** Tells relays elsewhere that they need not wait before they take these. */
  async #handOver(rows: readonly OutboxRow[]): Promise<void> {
    try {
      await this.#pool.query(
        'UPDATE outbox SET relay = true WHERE position = ANY ($1::bigint[]) AND published_at IS NULL',
        [rows.map(({ position }) => position)],
      );
      await this.#pool.query('SELECT pg_notify($1, $2)', [OUTBOX_CHANNEL, '']);
      this.#log.log(`${rows.length} messages were not published before closing; a relay will.`);
    } catch (error) {
      this.#log.warn(
        `${rows.length} messages were not published before closing, and could not be handed over: ${errorMessage(error)}. ` +
          'The next relay finds them.',
      );
    }
  }

  async #refuse(row: OutboxRow, error: string): Promise<void> {
    await this.#pool.query('UPDATE outbox SET refused_at = now(), error = $2 WHERE position = $1', [
      row.position,
      error,
    ]);
  }

  #maintainAndGoOn(): Promise<void> {
    return (this.#maintaining = this.#maintainOnce());
  }

  async #maintainOnce(): Promise<void> {
    let delayMs = this.#limits.maintenanceMs;
    try {
      await this.maintain();
    } catch (error) {
      delayMs = Math.min(delayMs, MAINTENANCE_RETRY_MS);
      this.#log.warn(
        `Maintenance of the outbox failed: ${errorMessage(error)}. It runs again in ${delayMs} ms.`,
      );
    }
    if (this.#closed !== undefined) return;
    this.#maintenance = this.#clock.after(delayMs, () => void this.#maintainAndGoOn());
  }
}
