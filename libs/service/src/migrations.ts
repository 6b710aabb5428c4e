import type { MigrationClass } from '@flotilla/persistence';
import { sagaMigrations } from '@flotilla/saga';
import { repairMigrations } from './repair/migration.ts';
import { scheduleMigrations } from './schedules/migration.ts';

/**
 * What every service's database has beside the inbox and the outbox, before the service's own migrations: one list for
 * services, the `fleet` command and the benchmarks.
 */
export const chassisServiceMigrations: readonly MigrationClass[] = [
  ...sagaMigrations,
  ...scheduleMigrations,
  ...repairMigrations,
];
