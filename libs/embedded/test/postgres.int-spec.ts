import { createServer } from 'node:net';
import {
  chmod,
  chown,
  lstat,
  mkdir,
  readdir,
  readFile,
  realpath,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { Client } from 'pg';
import {
  databaseUrl,
  DataDirectoryInUseError,
  DataDirectoryUnusableError,
  defaultCacheDir,
  EmbeddedOptionError,
  freePort,
  PortBusyError,
  PostgresVersionMismatchError,
  removePostgresData,
  ServerStartError,
  startPostgres,
  type EmbeddedPostgres,
  type StartPostgresOptions,
} from '../src/index.ts';
import { errorOf, temporaryDirectories } from './support.ts';

const newDirectory = temporaryDirectories();
const itAsRoot = process.getuid?.() === 0 ? it : it.skip;

async function query(url: string, sql: string): Promise<Record<string, unknown>[]> {
  const client = new Client({ connectionString: url });
  client.on('error', () => undefined); // a killed server ends the connection
  try {
    await client.connect();
    return (await client.query<Record<string, unknown>>(sql)).rows;
  } finally {
    await client.end();
  }
}

async function postgresIn(options: Partial<StartPostgresOptions> = {}): Promise<EmbeddedPostgres> {
  const dataDir = options.dataDir ?? join(await newDirectory(), 'data');
  return startPostgres({ templateCacheDir: defaultCacheDir(), ...options, dataDir });
}

describe('startPostgres', () => {
  it('initialises, is durable and secured by default, and keeps data over restart and kill -9', async () => {
    const dataDir = join(await newDirectory(), 'data');
    const postgres = await startPostgres({ dataDir });
    const settings = await query(
      postgres.adminUrl,
      `SELECT current_setting('fsync') AS fsync, current_setting('synchronous_commit') AS commit,
              current_setting('max_connections') AS connections, current_setting('TimeZone') AS zone,
              current_setting('server_encoding') AS encoding, current_setting('listen_addresses') AS address`,
    );
    expect(settings).toEqual([
      { fsync: 'on', commit: 'on', connections: '300', zone: 'UTC', encoding: 'UTF8', address: '127.0.0.1' },
    ]);
    await expect(query(postgres.adminUrl.replace(/:[^:@]+@/, ':wrong@'), 'SELECT 1')).rejects.toThrow(
      'password authentication failed',
    );
    expect((await stat(join(dataDir, 'superuser.password'))).mode & 0o777).toBe(0o600);
    expect(await readdir(join(dataDir, '..'))).toEqual(['data', 'data.log']);
    await query(postgres.adminUrl, 'CREATE TABLE kept AS SELECT 1 AS id');
    await postgres.restart();
    await query(postgres.adminUrl, 'INSERT INTO kept VALUES (2)');
    await postgres.kill();
    await postgres.restart();
    expect(await query(postgres.adminUrl, 'SELECT count(*)::int AS n FROM kept')).toEqual([{ n: 2 }]);
    await postgres.stop();
    const again = await startPostgres({ dataDir, settings: { work_mem: '8MB', log_statement: 'none' } });
    expect(await query(again.adminUrl, 'SHOW work_mem')).toEqual([{ work_mem: '8MB' }]);
    expect(await query(again.adminUrl, 'SELECT count(*)::int AS n FROM kept')).toEqual([{ n: 2 }]);
    await again.stop();
  });

  it('starts from a template within two seconds', async () => {
    await (await postgresIn()).stop();
    const start = performance.now();
    const postgres = await postgresIn();
    expect(performance.now() - start).toBeLessThan(2_000);
    await postgres.stop();
  });

  it('refuses a busy port by name', async () => {
    const server = createServer();
    const port = await freePort();
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
    const error = await errorOf(PortBusyError, postgresIn({ port }));
    expect(error.message).toContain(`Postgres cannot listen on 127.0.0.1:${port}`);
    await new Promise((resolve) => server.close(resolve));
  });

  it('refuses data of another major version, naming both', async () => {
    const postgres = await postgresIn();
    await postgres.stop();
    await writeFile(join(postgres.dataDir, 'PG_VERSION'), '16\n');
    const error = await errorOf(PostgresVersionMismatchError, postgresIn({ dataDir: postgres.dataDir }));
    expect([error.found, error.expected]).toEqual(['16', postgres.version.split('.')[0]]);
    expect(error.message).toContain('--fresh');
  });

  it('refuses a directory with other files, and one whose password is gone', async () => {
    const dataDir = await newDirectory();
    await writeFile(join(dataDir, 'thesis.txt'), 'do not lose this');
    const foreign = await errorOf(DataDirectoryUnusableError, postgresIn({ dataDir }));
    expect(foreign.message).toContain('holds other files (thesis.txt) and no Postgres data');
    expect(await readdir(dataDir)).toEqual(['thesis.txt']);

    const postgres = await postgresIn();
    await postgres.stop();
    await rm(join(postgres.dataDir, 'superuser.password'));
    const noPassword = await errorOf(DataDirectoryUnusableError, postgresIn({ dataDir: postgres.dataDir }));
    expect(noPassword.message).toContain('no readable superuser.password');
  });

  it('refuses a data directory that a server has, and starts over a pid file left behind', async () => {
    const postgres = await postgresIn();
    const busy = await errorOf(DataDirectoryInUseError, postgresIn({ dataDir: postgres.dataDir }));
    expect(busy.pid).toBe(postgres.pid);
    await errorOf(DataDirectoryInUseError, removePostgresData(postgres.dataDir));
    await postgres.kill();
    // Another program has the pid of the killed server now.
    const pidFile = join(postgres.dataDir, 'postmaster.pid');
    const lines = (await readFile(pidFile, 'utf8')).split('\n');
    await writeFile(pidFile, [String(process.pid), ...lines.slice(1)].join('\n'));
    const again = await postgresIn({ dataDir: postgres.dataDir });
    await again.stop();
    await removePostgresData(postgres.dataDir);
    await expect(stat(postgres.dataDir)).rejects.toThrow('ENOENT');
  });

  it('shows what the server said when a setting is wrong', async () => {
    const error = await errorOf(ServerStartError, postgresIn({ settings: { shared_buffers: 'lots' } }));
    expect(error.message).toContain('invalid value for parameter "shared_buffers"');
    await errorOf(EmbeddedOptionError, postgresIn({ settings: { 'a b': 1 } }));
  });

  itAsRoot('hands data that root owns over to its user, and narrows the mode', async () => {
    const postgres = await postgresIn();
    await postgres.stop();
    await chown(postgres.dataDir, 0, 0);
    await chmod(postgres.dataDir, 0o755);
    const again = await postgresIn({ dataDir: postgres.dataDir });
    expect((await stat(postgres.dataDir)).mode & 0o777).toBe(0o700);
    await again.stop();
  });

  itAsRoot('lets its user pass through a closed temporary directory', async () => {
    const dir = await newDirectory();
    await chmod(dir, 0o700);
    const postgres = await postgresIn({ dataDir: join(dir, 'data') });
    expect([(await lstat(postgres.dataDir)).isDirectory(), (await stat(dir)).mode & 0o777]).toEqual([
      true,
      0o711,
    ]);
    await postgres.stop();
  });

  itAsRoot('keeps the data elsewhere when its user cannot reach the directory', async () => {
    const closed = join(await newDirectory(), 'closed');
    await mkdir(join(closed, 'state'), { recursive: true });
    await chmod(closed, 0o700);
    const dataDir = join(closed, 'state', 'data');
    const progress: string[] = [];
    const postgres = await postgresIn({ dataDir, onProgress: (message) => progress.push(message) });
    expect((await lstat(dataDir)).isSymbolicLink()).toBe(true);
    const home = await realpath(dataDir);
    expect(progress).toEqual([expect.stringContaining(`Keeping the Postgres data in ${home}`)]);
    await query(postgres.adminUrl, 'CREATE TABLE kept ()');
    await postgres.stop();
    const again = await postgresIn({ dataDir });
    expect(await query(again.adminUrl, 'SELECT * FROM kept')).toEqual([]);
    await again.stop();
    await removePostgresData(dataDir);
    await expect(stat(home)).rejects.toThrow('ENOENT');
    await expect(lstat(dataDir)).rejects.toThrow('ENOENT');
  });
});

describe('ensureDatabase', () => {
  let postgres: EmbeddedPostgres;
  beforeAll(async () => {
    postgres = await postgresIn();
  });
  afterAll(() => postgres.stop());

  it('makes a database that only its own role can connect to, and can be repeated', async () => {
    const orders = { name: 'orders', role: 'orders', password: "o'r \\ders" };
    const urls = await Promise.all([1, 2, 3].map(() => postgres.ensureDatabase(orders)));
    expect(new Set(urls).size).toBe(1);
    const url = urls[0] ?? '';
    await query(url, 'CREATE TABLE mine AS SELECT 7 AS id');
    expect(await query(await postgres.ensureDatabase(orders), 'SELECT id FROM mine')).toEqual([{ id: 7 }]);

    const payments = await postgres.ensureDatabase({ name: 'payments', role: 'payments', password: 'p' });
    for (const closed of ['orders', 'postgres', 'template1']) {
      await expect(query(payments.replace(/\/payments$/, `/${closed}`), 'SELECT 1')).rejects.toThrow(
        `permission denied for database "${closed}"`,
      );
    }
    await expect(query(payments, 'CREATE ROLE thief')).rejects.toThrow('permission denied');
  });

  it('keeps the role that uses the database from what the one that migrates owns, also of data made before', async () => {
    const shop = { name: 'shop', role: 'shop', password: 's' };
    const migrator = { role: 'shop_migrator', password: 'm' };
    // As it was when one role did both.
    const before = await postgres.ensureDatabase(shop);
    await query(before, 'CREATE TABLE sold (id int); INSERT INTO sold VALUES (7)');
    await query(before, `CREATE SCHEMA apart CREATE TABLE hidden ()`);

    const urls = await Promise.all([1, 2, 3].map(() => postgres.ensureDatabase({ ...shop, migrator })));
    const url = urls[0] ?? '';
    const owner = databaseUrl(postgres.adminUrl, { name: 'shop', ...migrator });
    expect(new Set(urls)).toEqual(new Set([before]));
    expect(
      await query(
        postgres.adminUrl.replace(/\/postgres$/, '/shop'),
        `SELECT relname AS name, pg_get_userbyid(relowner) AS owner FROM pg_class WHERE relname IN ('sold', 'hidden')
         UNION ALL SELECT datname, pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'shop' ORDER BY 1`,
      ),
    ).toEqual(['hidden', 'shop', 'sold'].map((name) => ({ name, owner: 'shop_migrator' })));
    await expect(query(url, 'SELECT * FROM sold')).rejects.toThrow('permission denied');
    await query(owner, 'GRANT SELECT ON sold TO shop');
    expect(await query(url, 'SELECT * FROM sold')).toEqual([{ id: 7 }]);
    for (const statement of [
      'CREATE TABLE mine ()',
      'CREATE TEMPORARY TABLE mine ()',
      'CREATE SCHEMA mine',
      'DROP TABLE sold',
    ])
      await expect(query(url, statement)).rejects.toThrow(/permission denied|must be owner/);
    await postgres.ensureDatabase({ name: 'depot', role: 'depot', password: 'd' });
    for (const role of [owner, url].map((each) => each.replace(/\/shop$/, '/depot')))
      await expect(query(role, 'SELECT 1')).rejects.toThrow('permission denied for database "depot"');
    await errorOf(
      EmbeddedOptionError,
      postgres.ensureDatabase({ ...shop, migrator: { ...migrator, role: 'shop' } }),
    );
  });

  it('changes the password when it is another', async () => {
    const spec = { name: 'catalog', role: 'catalog' };
    const before = await postgres.ensureDatabase({ ...spec, password: 'first' });
    const after = await postgres.ensureDatabase({ ...spec, password: 'second' });
    await expect(query(before, 'SELECT 1')).rejects.toThrow('password authentication failed');
    expect(await query(after, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
  });

  it('refuses names that would need quoting everywhere, and an empty password', async () => {
    const ensure = (name: string, password: string): Promise<string> =>
      postgres.ensureDatabase({ name, role: 'r', password });
    await errorOf(EmbeddedOptionError, ensure('Orders; DROP', 'p'));
    await errorOf(EmbeddedOptionError, ensure('orders', ''));
  });
});
