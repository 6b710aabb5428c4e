import { SubmissionQueue } from './submission-queue.ts';
import type { Submission } from './submission.ts';

function submission(name: string, fields: Partial<Submission> = {}): Submission & { readonly name: string } {
  return {
    name,
    work: () => Promise.resolve(),
    inContext: (action) => action(),
    locks: [],
    resolve: () => undefined,
    reject: () => undefined,
    independent: false,
    alone: false,
    ...fields,
  };
}

const names = (members: readonly Submission[] | undefined): string[] =>
  (members ?? []).map((member) => (member as Submission & { name: string }).name);

describe('SubmissionQueue', () => {
  it('gives out what waits in order, a group at a time', () => {
    const queue = new SubmissionQueue();
    for (const name of ['a', 'b', 'c']) queue.add(submission(name));
    expect(names(queue.take(2)?.members)).toEqual(['a', 'b']);
    expect(names(queue.take(2)?.members)).toEqual(['c']);
    expect(queue.take(2)).toBeUndefined();
    expect(queue.size).toBe(0);
  });

  it('puts one key into one group at a time, in order, and does not hold up others', () => {
    const queue = new SubmissionQueue();
    queue.add(submission('a1', { key: 'a' }));
    queue.add(submission('a2', { key: 'a' }));
    queue.add(submission('b1', { key: 'b' }));
    const first = queue.take(1);
    expect(names(first?.members)).toEqual(['a1']);
    queue.add(submission('a3', { key: 'a' }));
    expect(names(queue.take(9)?.members)).toEqual(['b1']);
    expect(queue.take(9)).toBeUndefined();
    expect(queue.size).toBe(2);
    if (first !== undefined) queue.release(first);
    expect(names(queue.take(9)?.members)).toEqual(['a2', 'a3']);
  });

  it('never puts two deliveries of a message into one group, even under different keys', () => {
    const queue = new SubmissionQueue();
    const entry = { consumer: 'c', messageId: 'm' };
    queue.add(submission('1', { entry }));
    queue.add(submission('2', { entry }));
    queue.add(submission('3', { entry, key: 'k' }));
    const first = queue.take(9);
    expect(names(first?.members)).toEqual(['1']);
    if (first !== undefined) queue.release(first);
    const second = queue.take(9);
    expect(names(second?.members)).toEqual(['2']);
    if (second !== undefined) queue.release(second);
    expect(names(queue.take(9)?.members)).toEqual(['3']);
  });

  it('puts independent submissions that share a key or a lock into waves, one after the other', () => {
    const queue = new SubmissionQueue();
    const independent = true;
    queue.add(submission('a1', { key: 'a', independent }));
    queue.add(submission('a2', { key: 'a', independent }));
    queue.add(submission('b', { key: 'b', locks: ['x'], independent }));
    queue.add(submission('c', { key: 'c', locks: ['y', 'x'], independent }));
    queue.add(submission('d', { key: 'd', locks: ['y'], independent }));
    queue.add(submission('e', { key: 'e', locks: ['z'], independent }));
    queue.add(submission('other'));
    const first = queue.take(9);
    expect(first?.independent).toBe(true);
    expect(first?.waves.map(names)).toEqual([['a1', 'b', 'e'], ['a2', 'c'], ['d']]);
    expect(names(first?.members).toSorted()).toEqual(['a1', 'a2', 'b', 'c', 'd', 'e']);
    const second = queue.take(9);
    expect(second?.independent).toBe(false);
    expect(second?.waves).toEqual([]);
    expect(names(second?.members)).toEqual(['other']);
  });

  it('leaves to the next group what would need too many waves', () => {
    const queue = new SubmissionQueue();
    const all = Array.from({ length: 20 }, (_, index) => `a${index}`);
    for (const name of all) queue.add(submission(name, { key: 'a', independent: true }));
    const first = queue.take(32);
    expect(first?.waves.every((wave) => wave.length === 1)).toBe(true);
    expect(first?.waves.length).toBeLessThan(all.length);
    expect(queue.take(32)).toBeUndefined();
    if (first !== undefined) queue.release(first);
    const second = queue.take(32);
    expect([...names(first?.members), ...names(second?.members)]).toEqual(
      all.slice(0, (first?.members.length ?? 0) + (second?.members.length ?? 0)),
    );
  });

  it('puts members of a failed group back before the others of their keys, each alone', () => {
    const queue = new SubmissionQueue();
    for (const name of ['a1', 'a2']) queue.add(submission(name, { key: 'a' }));
    queue.add(submission('b', {}));
    const group = queue.take(3);
    queue.add(submission('a3', { key: 'a' }));
    if (group !== undefined) queue.addAgain(group.members, group, 'alone');
    expect(queue.size).toBe(4);
    const order: string[][] = [];
    for (let next = queue.take(9); next !== undefined; next = queue.take(9)) {
      order.push(names(next.members));
      queue.release(next);
    }
    expect(order.filter((group_) => group_.length > 1)).toEqual([]);
    expect(order.flat().filter((name) => name.startsWith('a'))).toEqual(['a1', 'a2', 'a3']);
    expect(order.flat()).toContain('b');
  });

  it('forgets keys that nothing waits for', () => {
    const queue = new SubmissionQueue();
    for (let round = 0; round < 5_000; round += 1) {
      queue.add(submission('x', { key: `key-${round}` }));
      const group = queue.take(1);
      if (group !== undefined) queue.release(group);
    }
    expect(queue.ready).toBe(0);
    expect(queue.take(1)).toBeUndefined();
  });

  it('can be emptied', () => {
    const queue = new SubmissionQueue();
    queue.add(submission('a', { key: 'a' }));
    queue.add(submission('b'));
    expect(names(queue.drop()).toSorted()).toEqual(['a', 'b']);
    expect(queue.size).toBe(0);
    expect(queue.take(1)).toBeUndefined();
  });
});
