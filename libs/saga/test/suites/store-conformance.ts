import type { HistoryEntry, SagaInstance } from '../../src/instance.ts';
import type { SagaStore } from '../../src/store.ts';

/** A store and its unit of work, as the suite needs them. */
export interface StoreUnderTest {
  readonly store: SagaStore;
  run<T>(work: () => Promise<T>): Promise<T>;
}

const history = (...kinds: HistoryEntry['kind'][]): HistoryEntry[] =>
  kinds.map((kind, index) => ({
    at: 1_000,
    kind,
    step: index === 0 ? null : 'pack',
    detail: index === 0 ? null : { index },
  }));

export function instanceOf(changes: Partial<SagaInstance> = {}): SagaInstance {
  return {
    saga: 'orders',
    id: 'o-1',
    version: 3,
    revision: 1,
    status: 'running',
    direction: 'forward',
    step: 'pack',
    waiting: 'reply',
    attempt: 1,
    epoch: 2,
    commandId: 'c-2',
    dueAt: 1_763_800_000_123,
    branches: [
      { step: 'a', waiting: 'reply', attempt: 2, commandId: 'c-1', dueAt: 1_763_800_000_123, parked: null },
      {
        step: 'b',
        waiting: null,
        attempt: 1,
        commandId: null,
        dueAt: null,
        parked: { code: 'look', message: 'at it' },
      },
    ],
    deadlines: { '*': 1_763_800_900_000, delivery: 1_763_800_800_000 },
    undo: ['reserve'],
    buffer: [{ id: 'e-1', type: 'shipping.Sent.v1', payload: { ship: 'ß "quoted" \\ ok' } }],
    signals: ['m-1'],
    cancel: { code: 'cancelled', message: 'changed my mind', lock: true },
    cancelRefused: { reason: 'on its way', at: 1_763_800_000_001 },
    failing: { code: 'out_of_stock', message: 'No stock', data: { skus: ['B'] } },
    reason: null,
    parked: null,
    data: { orderId: 'o-1', lines: [{ sku: 'A', quantity: 2 }], note: null },
    correlationId: 'corr-1',
    traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
    startedAt: 1_763_799_999_001,
    updatedAt: 1_763_800_000_002,
    endedAt: null,
    ...changes,
  };
}

