// This entry point is run by Node's type stripping too: it imports no Nest and nothing with decorators.
import pg, { type Client } from 'pg';
import { DataSource, type Logger, type MigrationInterface, type QueryRunner } from 'typeorm';
import { grantApplicationRole } from './application-role.ts';
import { clientConfig, type DatabaseConnection } from './connection/connection.options.ts';
import { chassisMigrations } from './migrations/index.ts';
import { createPartitions } from './outbox/outbox-partitions.ts';
import { MigrationFailedError, MigrationsPendingError } from './persistence.errors.ts';

export { chassisMigrations } from './migrations/index.ts';
export { ApplicationRoleError, MigrationFailedError, MigrationsPendingError } from './persistence.errors.ts';
export type { DatabaseConnection } from './connection/connection.options.ts';

/** A migration, as TypeORM's: `up` in a transaction of its own, unless `transaction` is false. */
export interface Migration {
  /** Default: the name of the class. */
  readonly name?: string;
  readonly transaction?: boolean;
  up(runner: QueryRunner): Promise<unknown>;
  down?(runner: QueryRunner): Promise<unknown>;
}

/** The class of a migration. Its name ends with a timestamp of 13 digits, which orders it. */
export type MigrationClass = new () => Migration;

export interface MigrateOptions extends Pick<DatabaseConnection, 'url' | 'ssl' | 'driver'> {
  /** The service's own; those of the chassis run before them. Default none. */
  readonly migrations?: readonly MigrationClass[];
  /**
   * The role that the service runs with, when `url` is another's, who owns the schema: it may then read and write every
   * table and change none. Default: whoever migrates; it owns the tables and may change them.
   */
  readonly applicationRole?: string;
  /** Leaves out the outbox's day partitions, which a service makes itself when it starts. Default false. */
  readonly schemaOnly?: boolean;
}

export interface MigrateReport {
  /** The migrations that were applied now, in order. */
  readonly applied: readonly string[];
  /** The migrations that were applied before. */
  readonly present: readonly string[];
}

/** Serialises migrations of one database, whoever runs them. */
const MIGRATION_LOCK = 'flotilla migrations';
const HISTORY_TABLE = 'migrations';

/**
 * Brings a database to the schema that the chassis and the service need. Each migration runs in its own transaction;
 * a second run at the same time waits, and finds nothing left to do.
 */
export async function migrate(options: MigrateOptions): Promise<MigrateReport> {
  return withClient(options, async (client) => {
    await client.query('SELECT pg_advisory_lock(hashtextextended($1, 0))', [MIGRATION_LOCK]);
    const classes = migrationsOf(options);
    const present = await appliedMigrations(client);
    const dataSource = new DataSource({
      type: 'postgres',
      url: options.url,
      ...(options.driver !== undefined && { driver: options.driver }),
      migrations: classes.map(explainFailure),
      migrationsTableName: HISTORY_TABLE,
      migrationsTransactionMode: 'each',
      installExtensions: false,
      logger: silent,
      poolSize: 1,
      extra: { ...(options.ssl !== undefined && { ssl: options.ssl }), application_name: 'flotilla migrate' },
    });
    await dataSource.initialize();
    try {
      const applied = await dataSource.runMigrations();
      if (options.applicationRole !== undefined)
        await grantApplicationRole(client, options.applicationRole, HISTORY_TABLE);
      if (options.schemaOnly !== true) await createPartitions(client);
      return { applied: applied.map(({ name }) => name), present };
    } finally {
      await dataSource.destroy();
    }
  });
}

/** TypeORM prints failures even with logging off; here they are thrown, and the caller prints. */
const silent: Logger = {
  logQuery: () => undefined,
  logQueryError: () => undefined,
  logQuerySlow: () => undefined,
  logSchemaBuild: () => undefined,
  logMigration: () => undefined,
  log: () => undefined,
};

/** The names of the migrations that the database lacks. */
export async function pendingMigrations(options: MigrateOptions): Promise<string[]> {
  return withClient(options, async (client) => {
    const applied = new Set(await appliedMigrations(client));
    return migrationsOf(options)
      .map(nameOf)
      .filter((name) => !applied.has(name));
  });
}

/** Throws {@link MigrationsPendingError} when the database lacks migrations. */
export async function assertMigrated(options: MigrateOptions): Promise<void> {
  const pending = await pendingMigrations(options);
  if (pending.length > 0) throw new MigrationsPendingError(new URL(options.url).pathname.slice(1), pending);
}

function migrationsOf(options: MigrateOptions): readonly MigrationClass[] {
  return [...chassisMigrations, ...(options.migrations ?? [])];
}

function nameOf(migration: MigrationClass): string {
  return new migration().name ?? migration.name;
}

/** The same migration for TypeORM, with an error that says which one it was. */
function explainFailure(migration: MigrationClass): new () => MigrationInterface {
  const original = new migration();
  const name = nameOf(migration);
  return class {
    readonly name = name;
    readonly transaction = original.transaction ?? true;

    async up(runner: QueryRunner): Promise<void> {
      try {
        await original.up(runner);
      } catch (error) {
        throw new MigrationFailedError(name, error);
      }
    }

    async down(runner: QueryRunner): Promise<void> {
      if (original.down === undefined)
        throw new MigrationFailedError(name, 'it cannot be undone (no down method)');
      await original.down(runner);
    }
  };
}

async function appliedMigrations(client: Client): Promise<string[]> {
  const { rows: tables } = await client.query('SELECT to_regclass($1) AS table', [HISTORY_TABLE]);
  if ((tables[0] as { table: string | null }).table === null) return [];
  const { rows } = await client.query(`SELECT name FROM ${HISTORY_TABLE} ORDER BY id`);
  return (rows as { name: string }[]).map(({ name }) => name);
}

async function withClient<T>(options: MigrateOptions, work: (client: Client) => Promise<T>): Promise<T> {
  const { Client: ConnectionClient } = options.driver ?? pg;
  const client = new ConnectionClient({
    ...clientConfig({ ...options, applicationName: 'flotilla migrate' }),
    // Another run may take its time, and so may an index on a large table.
    statement_timeout: 0,
    lock_timeout: 0,
  });
  // The statement under way says why the connection broke; unheard, Node would end the whole process for it.
  client.on('error', () => undefined);
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}
