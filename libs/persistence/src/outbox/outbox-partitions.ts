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

/**
 * Makes the partitions from today until `daysAhead` days on, each in a transaction of its own; returns the names of the
 * new ones. The database's functions do it with the rights of the role that migrates, so that a service's role needs
 * none to change a schema.
 */
export async function createPartitions(client: Queryable, daysAhead = DAYS_AHEAD): Promise<string[]> {
  const existing = new Set((await dayPartitions(client)).map(({ name }) => name));
  const today = await startOfToday(client);
  const created: string[] = [];
  for (let ahead = 0; ahead <= daysAhead; ahead += 1) {
    const fromMs = today + ahead * DAY_MS;
    const name = partitionName(fromMs);
    if (existing.has(name)) continue;
    const { rows } = await client.query('SELECT flotilla_add_outbox_day($1) AS added', [dayOf(fromMs)]);
    if ((rows[0] as { added: boolean }).added) created.push(name);
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
    const { rows } = await client.query('SELECT flotilla_drop_outbox_day($1) AS dropped', [dayOf(fromMs)]);
    ((rows[0] as { dropped: boolean }).dropped ? dropped : kept).push(name);
  }
  return { dropped, kept };
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
  return `outbox_${dayOf(fromMs).replaceAll('-', '_')}`;
}

function dayOf(fromMs: number): string {
  return new Date(fromMs).toISOString().slice(0, 10);
}
