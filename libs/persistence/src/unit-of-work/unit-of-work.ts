import { AsyncLocalStorage } from 'node:async_hooks';
import type { DataSource } from 'typeorm';
import { systemClock, type Clock } from '@flotilla/kernel';
import type { DeadlineSource } from '../connection/deadline-watch.ts';
import type { PersistenceLog } from '../log.ts';
import type { PersistenceMetrics } from '../metrics.ts';
import type { OutboxRow } from '../outbox/outbox-row.ts';
import { lockNow } from '../inbox/inbox-statements.ts';
import { DeadlinePassedError, IdempotencyConflictError, NestedProcessError } from '../persistence.errors.ts';
import { unitStorage, type ActiveUnitOfWork } from './active-unit-of-work.ts';
import { bulkParameters, type BulkStatement } from './bulk-statement.ts';
import { GroupCommitter } from './group-committer.ts';
import type { InboxEntry, Processed, ProcessOptions, RunOptions } from './submission.ts';
import { resolveUnitOfWorkLimits, type UnitOfWorkLimits } from './unit-of-work.options.ts';

/** Where committed messages go for publishing. */
export interface OutboxSink {
  accept(rows: readonly OutboxRow[]): void;
}

export interface UnitOfWorkOptions extends UnitOfWorkLimits {
  /** Made by `createDataSource`, and initialised. */
  readonly dataSource: DataSource;
  /** Publishes in this process what was committed. Without it a relay of another process does, at once. */
  readonly outbox?: OutboxSink;
  readonly log: PersistenceLog;
  /** The deadline of the running code, as for `createDataSource`: a unit that waits until then is not begun. */
  readonly deadline?: DeadlineSource;
  readonly clock?: Clock;
  readonly metrics?: PersistenceMetrics;
}

/**
 * Runs work in database transactions, together with the inbox entry of the message that caused it and the messages
 * that it sends. Units that wait at the same time are committed together; see the README for what that means.
 *
 * Work may run more than once before it is committed once, so it keeps its effects in the unit: the database,
 * `send()`, `afterCommit()`.
 */
export class UnitOfWork {
  readonly #committer: GroupCommitter;
  readonly #dataSource: DataSource;
  readonly #deadline: DeadlineSource | undefined;
  readonly #clock: Clock;

  constructor(options: UnitOfWorkOptions) {
    const { dataSource, outbox, log, clock = systemClock, metrics = {} } = options;
    this.#dataSource = dataSource;
    this.#deadline = options.deadline;
    this.#clock = clock;
    this.#committer = new GroupCommitter({
      dataSource,
      owner: dataSource,
      limits: resolveUnitOfWorkLimits(options),
      clock,
      metrics,
      log,
      committed: outbox === undefined ? false : (rows) => outbox.accept(rows),
    });
  }

  /** The unit that the calling code runs in, if it is one of this database. */
  get current(): ActiveUnitOfWork | undefined {
    const context = unitStorage.getStore();
    return context?.owner === this.#dataSource ? context.unit : undefined;
  }

  /**
   * Runs `work` in a transaction and resolves to its result after the commit. Inside a unit of work it becomes part of
   * that one instead, and shares its fate; locks are then taken at once, later than those of the others.
   */
  async run<T>(work: () => Promise<T>, options: RunOptions = {}): Promise<T> {
    const { current } = this;
    if (current !== undefined) {
      if (options.locks !== undefined) await lockNow(current, options.locks);
      return work();
    }
    const outcome = await this.#submit(work, options);
    // Without an inbox entry there is no duplicate.
    return (outcome as { readonly result: T }).result;
  }

  /**
   * Runs `work` once for a message, however often it is delivered: the inbox entry commits with the work's changes, and
   * a second delivery, at the same time or days later, here or in another process, gets the remembered reply.
   * Rejects with {@link IdempotencyConflictError} when the payload hash is another than the first time.
   */
  process<T>(entry: InboxEntry, work: () => Promise<T>, options: ProcessOptions = {}): Promise<Processed<T>> {
    if (this.current !== undefined) return Promise.reject(new NestedProcessError(entry.messageId));
    return this.#submit(work, { ...options, ...(entry.key !== undefined && { key: entry.key }) }, entry);
  }

  /**
   * Runs a statement and returns its rows: in the current unit's transaction, or, outside of one, as a read on a
   * connection of its own (the database refuses writes there: they belong in a unit of work).
   */
  async query<R>(sql: string, parameters: readonly unknown[] = []): Promise<R[]> {
    const { current } = this;
    if (current !== undefined) return current.query<R>(sql, parameters);
    return this.#dataSource.query<R[]>(sql, [...parameters]);
  }

  /**
   * Runs a bulk statement for one row, and returns the rows of its result that belong to it: in the current unit's
   * transaction, together with what the units it overlaps with ask for at the same time; outside of one as a read.
   */
  async bulk<R>(statement: BulkStatement, row: readonly unknown[]): Promise<R[]> {
    const { current } = this;
    if (current !== undefined) return current.bulk<R>(statement, row);
    return this.#dataSource.query<R[]>(statement.text, bulkParameters(statement, [row]));
  }

  /** The remembered reply of a message that was handled before, without opening a unit; undefined for a new one. */
  async findProcessed(entry: InboxEntry): Promise<{ readonly reply: unknown } | undefined> {
    const [known] = await this.query<{ payload_hash: string | null; reply: unknown }>(
      'SELECT payload_hash, reply FROM inbox WHERE consumer = $1 AND message_id = $2',
      [entry.consumer, entry.messageId],
    );
    if (known === undefined) return undefined;
    if (
      entry.payloadHash !== undefined &&
      known.payload_hash !== null &&
      entry.payloadHash !== known.payload_hash
    ) {
      throw new IdempotencyConflictError(entry.consumer, entry.messageId);
    }
    return { reply: known.reply };
  }

  /** Refuses new units, lets those under way end within `withinMs` (default 10,000), and returns the connections. */
  close(options: { readonly withinMs?: number } = {}): Promise<void> {
    return this.#committer.close(options.withinMs ?? 10_000);
  }

  #submit<T>(
    work: () => Promise<T>,
    options: RunOptions & ProcessOptions,
    entry?: InboxEntry,
  ): Promise<Processed<T>> {
    const deadline = this.#deadline?.();
    return new Promise((resolve, reject) => {
      this.#committer.submit({
        work: deadline === undefined ? work : () => this.#inTime(deadline, work),
        inContext: AsyncLocalStorage.snapshot(),
        ...(entry !== undefined && { entry }),
        ...(options.key !== undefined && { key: options.key }),
        locks: options.locks ?? [],
        ...(options.onRefusal !== undefined && { onRefusal: options.onRefusal }),
        resolve: (outcome) => resolve(outcome as Processed<T>),
        reject,
        independent: options.independent ?? false,
        alone: false,
      });
    });
  }

  async #inTime<T>(deadline: number, work: () => Promise<T>): Promise<T> {
    if (deadline <= this.#clock.now()) throw new DeadlinePassedError();
    return work();
  }
}
