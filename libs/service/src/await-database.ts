import { FlotillaError, type Clock } from '@flotilla/kernel';
import { assertMigrated, type MigrateOptions } from '@flotilla/persistence';
import { DatabaseUnreachableError } from './service.errors.ts';

const PAUSE_MS = 250;

export interface AwaitDatabaseOptions extends MigrateOptions {
  /** For the error. */
  readonly service: string;
  /** How long to try, in milliseconds. */
  readonly withinMs: number;
  readonly clock: Clock;
}

/**
 * Waits until the database answers, and checks that it has all migrations. Throws {@link DatabaseUnreachableError}
 * when the time is up, and at once what waiting cannot mend: `MigrationsPendingError`, refused credentials.
 */
export async function awaitDatabase(options: AwaitDatabaseOptions): Promise<void> {
  const { service, withinMs, clock, ...database } = options;
  const untilMs = clock.monotonicMs() + withinMs;
  for (;;) {
    try {
      await assertMigrated(database);
      return;
    } catch (error) {
      if (error instanceof FlotillaError) throw error;
      if (isFinal(error) || clock.monotonicMs() + PAUSE_MS >= untilMs) {
        throw new DatabaseUnreachableError(service, options.url, error);
      }
      await clock.sleep(PAUSE_MS);
    }
  }
}

/** Codes of class 28 (credentials) and 3D (no such database), from the table of error codes in Postgres' manual. */
function isFinal(error: unknown): boolean {
  const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined;
  return typeof code === 'string' && /^(28|3D)/.test(code);
}
