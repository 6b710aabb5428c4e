import type { ClientBase } from 'pg';

const DAY_MS = 86_400_000;

/** How many days ahead there are partitions. The default partition catches rows beyond; they are moved later. */
export const DAYS_AHEAD = 7;

interface DayPartition {
  readonly name: string;
  readonly fromMs: number;
}

/** What the connection needs to be able to do. */
type Queryable = Pick<ClientBase, 'query'>;

/** Makes the partitions from today until some days ahead; returns the names of the new ones. */
export async function createPartitions(client: Queryable): Promise<string[]> {
  const existing = new Set((await dayPartitions(client)).map(({ name }) => name));
  const today = await startOfToday(client);
  const created: string[] = [];
  for (let day = 0; day <= DAYS_AHEAD; day += 1) {
    const fromMs = today + day * DAY_MS;
    const name = partitionName(fromMs);
    if (existing.has(name)) continue;
    await createPartition(client, name, fromMs);
    created.push(name);
  }
  return created;
}

/**
 * Drops the partitions of days that ended more than `retentionDays` ago, as far as all their messages are published;
 * a message that is not keeps its whole day. Returns what was dropped, and what was kept because of that.
 */
export async function dropOldPartitions(
  client: Queryable,
  retentionDays: number,
): Promise<{ readonly dropped: string[]; readonly kept: string[] }> {
  const oldest = (await startOfToday(client)) - retentionDays * DAY_MS;
  const dropped: string[] = [];
  const kept: string[] = [];
  for (const { name, fromMs } of await dayPartitions(client)) {
    if (fromMs >= oldest) continue;
    const { rowCount } = await client.query(`SELECT FROM ${name} WHERE published_at IS NULL LIMIT 1`);
    if (rowCount !== 0) {
      kept.push(name);
      continue;
    }
    // Nothing is written to a day that is over, so nothing unpublished can have come since.
    await client.query(`DROP TABLE ${name}`);
    dropped.push(name);
  }
  return { dropped, kept };
}

/** Moves what the default partition has caught of that day, if anything. */
async function createPartition(client: Queryable, name: string, fromMs: number): Promise<void> {
  const from = new Date(fromMs).toISOString();
  const to = new Date(fromMs + DAY_MS).toISOString();
  await client.query('BEGIN');
  try {
    await client.query(`CREATE TABLE ${name} (LIKE outbox INCLUDING DEFAULTS INCLUDING CONSTRAINTS)`);
    await client.query('LOCK TABLE outbox_default IN ACCESS EXCLUSIVE MODE');
    await client.query(
      `WITH moved AS (
         DELETE FROM outbox_default WHERE created_at >= '${from}' AND created_at < '${to}' RETURNING *
       ) INSERT INTO ${name} SELECT * FROM moved`,
    );
    await client.query(
      `ALTER TABLE outbox ATTACH PARTITION ${name} FOR VALUES FROM ('${from}') TO ('${to}')`,
    );
    await client.query('COMMIT');
  } catch (error) {
    await client.query('ROLLBACK');
    throw error;
  }
}

async function dayPartitions(client: Queryable): Promise<DayPartition[]> {
  const { rows } = await client.query(
    `SELECT c.relname AS name
       FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
      WHERE i.inhparent = 'outbox'::regclass
      ORDER BY c.relname`,
  );
  return (rows as { name: string }[]).flatMap(({ name }) => {
    const match = /^outbox_(\d{4})_(\d\d)_(\d\d)$/.exec(name);
    return match === null
      ? []
      : [{ name, fromMs: Date.parse(`${match[1]}-${match[2]}-${match[3]}T00:00:00Z`) }];
  });
}

/** By the clock of the database, which also dates the rows. */
async function startOfToday(client: Queryable): Promise<number> {
  const { rows } = await client.query(`SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day`);
  return Date.parse(`${(rows[0] as { day: string }).day}T00:00:00Z`);
}

function partitionName(fromMs: number): string {
  return `outbox_${new Date(fromMs).toISOString().slice(0, 10).replaceAll('-', '_')}`;
}