/** What every store does. Run on the one in memory and on Postgres. */
export function storeConformance(make: () => Promise<StoreUnderTest>): void {
  let store: SagaStore;
  let run: StoreUnderTest['run'];

  beforeEach(async () => {
    const made = await make();
    store = made.store;
    run = (work) => made.run(work);
  });

  const insert = (changes: Partial<SagaInstance> = {}): Promise<boolean> =>
    run(() => store.insert(instanceOf(changes), history('started')));

  it('gives back what was stored, to the millisecond', async () => {
    await expect(insert()).resolves.toBe(true);
    await expect(run(() => store.load({ saga: 'orders', id: 'o-1' }))).resolves.toEqual(instanceOf());
    await expect(run(() => store.load({ saga: 'orders', id: 'o-2' }))).resolves.toBeUndefined();
    await expect(run(() => store.load({ saga: 'returns', id: 'o-1' }))).resolves.toBeUndefined();
  });

  it('starts an instance once, per saga', async () => {
    await insert();
    await expect(insert({ data: { other: true } })).resolves.toBe(false);
    await expect(run(() => store.history({ saga: 'orders', id: 'o-1' }))).resolves.toHaveLength(1);
    await expect(insert({ saga: 'returns' })).resolves.toBe(true);
    expect((await run(() => store.load({ saga: 'orders', id: 'o-1' })))?.data).toEqual(instanceOf().data);
  });

  it('writes a transition with its history, in order', async () => {
    await insert();
    const before = instanceOf();
    const next = instanceOf({
      revision: 2,
      status: 'compensated',
      direction: 'compensation',
      step: null,
      waiting: null,
      attempt: 0,
      epoch: 3,
      commandId: null,
      dueAt: null,
      branches: [],
      deadlines: null,
      undo: [],
      buffer: [],
      signals: [],
      cancel: null,
      cancelRefused: null,
      failing: null,
      version: 4,
      reason: { code: 'out_of_stock', message: 'No stock', data: { skus: ['A'] } },
      data: { orderId: 'o-1', extra: [1, 2] },
      updatedAt: 1_763_800_000_777,
      endedAt: 1_763_800_000_777,
    });
    await expect(
      run(() => store.save(before, next, history('replied', 'undone', 'compensated'))),
    ).resolves.toBe(true);
    await expect(run(() => store.load(before))).resolves.toEqual(next);
    const lines = await run(() => store.history(before));
    expect(lines.map(({ kind }) => kind)).toEqual(['started', 'replied', 'undone', 'compensated']);
    expect(lines[2]).toMatchObject({ step: 'pack', detail: { index: 1 } });
  });

  it('keeps the data where a transition does not change it', async () => {
    await insert();
    const before = await run(() => store.load({ saga: 'orders', id: 'o-1' }));
    if (before === undefined) throw new Error('not stored');
    await run(() =>
      store.save(
        before,
        { ...before, revision: 2, status: 'parked', parked: { code: 'x', message: 'y', at: 5 } },
        [],
      ),
    );
    await expect(run(() => store.load(before))).resolves.toMatchObject({
      data: before.data,
      status: 'parked',
      parked: { code: 'x', message: 'y', at: 5 },
    });
  });

  it('refuses to write over a revision that it does not have, and writes nothing then', async () => {
    await insert();
    const stale = instanceOf({ revision: 7 });
    await expect(
      run(() => store.save(stale, { ...stale, revision: 8, step: 'ship' }, history('replied'))),
    ).resolves.toBe(false);
    await expect(run(() => store.load(stale))).resolves.toEqual(instanceOf());
    await expect(run(() => store.history(stale))).resolves.toHaveLength(1);
  });

  it('adds to the history of an instance that does not change', async () => {
    await insert();
    const ref = { saga: 'orders', id: 'o-1' };
    await run(() => store.record(ref, history('reply-ignored', 'event-ignored')));
    await run(() => store.record(ref, []));
    expect((await run(() => store.history(ref))).map(({ kind, at }) => [kind, at])).toEqual([
      ['started', 1_000],
      ['reply-ignored', 1_000],
      ['event-ignored', 1_000],
    ]);
  });

  it('lists timers in the order in which they are due, and claims only what is due', async () => {
    await insert({ id: 'b', dueAt: 2_000, traceparent: null });
    await insert({ id: 'a', dueAt: 3_000 });
    await insert({ id: 'c', dueAt: 1_000 });
    await insert({ id: 'd', dueAt: null, status: 'parked' });
    const timers = await run(() => store.nextTimers(2));
    expect(timers).toEqual([
      { saga: 'orders', id: 'c', dueAt: 1_000, traceparent: instanceOf().traceparent },
      { saga: 'orders', id: 'b', dueAt: 2_000, traceparent: null },
    ]);
    const claim = (id: string): Promise<SagaInstance | undefined> =>
      run(() => store.claimDue({ saga: 'orders', id }, 2_000));
    await expect(claim('b')).resolves.toEqual(instanceOf({ id: 'b', dueAt: 2_000, traceparent: null }));
    await expect(claim('a')).resolves.toBeUndefined();
    await expect(claim('d')).resolves.toBeUndefined();
    await expect(claim('gone')).resolves.toBeUndefined();
  });

  it('lists by saga and status, page by page, the latest ids first', async () => {
    await insert({ id: '1' });
    await insert({ id: '2', status: 'parked', dueAt: null });
    await insert({ id: '3', status: 'completed', dueAt: null, endedAt: 5 });
    await insert({ id: '3', saga: 'returns', status: 'compensating' });
    const keys = async (filter: Parameters<SagaStore['list']>[0]): Promise<string[]> =>
      (await run(() => store.list(filter))).map(({ saga, id }) => `${saga} ${id}`);
    await expect(keys({})).resolves.toEqual(['returns 3', 'orders 3', 'orders 2', 'orders 1']);
    await expect(keys({ limit: 2 })).resolves.toEqual(['returns 3', 'orders 3']);
    await expect(keys({ limit: 2, after: { saga: 'orders', id: '3' } })).resolves.toEqual([
      'orders 2',
      'orders 1',
    ]);
    await expect(keys({ saga: 'orders', status: 'open' })).resolves.toEqual(['orders 2', 'orders 1']);
    await expect(keys({ status: 'completed' })).resolves.toEqual(['orders 3']);
    await expect(run(() => store.countOpen())).resolves.toEqual(
      expect.arrayContaining([
        { saga: 'orders', version: 3, status: 'running', count: 1 },
        { saga: 'orders', version: 3, status: 'parked', count: 1 },
        { saga: 'returns', version: 3, status: 'compensating', count: 1 },
      ]),
    );
  });

  it('lists by step, version and how long nothing has changed, a page at a time', async () => {
    await insert({ id: '1', step: 'pack', updatedAt: 1_000 });
    await insert({ id: '2', step: 'ship', updatedAt: 2_000 });
    await insert({ id: '3', step: 'ship', version: 4, updatedAt: 3_000 });
    const ids = async (filter: Parameters<SagaStore['list']>[0]): Promise<string[]> =>
      (await run(() => store.list(filter))).map(({ id }) => id);
    await expect(ids({ step: 'ship' })).resolves.toEqual(['3', '2']);
    await expect(ids({ version: 3 })).resolves.toEqual(['2', '1']);
    await expect(ids({ unchangedSince: 2_500 })).resolves.toEqual(['2', '1']);
    await expect(ids({ step: 'ship', unchangedSince: 2_500, version: 3 })).resolves.toEqual(['2']);
    const after = { saga: 'orders', id: '3' };
    await expect(ids({ after, limit: 1 })).resolves.toEqual(['2']);
  });

  it('purges what has ended long ago, with its history, a few at a time', async () => {
    await insert({ id: '1', status: 'completed', dueAt: null, endedAt: 1_000 });
    await insert({ id: '2', status: 'compensated', dueAt: null, endedAt: 2_000 });
    await insert({ id: '3', status: 'completed', dueAt: null, endedAt: 9_000 });
    await insert({ id: '4' });
    await expect(run(() => store.purge(5_000, 1))).resolves.toBe(1);
    await expect(run(() => store.purge(5_000, 10))).resolves.toBe(1);
    await expect(run(() => store.purge(5_000, 10))).resolves.toBe(0);
    expect((await run(() => store.list({}))).map(({ id }) => id)).toEqual(['4', '3']);
    await expect(run(() => store.history({ saga: 'orders', id: '1' }))).resolves.toEqual([]);
    await expect(run(() => store.history({ saga: 'orders', id: '3' }))).resolves.toHaveLength(1);
  });

  it('leaves nothing behind of a unit of work that fails', async () => {
    const unit = run(async () => {
      await store.insert(instanceOf(), history('started'));
      throw new Error('no');
    });
    await expect(unit).rejects.toThrow('no');
    await expect(run(() => store.load({ saga: 'orders', id: 'o-1' }))).resolves.toBeUndefined();
    await expect(run(() => store.history({ saga: 'orders', id: 'o-1' }))).resolves.toEqual([]);
  });
}
