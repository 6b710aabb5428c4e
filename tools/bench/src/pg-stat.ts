import type { StatementCost } from './result.ts';
import { query } from './stack.ts';

const MOST = 25;

/** Forgets what was counted so far: what came before the measured part. */
export async function resetStatements(adminUrl: string): Promise<void> {
  await query(adminUrl, 'SELECT pg_stat_statements_reset()');
}

/** The statements that took Postgres the most time, of all databases. */
export async function readStatements(adminUrl: string): Promise<StatementCost[]> {
  const rows = await query<Record<'database' | 'calls' | 'total' | 'mean' | 'rows' | 'text', string>>(
    adminUrl,
    `SELECT d.datname AS database, s.calls, s.total_exec_time + s.total_plan_time AS total,
       (s.total_exec_time + s.total_plan_time) / greatest(s.calls, 1) AS mean, s.rows, s.query AS text
     FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid
     ORDER BY total DESC LIMIT ${MOST}`,
  );
  return rows.map(({ database, calls, total, mean, rows: count, text }) => ({
    database,
    calls: Number(calls),
    totalMs: Number(total),
    meanMs: Number(mean),
    rows: Number(count),
    text,
  }));
}
