import { SagaDatabase } from './postgres.ts';
import { instanceOf, storeConformance } from './suites/store-conformance.ts';

let database: SagaDatabase;

beforeAll(async () => {
  database = await SagaDatabase.simulated();
});
beforeEach(() => database.clear());
afterAll(() => database.drop());

describe('the store in a simulated Postgres', () => {
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
});
