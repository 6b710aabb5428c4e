import { Client } from 'pg';
import { EmbeddedOptionError } from './errors.ts';

export interface DatabaseSpec {
  readonly name: string;
  /** The role that owns the database; it can log in and has no other rights. */
  readonly role: string;
  readonly password: string;
}

/**
 * Creates the database and its owning role when they are missing, sets the role's password, and lets nobody
 * else connect. Returns the URL for the role. Idempotent, and safe to call from several processes at once.
 */
export async function ensureDatabase(adminUrl: string, spec: DatabaseSpec): Promise<string> {
  assertIdentifier('database name', spec.name);
  assertIdentifier('role', spec.role);
  if (spec.password === '') throw new EmbeddedOptionError(`the role ${spec.role} needs a password`);
  const client = new Client({ connectionString: adminUrl, connectionTimeoutMillis: 10_000 });
  await client.connect();
  try {
    // A statement that fails is logged with its text; these hold a password.
    await client.query('SET log_min_error_statement = panic');
    await client.query("SELECT pg_advisory_lock(hashtext('flotilla.ensureDatabase'))");
    const role = client.escapeIdentifier(spec.role);
    const database = client.escapeIdentifier(spec.name);
    const exists = async (sql: string, value: string): Promise<boolean> =>
      (await client.query(sql, [value])).rowCount !== 0;
    const verb = (await exists('SELECT FROM pg_roles WHERE rolname = $1', spec.role)) ? 'ALTER' : 'CREATE';
    await client.query(`${verb} ROLE ${role} LOGIN PASSWORD ${client.escapeLiteral(spec.password)}`);
    if (!(await exists('SELECT FROM pg_database WHERE datname = $1', spec.name))) {
      await client.query(`CREATE DATABASE ${database} OWNER ${role}`);
    }
    await client.query(`ALTER DATABASE ${database} OWNER TO ${role}`);
    for (const closed of [database, 'postgres', 'template1']) {
      await client.query(`REVOKE CONNECT, TEMPORARY ON DATABASE ${closed} FROM PUBLIC`);
    }
  } finally {
    await client.end();
  }
  return databaseUrl(adminUrl, spec);
}

/** The URL of a database on the server of `adminUrl`, for one role. */
export function databaseUrl(adminUrl: string, spec: DatabaseSpec): string {
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
