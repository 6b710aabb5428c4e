import type { MigrateReport } from '@flotilla/persistence/migrate';
import { DatabaseUrlMissingError } from '../fleet.errors.ts';
import type { Service } from '../services.ts';
import { readState } from './state.ts';
import type { DataDir } from './data-dir.ts';

export interface MigrationResult extends MigrateReport {
  readonly service: string;
}

/** A database to migrate. */
export interface MigrationTarget {
  /** For the role that owns the schema. */
  readonly url: string;
  /** The role that the service runs with, when that is another. */
  readonly applicationRole?: string;
}

/** The role that owns the schema of a service: the service's own may only use it. */
export function migratorRole(service: string): string {
  return `${service}_migrator`;
}

/** Databases migrated at a time: each costs its server a few connections. */
const AT_A_TIME = 3;

/** Brings the databases of services to their schema. */
export async function migrateServices(
  services: readonly Service[],
  targets: Readonly<Record<string, MigrationTarget>>,
): Promise<MigrationResult[]> {
  // Loaded when needed: TypeORM takes a while.
  const { migrate } = await import('@flotilla/persistence/migrate');
  const results: MigrationResult[] = [];
  const queue = services.values();
  const worker = async (): Promise<void> => {
    for (const { name, migrations } of queue) {
      const target = targets[name] ?? { url: '' };
      results.push({ service: name, ...(await migrate({ ...target, migrations })) });
    }
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, worker));
  return results.sort((a, b) => (a.service < b.service ? -1 : 1));
}

/** The variable with the URL of a service's database, for deployments: `ORDERS_DATABASE_URL`. */
export function databaseVariable(service: string): string {
  return `${upperCase(service)}_DATABASE_URL`;
}

/** The variable with the URL for the role that owns the schema: `ORDERS_MIGRATOR_DATABASE_URL`. */
export function migratorVariable(service: string): string {
  return `${upperCase(service)}_MIGRATOR_DATABASE_URL`;
}

/** The variables with the passwords of a service's two roles, for deployments that make the roles themselves. */
export function passwordVariables(service: string): string[] {
  return [`${upperCase(service)}_DB_PASSWORD`, `${upperCase(service)}_MIGRATOR_DB_PASSWORD`];
}

/**
 * Where the databases of services are: from the environment, else from the running fleet. Throws
 * {@link DatabaseUrlMissingError} that names every variable that is missing.
 */
export async function findDatabases(
  services: readonly Service[],
  dir: DataDir,
  env: NodeJS.ProcessEnv = process.env,
): Promise<Record<string, string>> {
  const embedded = (await readState(dir))?.databases ?? {};
  return findEach(
    services,
    dir,
    databaseVariable,
    (name) => read(env, databaseVariable(name)) ?? embedded[name],
  );
}

/**
 * The databases of services, for migrating them: those of `<SERVICE>_MIGRATOR_DATABASE_URL`, where the role of
 * `<SERVICE>_DATABASE_URL` (else the one named like the service) gets its rights; those of `<SERVICE>_DATABASE_URL`
 * alone, where one role does both; else those of the running fleet. Throws {@link DatabaseUrlMissingError}.
 */
export async function findMigrationTargets(
  services: readonly Service[],
  dir: DataDir,
  env: NodeJS.ProcessEnv = process.env,
): Promise<Record<string, MigrationTarget>> {
  const embedded = (await readState(dir))?.credentials.migrators ?? {};
  return findEach(services, dir, migratorVariable, (name) => {
    const url = read(env, databaseVariable(name));
    const migrator = read(env, migratorVariable(name));
    if (migrator !== undefined) return { url: migrator, applicationRole: roleOf(url) ?? name };
    return url === undefined ? embedded[name] : { url };
  });
}

function findEach<T>(
  services: readonly Service[],
  dir: DataDir,
  variable: (service: string) => string,
  find: (service: string) => T | undefined,
): Record<string, T> {
  const found: Record<string, T> = {};
  const missing: string[] = [];
  for (const { name, manifest } of services) {
    if (!manifest.database) continue;
    const each = find(name);
    if (each === undefined) missing.push(variable(name));
    else found[name] = each;
  }
  if (missing.length > 0) throw new DatabaseUrlMissingError(missing, dir.path);
  return found;
}

function roleOf(url: string | undefined): string | undefined {
  const role = url === undefined ? '' : decodeURIComponent(new URL(url).username);
  return role === '' ? undefined : role;
}

function read(env: NodeJS.ProcessEnv, name: string): string | undefined {
  const value = env[name];
  return value === '' ? undefined : value;
}

function upperCase(service: string): string {
  return service.toUpperCase().replaceAll('-', '_');
}
