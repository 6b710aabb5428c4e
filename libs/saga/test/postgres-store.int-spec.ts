import { sagaMigrations } from '../src/migration.ts';
import { SagaDatabase } from './postgres.ts';
import { instanceOf, storeConformance } from './suites/store-conformance.ts';

let database: SagaDatabase;

beforeAll(async () => {
  database = await SagaDatabase.create();
});
beforeEach(() => database.clear());
afterAll(() => database.drop());

describe('the store of a process that remembers what it has committed', () => {
  storeConformance(async () => ({ store: database.recallingStore(), run: database.run }));

  it('never recalls data that was changed in place and not stored', async () => {
    const { run } = database;
    const store = database.recallingStore();
    await run(() => database.store.insert(instanceOf({ data: { note: 'stored' } }), []));
    const read = await run(() => store.load(instanceOf()));
    if (read === undefined) throw new Error('it is not there');
    Object.assign(read.data as object, { note: 'changed in place' });
    await expect(run(() => store.save(read, { ...read, revision: 2 }, []))).resolves.toBe(true);
    expect(store.recall(read)).toBeUndefined();
    await expect(run(() => store.load(read))).resolves.toMatchObject({ data: { note: 'stored' } });
  });
});

describe('the store in Postgres', () => {
  storeConformance(async () => ({ store: database.store, run: database.run }));

  it('lets one process claim a timer while another is at it', async () => {
    const { store, run } = database;
    await run(() => store.insert(instanceOf({ dueAt: 1_000 }), []));
    const claim = () => store.claimDue(instanceOf(), 2_000);
    await run(async () => {
      await expect(claim()).resolves.toBeDefined();
      await expect(run(claim)).resolves.toBeUndefined();
    });
    await expect(run(claim)).resolves.toBeDefined();
  });

  it('lets one of two units that read the same revision write', async () => {
    const { store, run } = database;
    const before = instanceOf();
    await run(() => store.insert(before, []));
    const write = (step: string) => run(() => store.save(before, { ...before, revision: 2, step }, []));
    const written = await Promise.all([write('a'), write('b')]);
    expect(written.sort()).toEqual([false, true]);
  });

  it('does not send data that did not change', async () => {
    const { store, run } = database;
    const before = instanceOf();
    await run(() => store.insert(before, []));
    database.statements.length = 0;
    await run(() => store.save(before, { ...before, revision: 2 }, []));
    expect(database.statements[0]?.params).not.toContain(JSON.stringify(before.data));
    await expect(run(() => store.load(before))).resolves.toEqual({ ...before, revision: 2 });
  });

  it('finds timers, parked and open instances by index', async () => {
    const { store, run } = database;
    await run(async () => {
      await database.query(`
        INSERT INTO saga_instances (id, saga, version, revision, status, attempt, epoch, progress, data, started_at, updated_at, ended_at)
        SELECT 'done-' || n, 'orders', 1, 9, 'completed', 0, 7, '{}', '{}', now(), now(), now() FROM generate_series(1, 20000) AS n`);
      await store.insert(instanceOf({ id: 'open' }), []);
      await store.insert(instanceOf({ id: 'parked', status: 'parked', dueAt: null }), []);
      await database.query('ANALYZE saga_instances');
    });
    const plans = await run(async () => {
      const explain = async (sql: string) =>
        (await database.query<{ 'QUERY PLAN': string }>(`EXPLAIN ${sql}`))
          .map((row) => row['QUERY PLAN'])
          .join('\n');
      return [
        await explain('SELECT id FROM saga_instances WHERE due_at IS NOT NULL ORDER BY due_at LIMIT 100'),
        await explain(`SELECT saga, version, status, count(*) FROM saga_instances
          WHERE (due_at IS NOT NULL OR status = 'parked') GROUP BY 1, 2, 3`),
        await explain(
          `SELECT id FROM saga_instances WHERE ended_at < to_timestamp(0) ORDER BY ended_at LIMIT 100`,
        ),
      ];
    });
    expect(plans[0]).toContain('saga_instances_due');
    expect(plans[1]).toContain('saga_instances_due');
    expect(plans[1]).toContain('saga_instances_parked');
    expect(plans[2]).toContain('saga_instances_ended');
    for (const plan of plans) expect(plan).not.toContain('Seq Scan');
  });

  it('can be migrated away again', async () => {
    await database.run(async () => {
      for (const migration of [...sagaMigrations].reverse()) await new migration().down(database);
      const left = await database.query(`SELECT 1 FROM pg_tables WHERE tablename LIKE 'saga%'`);
      expect(left).toEqual([]);
    });
  });
});
