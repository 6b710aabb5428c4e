import type { Pool } from 'pg';
import { createPartitions, dropOldPartitions } from './outbox-partitions.ts';

export interface MaintenanceReport {
  /** Another process is at it. */
  readonly skipped: boolean;
  readonly created: readonly string[];
  readonly dropped: readonly string[];
  /** Old enough to be dropped, but with messages that are not published. */
  readonly kept: readonly string[];
  readonly trimmedInboxEntries: number;
}

const LOCK = 'flotilla outbox maintenance';
const TRIM_BATCH = 5_000;

/** Makes the partitions of the days to come, drops those that are old, and forgets old inbox entries. */
export async function maintain(
  pool: Pool,
  options: { readonly retentionDays: number; readonly inboxRetentionDays: number },
): Promise<MaintenanceReport> {
  const client = await pool.connect();
  try {
    const { rows } = await client.query<{ locked: boolean }>(
      'SELECT pg_try_advisory_lock(hashtextextended($1, 0)) AS locked',
      [LOCK],
    );
    if (rows[0]?.locked !== true) {
      return { skipped: true, created: [], dropped: [], kept: [], trimmedInboxEntries: 0 };
    }
    try {
      // Whoever writes to the outbox waits behind a change of its partitions: rather give up and come again.
      await client.query("SET lock_timeout = '300ms'");
      const created = await createPartitions(client);
      let trimmedInboxEntries = 0;
      for (let trimmed = TRIM_BATCH; trimmed === TRIM_BATCH; trimmedInboxEntries += trimmed) {
        const result = await client.query(
          `DELETE FROM inbox WHERE ctid = ANY (ARRAY(
             SELECT ctid FROM inbox WHERE received_at < now() - make_interval(days => $1) LIMIT ${TRIM_BATCH}))`,
          [options.inboxRetentionDays],
        );
        trimmed = result.rowCount ?? 0;
      }
      const { dropped, kept } = await dropOldPartitions(client, options.retentionDays);
      return { skipped: false, created, dropped, kept, trimmedInboxEntries };
    } finally {
      await client.query('RESET lock_timeout');
      await client.query('SELECT pg_advisory_unlock(hashtextextended($1, 0))', [LOCK]);
    }
  } finally {
    client.release();
  }
}
