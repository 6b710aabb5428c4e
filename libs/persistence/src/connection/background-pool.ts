import pg, { type ClientBase, type Pool } from 'pg';
import type { PersistenceLog } from '../log.ts';
import { clientConfig, type DatabaseConnection } from './connection.options.ts';
import { PipelinedClient } from './pipelined-client.ts';

/**
 * The few connections of the background work: marking what is published, the relay, retention. They do not wait for
 * the disk at commit, because whatever a crash undoes there is done again.
 */
export function createBackgroundPool(connection: DatabaseConnection, log: PersistenceLog): Pool {
  const { Pool: ConnectionPool } = connection.driver ?? pg;
  const pool = new ConnectionPool({
    ...clientConfig({
      ...connection,
      applicationName: `${connection.applicationName ?? 'flotilla'} outbox`,
      // Dropping and attaching partitions wait for nobody for long: the next run tries again.
      lockTimeoutMs: Math.min(connection.lockTimeoutMs ?? 2_000, 2_000),
    }),
    max: 3,
    idleTimeoutMillis: 10_000,
    allowExitOnIdle: true,
    Client: PipelinedClient as unknown as new () => ClientBase,
    options: '-c synchronous_commit=off',
  });
  pool.on('error', (error) => log.warn(`An idle connection of the outbox was lost: ${error.message}`));
  return pool;
}
