import type { MigrateReport } from '@flotilla/persistence/migrate';
import { DatabaseUrlMissingError } from '../fleet.errors.ts';
import type { Service } from '../services.ts';
import { readState } from './state.ts';
import type { DataDir } from './data-dir.ts';

export interface MigrationResult extends MigrateReport {
  readonly service: string;
}

/** Databases migrated at a time: each costs its server a few connections. */
const AT_A_TIME = 3;

/** Brings the databases of services to their schema. */
export async function migrateServices(
  services: readonly Service[],
  databases: Readonly<Record<string, string>>,
): Promise<MigrationResult[]> {
  // Loaded when needed: TypeORM takes a while.
  const { migrate } = await import('@flotilla/persistence/migrate');
  const results: MigrationResult[] = [];
  const queue = services.values();
  const worker = async (): Promise<void> => {
    for (const { name, migrations } of queue) {
      results.push({ service: name, ...(await migrate({ url: databases[name] ?? '', migrations })) });
    }
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, worker));
  return results.sort((a, b) => (a.service < b.service ? -1 : 1));
}

/** The variable with the URL of a service's database, for deployments: `ORDERS_DATABASE_URL`. */
export function databaseVariable(service: string): string {
  return `${service.toUpperCase().replaceAll('-', '_')}_DATABASE_URL`;
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
  const databases: Record<string, string> = {};
  const missing: string[] = [];
  for (const { name, manifest } of services) {
    if (!manifest.database) continue;
    const variable = databaseVariable(name);
    const configured = env[variable];
    const url = configured === undefined || configured === '' ? embedded[name] : configured;
    if (url === undefined) missing.push(variable);
    else databases[name] = url;
  }
  if (missing.length > 0) throw new DatabaseUrlMissingError(missing, dir.path);
  return databases;
}
