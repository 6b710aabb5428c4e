import { createHash } from 'node:crypto';
import { databaseUrl } from '@flotilla/embedded';
import { FlotillaError, errorCode, errorMessage } from '@flotilla/kernel';
import { Client } from 'pg';
import { sharedPostgresUrl } from './test-servers.ts';
import { uniqueName } from './unique-name.ts';
import { until, UntilTimedOutError } from './until.ts';

/** How to make the database that tests get a copy of. */
export interface DatabaseTemplate {
  /** Names the schema: tests with the same name share the migrated template, within one server. */
  readonly name: string;
  /**
   * Runs once per server: brings an empty database to the schema, and leaves no connection open. `applicationRole` is
   * the role of {@link TestDatabase.applicationUrl}, for a schema whose users may not change it.
   */
  readonly migrate: (url: string, applicationRole: string) => Promise<void>;
}

export interface CreateTestDatabaseOptions {
  /** Default: an empty database. */
  readonly template?: DatabaseTemplate;
  /** The server, for its superuser. Default: the shared one. */
  readonly adminUrl?: string;
  /** Starts the database's name. Default: the template's name, else `test`. */
  readonly prefix?: string;
}

export interface TestDatabase extends AsyncDisposable {
  readonly name: string;
  /** For a role that owns the database and has no other rights, as the one that migrates a service's. */
  readonly url: string;
  /** For a role that may connect to it and, beside that, what `migrate` has let it, as a service's role. */
  readonly applicationUrl: string;
  /** For the superuser, on this database. */
  readonly adminUrl: string;
  /** The connections open on it, each as "pid application state: query". */
  connections(): Promise<string[]>;
  /**
   * Drops the database. Connections that are still open after `graceMs` (default 2,000 ms) are cut, and then
   * it throws {@link DatabaseLeakError}: the test left them open.
   */
  drop(options?: { readonly graceMs?: number }): Promise<void>;
}

/** Thrown when a test leaves connections to its database open. Code `DATABASE_CONNECTIONS_LEAKED`. */
export class DatabaseLeakError extends FlotillaError {
  readonly connections: readonly string[];

  constructor(database: string, connections: readonly string[]) {
    super(
      'DATABASE_CONNECTIONS_LEAKED',
      `${connections.length} connection(s) to ${database} were left open; close the pools and clients that the ` +
        `test opened:\n${connections.map((line) => `  - ${line}`).join('\n')}`,
      { retry: 'never' },
    );
    this.connections = connections;
  }
}

/** Thrown when a template database could not be made or copied. Code `DATABASE_TEMPLATE_FAILED`. */
export class DatabaseTemplateError extends FlotillaError {
  constructor(template: string, reason: string, cause?: unknown) {
    super('DATABASE_TEMPLATE_FAILED', `The template database "${template}" ${reason}`, {
      cause,
      retry: 'never',
    });
  }
}

const role = 'flotilla_test';
const applicationRole = 'flotilla_test_application';
const password = 'flotilla_test';

/** Creates a database for one test: empty, or a copy of a migrated template (some 50 ms). */
export async function createTestDatabase(options: CreateTestDatabaseOptions = {}): Promise<TestDatabase> {
  const adminUrl = options.adminUrl ?? (await sharedPostgresUrl());
  const { template } = options;
  const name = uniqueName(sanitise(options.prefix ?? template?.name ?? 'test'));
  await withAdmin(adminUrl, async (admin) => {
    await ensureRoles(admin);
    const source = template === undefined ? undefined : await ensureTemplate(admin, adminUrl, template);
    await createDatabase(admin, name, source);
  });
  const drop = (dropOptions: { readonly graceMs?: number } = {}): Promise<void> =>
    dropDatabase(adminUrl, name, dropOptions.graceMs ?? 2_000);
  return {
    name,
    url: databaseUrl(adminUrl, { name, role, password }),
    applicationUrl: databaseUrl(adminUrl, { name, role: applicationRole, password }),
    adminUrl: onDatabase(adminUrl, name),
    connections: () => withAdmin(adminUrl, (admin) => connectionsTo(admin, name)),
    drop,
    [Symbol.asyncDispose]: () => drop(),
  };
}

/** The connections open on the database of `url`, as its superuser sees them; none when it does not exist. */
export async function openConnections(adminUrl: string, database: string): Promise<string[]> {
  return withAdmin(adminUrl, (admin) => connectionsTo(admin, database));
}

async function withAdmin<T>(adminUrl: string, work: (admin: Client) => Promise<T>): Promise<T> {
  const admin = new Client({ connectionString: adminUrl, application_name: 'flotilla-testing' });
  await admin.connect();
  try {
    return await work(admin);
  } finally {
    await admin.end();
  }
}

