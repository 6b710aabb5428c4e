import type { Clock, TimerHandle } from '@flotilla/kernel';
import { backoffDelayMs, errorMessage } from '@flotilla/kernel';
import type { PersistenceLog } from '../log.ts';
import type { HandoverReceipt, PublishReceipt } from './outgoing-message.ts';
import type { OutboxRow } from './outbox-row.ts';

/** What marks need of a pool of connections. */
export interface StatementRunner {
  query(sql: string, parameters: unknown[]): Promise<unknown>;
}

interface Mark {
  readonly row: OutboxRow;
  readonly receipt: PublishReceipt | HandoverReceipt;
  readonly done: () => void;
}

/** So many at once, at most. */
const BATCH = 1_000;
/** Beyond, the oldest are forgotten: their messages are published again, which the broker recognises. */
const MAX_WAITING = 100_000;
/** Clocks of services and of the database differ; a row is looked for in the days that this spans. */
const CLOCK_SKEW_MS = 3_600_000;

/**
 * Writes down which messages are published, many in one statement, with the place each has in its stream. A mark that
 * is lost only publishes its message again.
 */
export class OutboxMarks {
  readonly #runner: StatementRunner;
  readonly #clock: Clock;
  readonly #log: PersistenceLog;
  readonly #delayMs: number;
  #waiting: Mark[] = [];
  #timer: TimerHandle | undefined;
  #writing: Promise<void> | undefined;
  #failures = 0;

  constructor(options: { runner: StatementRunner; clock: Clock; log: PersistenceLog; delayMs: number }) {
    this.#runner = options.runner;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#delayMs = options.delayMs;
  }

  /** `done` is called once the mark is written. */
  add(row: OutboxRow, receipt: PublishReceipt | HandoverReceipt, done: () => void): void {
    this.#waiting.push({ row, receipt, done });
    if (this.#waiting.length > MAX_WAITING) for (const mark of this.#waiting.splice(0, BATCH)) mark.done();
    this.#later(this.#waiting.length >= BATCH ? 0 : this.#delayMs);
  }

  /** Writes all marks there are, now. Rejects when that fails; they are kept then. */
  async flush(): Promise<void> {
    while (this.#waiting.length > 0 || this.#writing !== undefined) {
      await (this.#writing ?? this.#write());
    }
  }

  /** Writes the marks that wait now, whatever is added meanwhile. Rejects when that fails; they are kept then. */
  async writeWaiting(): Promise<void> {
    const batches = Math.ceil(this.#waiting.length / BATCH) + (this.#writing === undefined ? 0 : 1);
    for (let written = 0; written < batches; written += 1) await (this.#writing ?? this.#write());
  }

  /** Stops writing by itself. */
  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #later(delayMs: number): void {
    if (this.#writing !== undefined || this.#failures > 0) return;
    if (delayMs === 0) this.stop();
    this.#timer ??= this.#clock.after(delayMs, () => {
      this.#timer = undefined;
      this.#write().catch((error: unknown) => this.#failed(error));
    });
  }

  #failed(error: unknown): void {
    this.#failures += 1;
    const delayMs = backoffDelayMs(this.#failures, { initialMs: 200, maxMs: 10_000 });
    this.#log.warn(
      `${this.#waiting.length} published messages could not be marked: ${errorMessage(error)}. Trying again in ${delayMs} ms.`,
    );
    this.#timer ??= this.#clock.after(delayMs, () => {
      this.#timer = undefined;
      this.#write().catch((again: unknown) => this.#failed(again));
    });
  }

  async #write(): Promise<void> {
    if (this.#writing !== undefined) return this.#writing;
    const batch = this.#waiting.splice(0, BATCH);
    if (batch.length === 0) return;
    this.#writing = this.#update(batch);
    try {
      await this.#writing;
      this.#failures = 0;
    } catch (error) {
      this.#waiting.unshift(...batch);
      throw error;
    } finally {
      this.#writing = undefined;
    }
    for (const mark of batch) mark.done();
    if (this.#waiting.length > 0) this.#later(this.#waiting.length >= BATCH ? 0 : this.#delayMs);
  }

  async #update(batch: readonly Mark[]): Promise<void> {
    const times = batch.map(({ row }) => row.writtenAtMs);
    // The positions twice: by the join alone, a plan made while the table was empty reads all of it to find the given ones.
    await this.#runner.query(
      `UPDATE outbox o
          SET published_at = now(), stream = m.stream, sequence = m.sequence, relay = false, refused_at = NULL, error = NULL
         FROM unnest($1::bigint[], $2::text[], $3::bigint[]) AS m (position, stream, sequence)
        WHERE o.position = m.position AND o.position = ANY ($1::bigint[]) AND o.created_at BETWEEN $4 AND $5`,
      [
        batch.map(({ row }) => row.position),
        // What was handed over is in no stream.
        batch.map(({ receipt }) => ('stream' in receipt ? receipt.stream : null)),
        batch.map(({ receipt }) => ('stream' in receipt ? receipt.sequence : null)),
        new Date(Math.min(...times) - CLOCK_SKEW_MS).toISOString(),
        new Date(Math.max(...times) + CLOCK_SKEW_MS).toISOString(),
      ],
    );
  }
}
