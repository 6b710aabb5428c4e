import { AsyncLocalStorage } from 'node:async_hooks';
import { until, type TestDatabase } from '@flotilla/testing';
import type { DataSource } from 'typeorm';
import { requireUnitOfWork, type UnitOfWork } from '../src/index.ts';
import { Opened } from './database.ts';

/** TypeORM wraps what a statement throws, and keeps its fields. */
const passed = { code: 'DEADLINE_EXCEEDED', retry: 'never' };
const opened = new Opened();
const deadlines = new AsyncLocalStorage<number>();
let database: TestDatabase;
let dataSource: DataSource;
let unitOfWork: UnitOfWork;

beforeAll(async () => {
  database = await opened.database();
  // One connection for units, so that those of a test share transactions.
  ({ unitOfWork, dataSource } = await opened.unitOfWork(database.url, {
    deadline: () => deadlines.getStore(),
    lanes: 1,
    poolSize: 3,
  }));
  await unitOfWork.run(async () => {
    await unit().query('CREATE TABLE note (id text PRIMARY KEY)');
  });
});
afterAll(() => opened.close());

const unit = () => requireUnitOfWork('This test');
const within = <T>(ms: number, work: () => Promise<T>): Promise<T> => deadlines.run(Date.now() + ms, work);
const write = (id: string) => unit().query('INSERT INTO note VALUES ($1)', [id]);
const sleep = (seconds: number) => unit().query('SELECT pg_sleep($1)', [seconds]);
const notes = async (): Promise<string[]> =>
  (await dataSource.query<{ id: string }[]>('SELECT id FROM note ORDER BY id')).map(({ id }) => id);
const errorOf = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => undefined,
    (error: unknown) => error,
  );

interface Backend {
  readonly pid: number;
}
/** The server processes that sleep. */
const sleeping = (): Promise<number[]> =>
  opened.admin(database, async (client) => {
    const { rows } = await client.query<Backend>(
      `SELECT pid FROM pg_stat_activity
       WHERE datname = current_database() AND state = 'active' AND wait_event = 'PgSleep'`,
    );
    return rows.map(({ pid }) => pid);
  });
const backends = (): Promise<number[]> =>
  opened.admin(database, async (client) => {
    const { rows } = await client.query<Backend>(
      `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() ORDER BY pid`,
    );
    return rows.map(({ pid }) => pid);
  });

describe('a statement outside a unit of work', () => {
  it('is ended by the server at the deadline, and its connection goes on', async () => {
    await unitOfWork.query('SELECT 1');
    const before = await backends();
    const cut = within(1_500, () => errorOf(unitOfWork.query('SELECT pg_sleep(30)')));
    await until(async () => (await sleeping()).length === 1);
    expect(await cut).toMatchObject(passed);
    expect(await sleeping()).toEqual([]);
    expect(await backends()).toEqual(before);
    expect(await unitOfWork.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
  });

  it('is not begun after it', async () => {
    expect(await within(0, () => errorOf(unitOfWork.query('SELECT 1')))).toMatchObject({
      code: 'DEADLINE_EXCEEDED',
      retry: 'never',
    });
  });

  it('of a transaction leaves none open', async () => {
    const cut = within(200, () =>
      errorOf(dataSource.transaction((manager) => manager.query('SELECT pg_sleep(30)'))),
    );
    expect(await cut).toMatchObject(passed);
    const open = await opened.admin(database, (client) =>
      client.query(
        `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'`,
      ),
    );
    expect(open.rows).toEqual([]);
  });

  it('that is cut hits no other, however many run at the same time', async () => {
    const outcomes = await Promise.all(
      Array.from({ length: 60 }, (_, index) =>
        index % 2 === 0
          ? within(60 + index, () => errorOf(unitOfWork.query('SELECT pg_sleep(30)')))
          : errorOf(unitOfWork.query('SELECT pg_sleep(0.005)')),
      ),
    );
    expect(outcomes.filter((_, index) => index % 2 === 1)).toEqual(Array(30).fill(undefined));
    for (const [index, outcome] of outcomes.entries())
      if (index % 2 === 0) expect(outcome).toMatchObject(passed);
  });
});

describe('a unit of work', () => {
  it('is cut in its group without harm to the others', async () => {
    const results = await Promise.all([
      unitOfWork.run(() => write('a1')),
      within(300, () =>
        errorOf(
          unitOfWork.run(async () => {
            await write('a2');
            await sleep(30);
          }),
        ),
      ),
      unitOfWork.run(() => write('a3')),
    ]);
    expect(results[1]).toMatchObject(passed);
    expect(await notes()).toEqual(['a1', 'a3']);
  });

  it('is cut among works that overlap without harm to the others', async () => {
    const independent = (key: string) => ({ key, independent: true });
    const others = ['b1', 'b3'].map((id) => unitOfWork.run(() => write(id), independent(id)));
    const cut = within(300, () =>
      errorOf(
        unitOfWork.run(async () => {
          await write('b2');
          await sleep(30);
        }, independent('b2')),
      ),
    );
    await Promise.all(others);
    expect(await cut).toMatchObject(passed);
    expect((await notes()).filter((id) => id.startsWith('b'))).toEqual(['b1', 'b3']);
  });

  it('is not begun when it has waited until its deadline', async () => {
    const first = unitOfWork.run(() => sleep(0.4), { key: 'c' });
    let begun = false;
    const late = await within(100, () =>
      errorOf(
        unitOfWork.run(
          () => {
            begun = true;
            return Promise.resolve();
          },
          { key: 'c' },
        ),
      ),
    );
    expect([late, begun]).toEqual([expect.objectContaining(passed), false]);
    await first;
  });

  it('begins no statement after its deadline, and what it did is undone', async () => {
    const late = await within(50, () =>
      errorOf(
        unitOfWork.run(async () => {
          await write('d');
          await until(() => (deadlines.getStore() ?? 0) < Date.now());
          await write('e');
        }),
      ),
    );
    expect(late).toMatchObject(passed);
    expect((await notes()).filter((id) => id === 'd' || id === 'e')).toEqual([]);
  });
});
