import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { scheduleMigrations } from '@flotilla/service/schedules';
import { createTestDatabase, startTestNats } from '@flotilla/testing';
import { Client } from 'pg';

interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

it('fleet schedule shows what is due and what failed, and asks the service that runs it', async () => {
  const data = mkdtempSync(join(tmpdir(), 'fleet-schedule-'));
  const nats = await startTestNats();
  await using database = await createTestDatabase({ prefix: 'schedule' });
  const { migrate } = await import('@flotilla/persistence/migrate');
  await migrate({ url: database.url, migrations: scheduleMigrations });
  const client = new Client({ connectionString: database.url });
  await client.connect();
  const fleet = (...args: string[]): Promise<Ran> =>
    new Promise((resolve) => {
      execFile(
        process.execPath,
        [
          '--conditions=@flotilla/source',
          join(import.meta.dirname, '../src/main.ts'),
          'schedule',
          ...args,
          '--data',
          data,
        ],
        { env: { PATH: process.env['PATH'], NATS_URL: nats.url, PAYMENTS_DATABASE_URL: database.url } },
        (error, stdout, stderr) =>
          resolve({ code: error === null ? 0 : Number(error.code ?? 1), stdout, stderr }),
      );
    });
  try {
    expect(await fleet('list', 'payments')).toMatchObject({ code: 0, stdout: 'There are no schedules.\n' });
    await client.query(
      `INSERT INTO schedules (name, cron, time_zone, due_at, run_at, last_started_at, last_failed_at, last_error)
       VALUES ('books', '0 3 * * *', 'UTC', '2099-01-01T03:00:00Z', '2099-01-01T03:00:00Z', now(), now(), 'no provider')`,
    );
    const { stdout, stderr } = await fleet('list', 'payments');
    expect(stdout).toMatch(/payments +books +0 3 \* \* \* UTC +FAILING .* 2099-01-01T03:00:00.000Z +0 +0\n/);
    expect(stderr).toBe('payments books: no provider\n');
    const [facts] = JSON.parse((await fleet('list', 'payments', '--json')).stdout) as object[];
    expect(facts).toMatchObject({ service: 'payments', name: 'books', failing: true });
    const run = await fleet('run', 'payments', 'books');
    expect([run.code, run.stderr]).toEqual([
      1,
      'OPERATION_FAILED: run of schedule books: the service payments does not run: start it, then try again\n',
    ]);
    expect((await fleet('list', 'nobody')).stderr).toMatch(/UNKNOWN_SERVICE/);
  } finally {
    await client.end();
    await nats.dispose();
    rmSync(data, { recursive: true });
  }
}, 60_000);
