import { currentContext, runWithContext } from '@flotilla/observability';
import { ManualClock } from '@flotilla/testing';
import { ViewWaits } from './view-waits.ts';

interface VersionOf {
  readonly id: string;
  readonly version: number;
}

const settled = () => new Promise(setImmediate);

describe('readers of a view', () => {
  let clock: ManualClock;
  let view: Map<string, number>;
  let queries: (readonly VersionOf[])[];
  let waits: ViewWaits<VersionOf>;
  beforeEach(() => {
    clock = new ManualClock();
    view = new Map();
    queries = [];
    waits = new ViewWaits<VersionOf>({
      clock,
      maxWaiting: 3,
      reached: (wanted) => {
        queries.push(wanted);
        return Promise.resolve(wanted.map(({ id, version }) => (view.get(id) ?? 0) >= version));
      },
    });
  });
  const commit = (id: string, version: number): void => {
    view.set(id, version);
    waits.written(() => [id]);
  };

  it('who want nothing ask nothing', async () => {
    expect(await waits.caughtUp([], 1_000)).toBe(true);
    commit('a', 1);
    await settled();
    expect(queries).toEqual([]);
  });

  it('find at once what is there', async () => {
    commit('a', 2);
    expect(await waits.caughtUp([{ id: 'a', version: 2 }], 1_000)).toBe(true);
    expect(waits.waiting).toBe(0);
  });

  it('are woken by the commit that they wait for, all of them with one query', async () => {
    const one = waits.caughtUp([{ id: 'a', version: 2 }], 1_000);
    const other = waits.caughtUp(
      [
        { id: 'a', version: 1 },
        { id: 'b', version: 1 },
      ],
      1_000,
    );
    await settled();
    expect(queries).toHaveLength(1);
    commit('c', 1);
    await settled();
    expect(queries).toHaveLength(1);
    commit('a', 2);
    expect(await one).toBe(true);
    expect(queries).toHaveLength(2);
    commit('b', 1);
    expect(await other).toBe(true);
    // What was found is not asked for again.
    expect(queries[2]).toEqual([{ id: 'b', version: 1 }]);
  });

  it('find what another replica has committed by looking now and then', async () => {
    const waiting = waits.caughtUp([{ id: 'a', version: 1 }], 1_000);
    await settled();
    view.set('a', 1);
    await clock.advance(100);
    expect(await waiting).toBe(true);
    await clock.advance(10_000);
    expect(queries).toHaveLength(2);
  });

  it('are told after a while that it is not there', async () => {
    const waiting = waits.caughtUp([{ id: 'a', version: 1 }], 1_000);
    await settled();
    await clock.advance(1_000);
    expect(await waiting).toBe(false);
    expect(waits.waiting).toBe(0);
  });

  it('are told before their own deadline', async () => {
    const waiting = runWithContext({ deadline: clock.now() + 750 }, () =>
      waits.caughtUp([{ id: 'a', version: 1 }], 2_000),
    );
    await settled();
    await clock.advance(500);
    expect(await waiting).toBe(false);
  });

  it('ask without a deadline: the query serves others too', async () => {
    const deadlines: unknown[] = [];
    waits = new ViewWaits<VersionOf>({
      clock,
      maxWaiting: 3,
      reached: (wanted) => {
        deadlines.push(currentContext()?.deadline);
        return Promise.resolve(wanted.map(() => deadlines.length > 1));
      },
    });
    const waiting = runWithContext({ deadline: clock.now() + 60_000 }, () =>
      waits.caughtUp([{ id: 'a', version: 1 }], 2_000),
    );
    await settled();
    await clock.advance(100);
    expect(await waiting).toBe(true);
    expect(deadlines).toEqual([undefined, undefined]);
  });

  it('are told at once when too many wait', async () => {
    const waiting = ['a', 'b', 'c'].map((id) => waits.caughtUp([{ id, version: 1 }], 1_000));
    expect(await waits.caughtUp([{ id: 'd', version: 1 }], 1_000)).toBe(false);
    for (const id of ['a', 'b', 'c']) commit(id, 1);
    expect(await Promise.all(waiting)).toEqual([true, true, true]);
  });

  it('hear it when the view cannot be read', async () => {
    waits = new ViewWaits<VersionOf>({
      clock,
      maxWaiting: 3,
      reached: () => Promise.reject(new Error('away')),
    });
    await expect(waits.caughtUp([{ id: 'a', version: 1 }], 1_000)).rejects.toThrow('away');
  });
});
