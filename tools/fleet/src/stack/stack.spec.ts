import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { dataDirAt, emptyDataDir, openDataDir, Secrets, type DataDir } from './data-dir.ts';
import { acquireLock, runningFleet } from './lock.ts';
import { databaseVariable, findDatabases, findMigrationTargets } from './migrations.ts';
import { findNats } from './nats-access.ts';

const folders: string[] = [];
const freshDir = (): DataDir => {
  const folder = mkdtempSync(join(tmpdir(), 'flotilla-data-'));
  folders.push(folder);
  return dataDirAt(join(folder, 'data'));
};
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true });
});

describe('a data directory', () => {
  it('is made, opened again, and emptied for a fresh start', async () => {
    const dir = freshDir();
    await openDataDir(dir);
    await openDataDir(dir);
    writeFileSync(join(dir.path, 'nats-store'), 'x');
    await emptyDataDir(dir);
    await openDataDir(dir);
    expect(() => statSync(join(dir.path, 'nats-store'))).toThrow(/ENOENT/);
  });

  it('of somebody else, or of another version, is left alone', async () => {
    const foreign = dataDirAt(mkdtempSync(join(tmpdir(), 'flotilla-data-')));
    folders.push(foreign.path);
    writeFileSync(join(foreign.path, 'thesis.doc'), 'x');
    await expect(openDataDir(foreign)).rejects.toThrow(/holds other files \(thesis.doc\)/);
    const newer = freshDir();
    await openDataDir(newer);
    writeFileSync(join(newer.path, 'format'), '99\n');
    await expect(openDataDir(newer)).rejects.toThrow(
      /data of format 99; this version reads format 1.*--fresh/,
    );
    await openDataDir(newer, { fresh: true });
  });

  it('keeps its passwords, for its owner alone', async () => {
    const dir = freshDir();
    await openDataDir(dir);
    const first = await (await Secrets.open(dir)).get('postgres.orders');
    const again = await (await Secrets.open(dir)).get('postgres.orders', 'postgres.payments');
    expect(again['postgres.orders']).toBe(first['postgres.orders']);
    expect(again['postgres.payments']).not.toBe(first['postgres.orders']);
    expect(statSync(dir.secretsFile).mode & 0o777).toBe(0o600);
  });
});

describe('the lock', () => {
  it('is for one process, and given back', async () => {
    const dir = freshDir();
    await openDataDir(dir);
    const lock = acquireLock(dir);
    expect(lock.inherited).toBe(false);
    expect(runningFleet(dir)).toBe(process.pid);
    expect(() => acquireLock(dir)).toThrow(/A fleet runs on .* already \(process \d+\).*fleet down/);
    lock.release();
    expect(runningFleet(dir)).toBeUndefined();
  });

  it('of a process that died is inherited, also when its pid is used again', async () => {
    const dir = freshDir();
    await openDataDir(dir);
    writeFileSync(dir.lockFile, JSON.stringify({ pid: process.pid, started: 'long ago' }));
    expect(runningFleet(dir)).toBeUndefined();
    const lock = acquireLock(dir);
    expect(lock.inherited).toBe(true);
    expect(JSON.parse(readFileSync(dir.lockFile, 'utf8'))).toMatchObject({ pid: process.pid });
    lock.release();
  });
});

describe('where a deployment keeps things', () => {
  const service = (name: string, database = true) =>
    ({ name, folder: '', migrations: [], manifest: { name, database } }) as never;

  it('is read from a variable per service', async () => {
    expect(databaseVariable('fleet-console')).toBe('FLEET_CONSOLE_DATABASE_URL');
    const services = [service('orders'), service('gateway', false)];
    const env = { ORDERS_DATABASE_URL: 'postgres://there' };
    expect(await findDatabases(services, freshDir(), env)).toEqual({ orders: 'postgres://there' });
    expect(await findMigrationTargets(services, freshDir(), env)).toEqual({
      orders: { url: 'postgres://there' },
    });
    const migrators = { ORDERS_MIGRATOR_DATABASE_URL: 'postgres://owner@there' };
    expect(await findMigrationTargets(services, freshDir(), migrators)).toEqual({
      orders: { url: 'postgres://owner@there', applicationRole: 'orders' },
    });
    expect(
      await findMigrationTargets(services, freshDir(), {
        ...migrators,
        ORDERS_DATABASE_URL: 'postgres://user@there',
      }),
    ).toEqual({ orders: { url: 'postgres://owner@there', applicationRole: 'user' } });
    await expect(findDatabases([service('orders'), service('payments')], freshDir(), {})).rejects.toThrow(
      /ORDERS_DATABASE_URL, PAYMENTS_DATABASE_URL/,
    );
  });

  it('and the broker from NATS_URL and its companions, also out of files', async () => {
    const dir = freshDir();
    await openDataDir(dir);
    const file = join(dir.path, 'password');
    writeFileSync(file, 'secret\n');
    const env = {
      NATS_URL: 'nats://a:1, nats://b:2',
      NATS_USER: 'ops',
      NATS_PASSWORD_FILE: file,
      NATS_TLS_CA: '/ca.pem',
    };
    expect(await findNats(dir, env)).toEqual({
      servers: ['nats://a:1', 'nats://b:2'],
      credentials: { user: 'ops', password: 'secret' },
      inboxPrefix: '_INBOX_ops',
      tls: { caFile: '/ca.pem' },
    });
    await expect(findNats(dir, {})).rejects.toThrow(/No fleet runs on/);
  });
});
