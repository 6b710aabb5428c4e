import { ScheduleStore, type ScheduleState } from '@flotilla/service/schedules';
import { Client } from 'pg';
import { discoverServices, selectServices } from '../services.ts';
import type { DataDir } from '../stack/data-dir.ts';
import { findDatabases } from '../stack/migrations.ts';

/** A schedule and the service that runs it. */
export interface OwnedSchedule {
  readonly service: string;
  readonly state: ScheduleState;
}

/** The schedules of all services with a database, or of one, read from their databases. */
export async function readSchedules(dir: DataDir, name?: string): Promise<OwnedSchedule[]> {
  const all = await discoverServices();
  const chosen = selectServices(all, name === undefined ? undefined : [name]);
  const services = chosen.filter(({ manifest }) => manifest.database);
  const databases = await findDatabases(services, dir);
  const lists = await Promise.all(
    services.map(async ({ name: service }) => {
      const client = new Client({
        connectionString: databases[service],
        application_name: 'fleet schedule',
        connectionTimeoutMillis: 10_000,
      });
      await client.connect();
      try {
        const store = new ScheduleStore(
          async <R>(sql: string, parameters?: unknown[]) => (await client.query(sql, parameters)).rows as R[],
        );
        return (await store.list()).map((state): OwnedSchedule => ({ service, state }));
      } finally {
        await client.end();
      }
    }),
  );
  return lists.flat();
}
