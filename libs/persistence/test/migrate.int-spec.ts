import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { createTestDatabase, until, type TestDatabase } from '@flotilla/testing';
import {
  assertMigrated,
  migrate,
  MigrationFailedError,
  MigrationsPendingError,
  pendingMigrations,
  type Migration,
} from '../src/index.ts';
import { Opened } from './database.ts';
import { CreateAccount1700000100000 } from './fixtures/1700000100000-create-account.ts';

const CHASSIS = [
  'CreateInboxAndOutbox1700000000000',
  'CreateProjectionRebuilds1700000050000',
  'CreateSchemaFunctions1700000060000',
];
const TABLES = ['account', 'inbox', 'migrations', 'outbox', 'projection_rebuilds', 'projection_versions'];
const OWN = 'CreateAccount1700000100000';

const opened = new Opened();
let database: TestDatabase;

beforeEach(async () => {
  database = opened.add(await createTestDatabase(), (created) => created.drop());
});

afterEach(() => opened.close());

const tables = (): Promise<string[]> =>
  opened.connection(database.url, async (client) => {
    const { rows } = await client.query<{ name: string }>(
      `SELECT relname AS name FROM pg_class
        WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace AND NOT relispartition ORDER BY 1`,
    );
    return rows.map(({ name }) => name);
  });

const migrations = [CreateAccount1700000100000];

it("runs the chassis' migrations and then the service's, once", async () => {
  expect(await pendingMigrations({ url: database.url, migrations })).toEqual([...CHASSIS, OWN]);
  expect(await migrate({ url: database.url, migrations })).toEqual({
    applied: [...CHASSIS, OWN],
    present: [],
  });
  expect(await migrate({ url: database.url, migrations })).toEqual({
    applied: [],
    present: [...CHASSIS, OWN],
  });
  expect(await tables()).toEqual(TABLES);
});

it('lets concurrent runs wait for each other', async () => {
  const reports = await Promise.all([1, 2, 3].map(() => migrate({ url: database.url, migrations })));
  expect(reports.map(({ applied }) => applied.length).toSorted()).toEqual([0, 0, CHASSIS.length + 1]);
});

it('says which migration failed, and keeps those before it', async () => {
  class Broken1700000200000 implements Migration {
    async up(runner: Parameters<Migration['up']>[0]): Promise<void> {
      await runner.query('CREATE TABLE half (id int)');
      await runner.query('SELECT 1 / 0');
    }
  }
  const run = migrate({ url: database.url, migrations: [...migrations, Broken1700000200000] });
  await expect(run).rejects.toThrow(MigrationFailedError);
  await expect(run).rejects.toThrow(/Migration Broken1700000200000 failed .*division by zero/);
  expect(await tables()).toEqual(TABLES);
});

it('says at start what is missing', async () => {
  await migrate({ url: database.url });
  await expect(assertMigrated({ url: database.url, migrations })).rejects.toThrow(MigrationsPendingError);
  await expect(assertMigrated({ url: database.url, migrations })).rejects.toThrow(
    /lacks 1 migration.*fleet migrate/,
  );
});

it('is loaded by Node from its sources, without a compiler', async () => {
  const { stdout } = await promisify(execFile)(process.execPath, [
    '--conditions=@flotilla/source',
    new URL('./fixtures/migrate-from-source.ts', import.meta.url).pathname,
    database.url,
  ]);
  expect(JSON.parse(stdout)).toEqual({ applied: [...CHASSIS, OWN], present: [] });
});

it('says why it cannot check the migrations when its connection breaks, and lives', async () => {
  await migrate({ url: database.url, migrations });
  await opened.connection(database.adminUrl, async (client) => {
    await client.query('BEGIN');
    // The check waits here, with its connection open.
    await client.query('LOCK TABLE migrations IN ACCESS EXCLUSIVE MODE');
    const checked = assertMigrated({ url: database.url, migrations }).catch((error: unknown) => error);
    await until(() =>
      opened.connection(database.adminUrl, async (other) => {
        const { rows } = await other.query(
          `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'flotilla migrate' AND wait_event_type = 'Lock'`,
        );
        return rows.length > 0;
      }),
    );
    // Unheard, the end of the connection would end this process.
    expect(await checked).toMatchObject({ code: '57P01' });
    await client.query('ROLLBACK');
  });
});
