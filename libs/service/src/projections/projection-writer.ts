import { AsyncLocalStorage } from 'node:async_hooks';
import type { UnitOfWork } from '@flotilla/persistence';
import { isOutage } from '../inbound/outages.ts';
import type { Projection } from './projection.ts';
import { ViewRows, writeRows } from './view-rows.ts';
import type { ViewRow } from './view-table.ts';

interface Waiting {
  readonly rows: readonly ViewRow[];
  /** Runs a function in the context, and so the trace, of the event. */
  readonly inContext: <R>(action: () => R) => R;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** The most events that are written at a time; more than this wait for the next transaction. */
const MAX_BATCH = 1_000;

/**
 * Writes what events say of a projection's tables, many events in one unit of work: an event that comes alone is
 * written at once; what comes while a batch commits is the next batch. When a batch fails by what is in it, it is
 * halved until the event to blame stands alone, so that the others are written.
 *
 * There is no inbox row: a second delivery finds its versions and keys in the view, and changes nothing.
 */
export class ProjectionWriter {
  readonly #projection: Projection;
  readonly #unitOfWork: Pick<UnitOfWork, 'run' | 'query'>;
  readonly #written: (rows: ViewRows) => void;
  #waiting: Waiting[] = [];
  #writing = false;

  /** `written` is called after each commit with what was written. */
  constructor(
    projection: Projection,
    unitOfWork: Pick<UnitOfWork, 'run' | 'query'>,
    written: (rows: ViewRows) => void = () => undefined,
  ) {
    this.#projection = projection;
    this.#unitOfWork = unitOfWork;
    this.#written = written;
  }

  /** Resolves when the rows are committed. */
  write(rows: readonly ViewRow[]): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ rows, inContext: AsyncLocalStorage.snapshot(), resolve, reject });
      if (this.#writing) return;
      this.#writing = true;
      // What else the broker has handed over in this turn is written along.
      setImmediate(() => void this.#writeAll());
    });
  }

  async #writeAll(): Promise<void> {
    while (this.#waiting.length > 0) await this.#writeBatch(this.#waiting.splice(0, MAX_BATCH));
    this.#writing = false;
  }

  async #writeBatch(batch: readonly Waiting[]): Promise<void> {
    const [first] = batch;
    if (first === undefined) return;
    const rows = new ViewRows();
    for (const each of batch) rows.add(each.rows);
    try {
      await first.inContext(() => this.#commit(rows));
    } catch (error) {
      if (batch.length === 1 || isOutage(error)) {
        for (const each of batch) each.reject(error);
        return;
      }
      const middle = Math.ceil(batch.length / 2);
      await this.#writeBatch(batch.slice(0, middle));
      await this.#writeBatch(batch.slice(middle));
      return;
    }
    this.#written(rows);
    for (const each of batch) each.resolve();
  }

  #commit(rows: ViewRows): Promise<void> {
    return this.#unitOfWork.run(
      () =>
        writeRows(
          (sql, parameters) => this.#unitOfWork.query(sql, parameters),
          this.#projection.tables,
          rows,
        ),
      // Its tables are nobody else's, and it has one batch at a time.
      { key: `projection ${this.#projection.name}`, independent: true },
    );
  }
}
