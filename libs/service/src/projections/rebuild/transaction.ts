import type { DataSource } from 'typeorm';

/** Runs a statement and returns its rows. */
export type Query = <R>(sql: string, parameters?: readonly unknown[]) => Promise<R[]>;

/**
 * Runs work in a transaction of its own, on a connection of its own: a rebuild must not share a commit group with the
 * live projection, for which it waits when it swaps.
 */
export async function inTransaction<T>(
  dataSource: DataSource,
  work: (query: Query) => Promise<T>,
): Promise<T> {
  const runner = dataSource.createQueryRunner();
  await runner.connect();
  const query = async <R>(sql: string, parameters: readonly unknown[] = []): Promise<R[]> =>
    (await runner.query(sql, [...parameters], true)).records as R[];
  try {
    await query('BEGIN READ WRITE');
    const result = await work(query);
    await query('COMMIT');
    return result;
  } catch (error) {
    // A connection that is lost has rolled back already.
    await query('ROLLBACK').catch(() => undefined);
    throw error;
  } finally {
    await runner.release();
  }
}