/** Runs `work` while no other test process of this server does: Postgres refuses most of it when concurrent. */
async function exclusively<T>(admin: Client, key: string, work: () => Promise<T>): Promise<T> {
  await admin.query('SELECT pg_advisory_lock(hashtext($1))', [`flotilla-testing ${key}`]);
  try {
    return await work();
  } finally {
    await admin.query('SELECT pg_advisory_unlock(hashtext($1))', [`flotilla-testing ${key}`]);
  }
}

async function ensureRoles(admin: Client): Promise<void> {
  const there = async (): Promise<boolean> =>
    (await admin.query('SELECT FROM pg_roles WHERE rolname IN ($1, $2)', [role, applicationRole]))
      .rowCount === 2;
  if (await there()) return;
  await exclusively(admin, 'role', async () => {
    for (const each of [role, applicationRole]) {
      if ((await admin.query('SELECT FROM pg_roles WHERE rolname = $1', [each])).rowCount !== 0) continue;
      await admin.query(`CREATE ROLE ${each} LOGIN PASSWORD '${password}'`);
    }
  });
}

async function ensureTemplate(admin: Client, adminUrl: string, template: DatabaseTemplate): Promise<string> {
  const hash = createHash('sha256').update(template.name).digest('hex').slice(0, 8);
  const name = `template_${sanitise(template.name)}_${hash}`;
  const isReady = async (): Promise<boolean> =>
    (await admin.query('SELECT FROM pg_database WHERE datname = $1 AND datistemplate', [name])).rowCount !==
    0;
  if (await isReady()) return name;
  await exclusively(admin, name, async () => {
    if (await isReady()) return;
    // A half-migrated one, left by a run that was cut off.
    await admin.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
    await createDatabase(admin, name);
    try {
      await template.migrate(databaseUrl(adminUrl, { name, role, password }), applicationRole);
    } catch (error) {
      throw new DatabaseTemplateError(template.name, `could not be migrated: ${errorMessage(error)}`, error);
    }
    const left = await connectionsAfterGrace(admin, name, 2_000);
    if (left.length > 0) {
      throw new DatabaseTemplateError(
        template.name,
        `cannot be copied, because migrate() left connections open: ${left.join('; ')}`,
      );
    }
    await admin.query(`ALTER DATABASE ${name} WITH ALLOW_CONNECTIONS false IS_TEMPLATE true`);
  });
  return name;
}

async function createDatabase(admin: Client, name: string, template = 'template1'): Promise<void> {
  const sql = `CREATE DATABASE ${name} OWNER ${role} TEMPLATE ${template}`;
  const outcome = await until<{ readonly error?: unknown }>(
    async () => {
      try {
        await admin.query(sql);
        return {};
      } catch (error) {
        // Somebody is connected to the template for a moment (autovacuum, another CREATE DATABASE): it passes.
        return errorCode(error) === '55006' ? false : { error };
      }
    },
    { describe: `"${sql}" finds its template free` },
  );
  if ('error' in outcome) throw outcome.error;
}

async function dropDatabase(adminUrl: string, name: string, graceMs: number): Promise<void> {
  await withAdmin(adminUrl, async (admin) => {
    const left = await connectionsAfterGrace(admin, name, graceMs);
    await admin.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
    if (left.length > 0) throw new DatabaseLeakError(name, left);
  });
}

/** A client that was closed is gone for the server a moment later: only what stays for `graceMs` counts. */
async function connectionsAfterGrace(admin: Client, name: string, graceMs: number): Promise<string[]> {
  try {
    await until(async () => (await connectionsTo(admin, name)).length === 0, { timeoutMs: graceMs });
    return [];
  } catch (error) {
    if (error instanceof UntilTimedOutError && error.cause === undefined) return connectionsTo(admin, name);
    throw error;
  }
}

async function connectionsTo(admin: Client, database: string): Promise<string[]> {
  const { rows } = await admin.query<{ line: string }>(
    `SELECT format('%s %s %s: %s', pid, nullif(application_name, ''), state, left(query, 200)) AS line
       FROM pg_stat_activity
      WHERE datname = $1 AND backend_type = 'client backend' AND pid <> pg_backend_pid()
      ORDER BY pid`,
    [database],
  );
  return rows.map(({ line }) => line);
}

function onDatabase(adminUrl: string, name: string): string {
  const url = new URL(adminUrl);
  url.pathname = `/${name}`;
  return url.href;
}

function sanitise(name: string): string {
  const clean = name
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '_')
    .slice(0, 30);
  return /^[a-z]/.test(clean) ? clean : `t_${clean}`;
}
