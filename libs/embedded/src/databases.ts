import { Client } from 'pg';
import { EmbeddedOptionError } from './errors.ts';

export interface DatabaseSpec {
  readonly name: string;
  /** The role that uses the database, and owns it when there is no `migrator`; it can log in and has no other rights. */
  readonly role: string;
  readonly password: string;
  /**
   * The role that owns the database and what is in it, so that `role` changes no schema; what `role` may do with the
   * tables, the migrator grants. What `role` owned before becomes the migrator's.
   */
  readonly migrator?: { readonly role: string; readonly password: string };
}

/** Takes every right from a role that it could have been given. */
const NO_RIGHTS = 'NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS';

/**
 * Creates the database and its roles when they are missing, sets the roles' passwords, and lets nobody else connect.
 * Returns the URL for `role`. Idempotent, and safe to call from several processes at once.
 */
export async function ensureDatabase(adminUrl: string, spec: DatabaseSpec): Promise<string> {
  assertIdentifier('database name', spec.name);
  const roles = spec.migrator === undefined ? [spec] : [spec.migrator, spec];
  for (const { role, password } of roles) {
    assertIdentifier('role', role);
    if (password === '') throw new EmbeddedOptionError(`the role ${role} needs a password`);
  }
  if (spec.migrator?.role === spec.role) {
    throw new EmbeddedOptionError(`the migrator of ${spec.name} must be another role than ${spec.role}`);
  }
  const owner = spec.migrator?.role ?? spec.role;
  await withClient(adminUrl, async (client) => {
    // A statement that fails is logged with its text; these hold a password.
    await client.query('SET log_min_error_statement = panic');
    await client.query("SELECT pg_advisory_lock(hashtext('flotilla.ensureDatabase'))");
    const database = client.escapeIdentifier(spec.name);
    for (const { role, password } of roles) {
      const found = await client.query('SELECT FROM pg_roles WHERE rolname = $1', [role]);
      await client.query(
        `${found.rowCount === 0 ? 'CREATE' : 'ALTER'} ROLE ${client.escapeIdentifier(role)} ` +
          `LOGIN ${NO_RIGHTS} PASSWORD ${client.escapeLiteral(password)}`,
      );
    }
    const { rows } = await client.query<{ owner: string }>(
      'SELECT pg_get_userbyid(datdba) AS owner FROM pg_database WHERE datname = $1',
      [spec.name],
    );
    const before = rows[0]?.owner;
    if (before === undefined) {
      await client.query(`CREATE DATABASE ${database} OWNER ${client.escapeIdentifier(owner)}`);
    } else if (before !== owner) {
      // The database itself last: if this is cut off before, it is done again.
      if (spec.migrator !== undefined) await reassign(adminUrl, spec.name, spec.role, owner);
      await client.query(`ALTER DATABASE ${database} OWNER TO ${client.escapeIdentifier(owner)}`);
    }
    for (const closed of [database, 'postgres', 'template1']) {
      await client.query(`REVOKE CONNECT, TEMPORARY ON DATABASE ${closed} FROM PUBLIC`);
    }
    if (owner !== spec.role) {
      await client.query(`GRANT CONNECT ON DATABASE ${database} TO ${client.escapeIdentifier(spec.role)}`);
    }
  });
  return databaseUrl(adminUrl, spec);
}

/** Gives what a role owns in a database to another. */
async function reassign(adminUrl: string, database: string, from: string, to: string): Promise<void> {
  const url = new URL(adminUrl);
  url.pathname = `/${encodeURIComponent(database)}`;
  await withClient(url.href, async (client) => {
    const [old, owner] = [from, to].map((role) => client.escapeIdentifier(role));
    await client.query(`REASSIGN OWNED BY ${old} TO ${owner}`);
  });
}

async function withClient(url: string, work: (client: Client) => Promise<void>): Promise<void> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 10_000 });
  await client.connect();
  try {
    await work(client);
  } finally {
    await client.end();
  }
}

/** The URL of a database on the server of `adminUrl`, for one role. */
export function databaseUrl(
  adminUrl: string,
  spec: Pick<DatabaseSpec, 'name' | 'role' | 'password'>,
): string {
  const url = new URL(adminUrl);
  url.username = encodeURIComponent(spec.role);
  url.password = encodeURIComponent(spec.password);
  url.pathname = `/${encodeURIComponent(spec.name)}`;
  return url.href;
}

function assertIdentifier(what: string, value: string): void {
  if (!/^[a-z_][a-z0-9_-]{0,62}$/.test(value)) {
    throw new EmbeddedOptionError(
      `${what} "${value}" must start with a-z or _, go on with a-z, 0-9, _ or -, and have at most 63 characters`,
    );
  }
}
