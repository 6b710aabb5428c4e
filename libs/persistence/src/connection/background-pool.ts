import pg, { type ClientBase, type Pool } from 'pg';
import type { PersistenceLog } from '../log.ts';
import { clientConfig, type DatabaseConnection } from './connection.options.ts';
import { PipelinedClient } from './pipelined-client.ts';

/**
 * The few connections of the background work: the relay, retention, refusals. They do not wait for
 * the disk at commit, because whatever a crash undoes there is done again.
 */
export function createBackgroundPool(connection: DatabaseConnection, log: PersistenceLog): Pool {
  return createPool(connection, log, 3, RELAXED);
}

/**
 * The one connection that marks. Its statement is planned once, not each time for all days of the outbox, which takes
 * longer than marking does; and as that may be while the table is nearly empty, it is planned to look rows up.
 */
export function createMarksPool(connection: DatabaseConnection, log: PersistenceLog): Pool {
  return createPool(connection, log, 1, `${RELAXED} ${PLANNED_ONCE}`);
}

const RELAXED = '-c synchronous_commit=off';
const PLANNED_ONCE = '-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_mergejoin=off';

function createPool(connection: DatabaseConnection, log: PersistenceLog, max: number, options: string): Pool {
  const { Pool: ConnectionPool } = connection.driver ?? pg;
  const pool = new ConnectionPool({
    ...clientConfig({
      ...connection,
      applicationName: `${connection.applicationName ?? 'flotilla'} outbox`,
      // Dropping and attaching partitions wait for nobody for long: the next run tries again.
      lockTimeoutMs: Math.min(connection.lockTimeoutMs ?? 2_000, 2_000),
    }),
    max,
    idleTimeoutMillis: 10_000,
    allowExitOnIdle: true,
    Client: PipelinedClient as unknown as new () => ClientBase,
    options,
  });
  pool.on('error', (error) => log.warn(`An idle connection of the outbox was lost: ${error.message}`));
  return pool;
}
