import type { ConnectionOptions } from 'node:tls';
import type { Client, Pool } from 'pg';

/** The part of the pg module by which connections are made. */
export interface DatabaseDriver {
  readonly Client: typeof Client;
  readonly Pool: typeof Pool;
}

/** Where the database is, and the limits of every connection to it. */
export interface DatabaseConnection {
  /** `postgres://user:password@host:port/database`. */
  readonly url: string;
  /** TLS; default as the URL's `sslmode` says. */
  readonly ssl?: boolean | ConnectionOptions;
  /** Shown in `pg_stat_activity`. Default `flotilla`. */
  readonly applicationName?: string;
  /** How long to wait for a connection, ms. Default 5,000. */
  readonly connectTimeoutMs?: number;
  /** The server ends a statement after this, ms. Default 10,000. */
  readonly statementTimeoutMs?: number;
  /**
   * The server gives up waiting for a row or lock after this, ms. Default 5,000. Lower fails sooner when many units
   * want the same row; higher keeps a connection waiting longer.
   */
  readonly lockTimeoutMs?: number;
  /** What makes connections. Default pg itself; the simulator of `@flotilla/testing` has another. */
  readonly driver?: DatabaseDriver;
}

/** The part of a connection's configuration that pg takes, the same for every connection of this library. */
export function clientConfig(
  options: DatabaseConnection,
): Record<string, unknown> & { connectionString: string } {
  return {
    connectionString: options.url,
    ...(options.ssl !== undefined && { ssl: options.ssl }),
    application_name: options.applicationName ?? 'flotilla',
    connectionTimeoutMillis: options.connectTimeoutMs ?? 5_000,
    statement_timeout: options.statementTimeoutMs ?? 10_000,
    lock_timeout: options.lockTimeoutMs ?? 5_000,
    // A transaction whose client forgot it must not hold its locks for ever.
    idle_in_transaction_session_timeout: 60_000,
    keepAlive: true,
  };
}
