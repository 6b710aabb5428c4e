import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { ServiceManifest } from '@flotilla/contracts-protocol';
import type { MigrationClass } from '@flotilla/persistence/migrate';
import { chassisServiceMigrations } from '@flotilla/service/migrations';
import { InvalidServiceError, UnknownServiceError } from './fleet.errors.ts';
import { workspaceRoot } from './workspace.ts';

/** One deployable of the workspace: a folder of `apps/` with `src/main.ts` and `src/<name>.service.ts`. */
export interface Service {
  readonly name: string;
  /** Absolute. */
  readonly folder: string;
  readonly manifest: ServiceManifest;
  /** Its own migrations, the sagas' tables and the schedules', which every service's database has; the chassis adds the rest. */
  readonly migrations: readonly MigrationClass[];
}

/** All services, by name. The folders are the only list. */
export async function discoverServices(root: string = workspaceRoot): Promise<Service[]> {
  const apps = join(root, 'apps');
  const names = readdirSync(apps)
    .filter((name) => existsSync(join(apps, name, 'src/main.ts')))
    .filter((name) => existsSync(join(apps, name, `src/${name}.service.ts`)))
    .sort();
  return Promise.all(names.map((name) => loadService(name, join(apps, name))));
}

/** Those of `services` that are named; all when nothing is named. Throws {@link UnknownServiceError}. */
export function selectServices(
  services: readonly Service[],
  names: readonly string[] | undefined,
): readonly Service[] {
  if (names === undefined) return services;
  const known = services.map(({ name }) => name);
  const unknown = names.filter((name) => !known.includes(name));
  if (unknown.length > 0) throw new UnknownServiceError(unknown, known);
  return services.filter(({ name }) => names.includes(name));
}

async function loadService(name: string, folder: string): Promise<Service> {
  const file = join(folder, `src/${name}.service.ts`);
  const manifest = Object.values(await load(file)).find(isManifest);
  if (manifest === undefined)
    throw new InvalidServiceError(file, 'exports no manifest made by defineService');
  if (manifest.name !== name) {
    throw new InvalidServiceError(
      file,
      `declares the service "${manifest.name}", but the folder is "${name}"`,
    );
  }
  return { name, folder, manifest, migrations: await migrationsOf(folder, manifest) };
}

async function migrationsOf(folder: string, manifest: ServiceManifest): Promise<MigrationClass[]> {
  if (!manifest.database) return [];
  const file = join(folder, 'src/persistence/migrations/index.ts');
  const own = existsSync(file) ? Object.values(await load(file)).find(isMigrations) : [];
  if (own === undefined) throw new InvalidServiceError(file, 'exports no array of migration classes');
  return [...chassisServiceMigrations, ...own];
}

async function load(file: string): Promise<Record<string, unknown>> {
  return (await import(pathToFileURL(file).href)) as Record<string, unknown>;
}

function isManifest(value: unknown): value is ServiceManifest {
  return (
    typeof value === 'object' && value !== null && 'answers' in value && 'reacts' in value && 'name' in value
  );
}

function isMigrations(value: unknown): value is MigrationClass[] {
  return Array.isArray(value) && value.every((each) => typeof each === 'function');
}
