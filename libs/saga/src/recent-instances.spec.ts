import { instanceOf } from '../test/suites/store-conformance.ts';
import { RecentInstances } from './recent-instances.ts';

const ref = { saga: 'orders', id: 'o-1' };
const put = (recent: RecentInstances, changes: Parameters<typeof instanceOf>[0] = {}): void => {
  const instance = instanceOf(changes);
  recent.put(instance, JSON.stringify(instance.data));
};

describe('the instances that a process remembers', () => {
  it('are given out once, as they were', () => {
    const recent = new RecentInstances();
    put(recent);
    expect(recent.take(ref)).toEqual(instanceOf());
    expect(recent.take(ref)).toBeUndefined();
  });

  it('do not follow what happens to the data that was put in', () => {
    const recent = new RecentInstances();
    const data = { lines: [1] };
    recent.put(instanceOf({ data }), JSON.stringify(data));
    data.lines.push(2);
    expect(recent.take(ref)?.data).toEqual({ lines: [1] });
  });

  it('keep the JSON of data that was taken out', () => {
    const recent = new RecentInstances();
    recent.put(instanceOf({ data: { a: 1 } }), '{ "a":1 }');
    const taken = recent.take(ref);
    expect(recent.textOf(taken?.data)).toBe('{ "a":1 }');
    Object.assign(taken?.data as object, { a: 2 });
    expect(recent.textOf(taken?.data)).toBe('{ "a":1 }');
    expect(recent.textOf({ a: 1 })).toBeUndefined();
    expect(recent.textOf(null)).toBeUndefined();
  });

  it('are never replaced by an earlier revision', () => {
    const recent = new RecentInstances();
    put(recent, { revision: 3 });
    put(recent, { revision: 2 });
    expect(recent.take(ref)?.revision).toBe(3);
  });

  it.each(['completed', 'compensated'] as const)('are forgotten when they are %s', (status) => {
    const recent = new RecentInstances();
    put(recent, { revision: 3 });
    put(recent, { revision: 4, status });
    expect(recent.take(ref)).toBeUndefined();
  });

  it('are so many at most, the oldest go first', () => {
    const recent = new RecentInstances(2);
    for (const id of ['a', 'b', 'c']) put(recent, { id });
    expect(['a', 'b', 'c'].map((id) => recent.take({ ...ref, id })?.id)).toEqual([undefined, 'b', 'c']);
  });

  it('take so much room at most', () => {
    const recent = new RecentInstances(10, 5_000);
    put(recent, { id: 'small' });
    put(recent, { id: 'large', data: 'x'.repeat(5_000) });
    expect(recent.take({ ...ref, id: 'small' })).toBeUndefined();
    expect(recent.take({ ...ref, id: 'large' })).toBeUndefined();
    put(recent, { id: 'later' });
    expect(recent.take({ ...ref, id: 'later' })?.id).toBe('later');
  });
});
