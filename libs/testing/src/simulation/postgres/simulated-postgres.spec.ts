import type { Client } from 'pg';
import { SimulatedPostgres, type SimulatedPostgresHooks } from './simulated-postgres.ts';

type Point = Parameters<SimulatedPostgresHooks['step']>[0];

/** A server whose steps the test sees, and can have fail. */
function serverWith(onStep: (point: Point) => void = () => undefined): {
  readonly server: SimulatedPostgres;
  readonly steps: string[];
  readonly clock: { now: number };
  readonly timers: { readonly atMs: number; readonly action: () => void }[];
} {
  const steps: string[] = [];
  const clock = { now: Date.parse('2026-05-05T10:00:00Z') };
  const timers: { atMs: number; action: () => void }[] = [];
  const server = new SimulatedPostgres({
    step: (point) => {
      steps.push(`${point.kind} ${point.text}`.trim());
      onStep(point);
      return Promise.resolve();
    },
    now: () => new Date(clock.now),
    random: () => 0.25,
    after: (ms, action) => {
      const timer = { atMs: clock.now + ms, action };
      timers.push(timer);
      return () => void timers.splice(timers.indexOf(timer), 1);
    },
  });
  return { server, steps, clock, timers };
}

async function connect(server: SimulatedPostgres, database: string, options: object = {}): Promise<Client> {
  const client = new server.driver.Client({
    connectionString: `postgres://user@simulated/${database}`,
    ...options,
  });
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

async function withTable(server: SimulatedPostgres): Promise<Client> {
  server.createDatabase('one');
  const client = await connect(server, 'one');
  await client.query('CREATE TABLE things (id int PRIMARY KEY, amount bigint NOT NULL DEFAULT 0)');
  await client.query('INSERT INTO things VALUES (1, 10), (2, 20)');
  return client;
}

it('asks before each statement, before a commit, and before the answer to it', async () => {
  const { server, steps } = serverWith();
  const client = await withTable(server);
  steps.length = 0;
  await client.query('SELECT 1');
  await client.query('BEGIN');
  await client.query('UPDATE things SET amount = 1');
  await client.query('COMMIT');
  await client.query('DELETE FROM things WHERE id = 2');
  expect(steps).toEqual([
    'statement SELECT 1',
    'statement BEGIN',
    'statement UPDATE things SET amount = 1',
    'statement COMMIT',
    'commit COMMIT',
    'answer COMMIT',
    'statement DELETE FROM things WHERE id = 2',
    'commit DELETE FROM things WHERE id = 2',
    'answer DELETE FROM things WHERE id = 2',
  ]);
});

it.each([
  ['commit', '10'],
  ['answer', '11'],
] as const)('breaks the connection at the %s of a commit: what is committed stays', async (kind, amount) => {
  let broken = false;
  const { server } = serverWith((point) => {
    if (!broken || point.kind !== kind) return;
    broken = false;
    throw new Error('cut');
  });
  const client = await withTable(server);
  await client.query('BEGIN');
  await client.query('UPDATE things SET amount = amount + 1 WHERE id = 1');
  broken = true;
  await expect(client.query('COMMIT')).rejects.toThrow();
  await expect(client.query('SELECT 1')).rejects.toThrow();
  expect(server.rows('one', 'things')).toContainEqual({ id: 1, amount });
  expect(server.connections('one')).toEqual([]);
});

it('rolls back what a process has under way when it dies, and lets go who waits for it', async () => {
  const { server } = serverWith();
  const client = await withTable(server);
  const dying = await connect(server, 'one');
  const { processID } = dying as unknown as { processID: number };
  await dying.query('BEGIN');
  await dying.query('UPDATE things SET amount = 99 WHERE id = 1');
  await dying.query('SELECT pg_advisory_lock(7)');
  const waiting = client.query('UPDATE things SET amount = amount + 1 WHERE id = 1 RETURNING amount');
  server.disconnect('one', (id) => id === processID);
  expect((await waiting).rows).toEqual([{ amount: '11' }]);
  expect((await client.query('SELECT pg_try_advisory_lock(7) AS got')).rows).toEqual([{ got: true }]);
});

it('copies a database with its rows, and keeps the copies apart', async () => {
  const { server } = serverWith();
  const client = await withTable(server);
  await client.end();
  server.createDatabase('two', { template: 'one' });
  const other = serverWith().server;
  other.createDatabase('three', { template: 'one', from: server });
  const [two, three] = [await connect(server, 'two'), await connect(other, 'three')];
  await two.query('UPDATE things SET amount = 5');
  await three.query('DELETE FROM things WHERE id = 1');
  await three.query('ALTER TABLE things ADD COLUMN more text');
  expect(server.rows('one', 'things')).toEqual([
    { id: 1, amount: '10' },
    { id: 2, amount: '20' },
  ]);
  expect(server.rows('two', 'things').map(({ amount }) => amount)).toEqual(['5', '5']);
  expect(other.rows('three', 'things')).toEqual([{ id: 2, amount: '20', more: null }]);
  expect(() => server.createDatabase('two')).toThrow('already exists');
});

it('ends a wait for a lock at its limit, in simulated time', async () => {
  const { server, clock, timers } = serverWith();
  const client = await withTable(server);
  const holder = await connect(server, 'one');
  await holder.query('BEGIN');
  await holder.query('SELECT FROM things WHERE id = 1 FOR UPDATE');
  await client.query("SET lock_timeout = '300ms'");
  const waiting = client.query('DELETE FROM things WHERE id = 1');
  const failure = expect(waiting).rejects.toMatchObject({ code: '55P03' });
  await new Promise(setImmediate);
  expect(timers).toHaveLength(1);
  clock.now += 300;
  for (const timer of [...timers]) timer.action();
  await failure;
  expect(timers).toHaveLength(0);
});

it('takes the time from the simulation: of the transaction, of the statement, and now', async () => {
  const { server, clock } = serverWith();
  server.createDatabase('one');
  const client = await connect(server, 'one');
  await client.query('BEGIN');
  const began = new Date(clock.now);
  clock.now += 1_000;
  const { rows } = await client.query('SELECT now(), clock_timestamp(), gen_random_uuid() AS id');
  expect(rows).toEqual([
    { now: began, clock_timestamp: new Date(clock.now), id: '40004000-4000-4000-8000-400040004000' },
  ]);
});

it('gives pools clients of their own connections, with their settings', async () => {
  const { server } = serverWith();
  await (await withTable(server)).end();
  const pool = new server.driver.Pool({
    connectionString: 'postgres://user@simulated/one',
    max: 2,
    options: '-c default_transaction_read_only=on',
  });
  const [a, b] = await Promise.all([pool.connect(), pool.connect()]);
  await expect(a.query('DELETE FROM things')).rejects.toMatchObject({ code: '25006' });
  await b.query('BEGIN READ WRITE');
  expect((await b.query('DELETE FROM things')).rowCount).toBe(2);
  await b.query('ROLLBACK');
  a.release();
  b.release();
  await pool.end();
  expect(server.connections('one')).toEqual([]);
});

it('says which database there is not, and which SQL it does not know', async () => {
  const { server } = serverWith();
  await expect(connect(server, 'nowhere')).rejects.toMatchObject({ code: '3D000' });
  const client = await withTable(server);
  await expect(client.query('SELECT row_number() OVER () FROM things')).rejects.toMatchObject({
    code: '0A000',
    message: 'The simulated Postgres does not know window functions',
  });
  await expect(client.query('CREATE VIEW v AS SELECT 1')).rejects.toMatchObject({ code: '0A000' });
  await expect(client.query('SELECT pg_sleep(1)')).rejects.toMatchObject({ code: '0A000' });
});

it('answers statements that were sent together in order, and skips those after an error until the next', async () => {
  const { server } = serverWith();
  await (await withTable(server)).end();
  const client = await connect(server, 'one', { pipeline: true });
  const answers = await Promise.allSettled([
    client.query('BEGIN'),
    client.query('UPDATE things SET amount = $1 WHERE id = $2 RETURNING amount', [5, 1]),
    client.query({ name: 'bad', text: 'SELECT $1::int / 0', values: [1] }),
    client.query('SELECT 1'),
    client.query('COMMIT'),
    client.query('SELECT amount FROM things WHERE id = $1', [1]),
  ]);
  expect(
    answers.map((answer) =>
      answer.status === 'fulfilled'
        ? [answer.value.command, answer.value.rows]
        : (answer.reason as { code: string }).code,
    ),
  ).toEqual([
    ['BEGIN', []],
    ['UPDATE', [{ amount: '5' }]],
    '22012',
    '25P02',
    ['ROLLBACK', []],
    ['SELECT', [{ amount: '10' }]],
  ]);
  await client.end();
});
