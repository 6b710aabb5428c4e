import { newId } from '@flotilla/kernel';
import type { DataSource } from 'typeorm';
import { ACTIVE, type Rebuild, type RebuildOptions } from './rebuild-state.ts';
import { inTransaction, type Query } from './transaction.ts';

/** A worker that does not go on for so long has died, and another takes over. */
const LEASE_SECONDS = 30;

const COLUMNS = `projection, id, version, status, options, cursors, events::float8 AS events, skipped, report, problem,
  started_at AS "startedAt", ended_at AS "endedAt"`;

/** What changes in a step. */
export type RebuildChange = Partial<
  Pick<Rebuild, 'status' | 'cursors' | 'events' | 'skipped' | 'report' | 'problem' | 'options'>
>;

/** The rebuilds in the service's database, so that each survives its process. */
export class RebuildStore {
  readonly #dataSource: DataSource;
  readonly #worker = newId();

  constructor(dataSource: DataSource) {
    this.#dataSource = dataSource;
  }

  /** The latest rebuild of each projection. */
  list(): Promise<Rebuild[]> {
    return this.#dataSource.query<Rebuild[]>(
      `SELECT ${COLUMNS} FROM projection_rebuilds ORDER BY projection`,
    );
  }

  async find(projection: string): Promise<Rebuild | undefined> {
    return (await this.list()).find((each) => each.projection === projection);
  }

  /** Begins a new one, in the place of the one before. */
  begin(projection: string, version: number, options: RebuildOptions): Promise<void> {
    return inTransaction(this.#dataSource, async (query) => {
      await query('DELETE FROM projection_rebuilds WHERE projection = $1', [projection]);
      await query(
        `INSERT INTO projection_rebuilds (projection, id, version, status, options)
         VALUES ($1, $2, $3, 'reading', $4)`,
        [projection, newId(), version, JSON.stringify(options)],
      );
    });
  }

  /** Takes up a rebuild that is under way and that no other process works on; undefined: there is none. */
  claim(): Promise<Rebuild | undefined> {
    return inTransaction(this.#dataSource, async (query) => {
      const [claimed] = await query<Rebuild>(
        `UPDATE projection_rebuilds SET worker = $1, lease_until = now() + interval '${LEASE_SECONDS} seconds'
         WHERE projection = (
           SELECT projection FROM projection_rebuilds
           WHERE status = ANY ($2) AND (worker IS NULL OR worker = $1 OR lease_until < now())
           ORDER BY started_at, projection LIMIT 1 FOR UPDATE SKIP LOCKED)
         RETURNING ${COLUMNS}`,
        [this.#worker, ACTIVE],
      );
      return claimed;
    });
  }

  /** Whether one is under way; a plain read. */
  async anyActive(): Promise<boolean> {
    const rows = await this.#dataSource.query<unknown[]>(
      'SELECT FROM projection_rebuilds WHERE status = ANY ($1) LIMIT 1',
      [ACTIVE],
    );
    return rows.length > 0;
  }

  /**
   * Writes down what a step has done. False when the rebuild is no longer this process's: aborted, begun anew or taken
   * over; then nothing is changed.
   */
  save({ projection, id }: Rebuild, change: RebuildChange): Promise<boolean> {
    return inTransaction(this.#dataSource, (query) => this.saveWithin(query, { projection, id }, change));
  }

  async saveWithin(
    query: Query,
    { projection, id }: Pick<Rebuild, 'projection' | 'id'>,
    change: RebuildChange,
  ): Promise<boolean> {
    const ended = change.status !== undefined && !ACTIVE.includes(change.status);
    const rows = await query(
      `UPDATE projection_rebuilds
       SET status = coalesce($4, status), cursors = coalesce($5, cursors), events = coalesce($6, events),
           skipped = coalesce($7, skipped), report = coalesce($8, report), options = coalesce($9, options),
           problem = $10, lease_until = now() + interval '${LEASE_SECONDS} seconds',
           ended_at = CASE WHEN $11 THEN now() END
       WHERE projection = $1 AND id = $2 AND worker = $3 AND status = ANY ($12)
       RETURNING projection`,
      [
        projection,
        id,
        this.#worker,
        change.status ?? null,
        change.cursors ? JSON.stringify(change.cursors) : null,
        change.events ?? null,
        change.skipped ? JSON.stringify(change.skipped) : null,
        change.report ? JSON.stringify(change.report) : null,
        change.options ? JSON.stringify(change.options) : null,
        change.problem ?? null,
        ended,
        ACTIVE,
      ],
    );
    return rows.length === 1;
  }

  /** Ends one from outside, whoever works on it; false when none is under way. */
  abort(projection: string, problem: string): Promise<boolean> {
    return inTransaction(this.#dataSource, async (query) => {
      const rows = await query(
        `UPDATE projection_rebuilds SET status = 'aborted', problem = $2, ended_at = now()
         WHERE projection = $1 AND status = ANY ($3) RETURNING projection`,
        [projection, problem, [...ACTIVE, 'mismatch', 'incomplete']],
      );
      return rows.length === 1;
    });
  }

  /** Compares again, with other options, what was refused; its shadow is there. */
  reconsider(projection: string, options: RebuildOptions): Promise<void> {
    return inTransaction(this.#dataSource, async (query) => {
      await query(
        `UPDATE projection_rebuilds
         SET status = 'reading', options = $2, problem = NULL, ended_at = NULL, worker = NULL
         WHERE projection = $1`,
        [projection, JSON.stringify(options)],
      );
    });
  }

  /** With which version of the projection the live view was built; a view that nobody built is the first version's. */
  async builtVersion(projection: string): Promise<number | undefined> {
    const [row] = await this.#dataSource.query<{ version: number }[]>(
      'SELECT version FROM projection_versions WHERE projection = $1',
      [projection],
    );
    return row?.version;
  }

  noteBuilt(projection: string, version: number): Promise<void> {
    return inTransaction(this.#dataSource, (query) => this.noteBuiltWithin(query, projection, version));
  }

  async noteBuiltWithin(query: Query, projection: string, version: number): Promise<void> {
    await query(
      `INSERT INTO projection_versions (projection, version) VALUES ($1, $2)
       ON CONFLICT (projection) DO UPDATE SET version = excluded.version, built_at = now()`,
      [projection, version],
    );
  }
}
