import { FlotillaError } from '@flotilla/kernel';
import { ManualClock } from '@flotilla/testing';
import { OutboxDispatcher } from './outbox-dispatcher.ts';
import { resolveOutboxLimits, type OutboxLimits } from './outbox.options.ts';
import type { OutgoingMessage } from './outgoing-message.ts';
import type { OutboxRow } from './outbox-row.ts';

let position = 0;
const row = (key: string, partition = 0): OutboxRow => {
  position += 1;
  const message = { id: `id-${position}`, subject: 's', key, headers: {}, body: '{}' };
  return { position: String(position), partition, message, writtenAtMs: 0 };
};

function setUp(limits: OutboxLimits = {}) {
  const clock = new ManualClock();
  const published: string[] = [];
  const marked: OutboxRow[] = [];
  const spills: number[] = [];
  let answer: (message: OutgoingMessage) => Promise<void> = () => Promise.resolve();
  const dispatcher = new OutboxDispatcher({
    marks: {
      add: (each, _receipt, done) => {
        marked.push(each);
        done();
      },
    },
    refuse: () => Promise.resolve(),
    onSpill: () => spills.push(1),
    limits: resolveOutboxLimits({ retryInitialMs: 100, retryMaxMs: 1_000, ...limits }),
    clock,
    log: { log: () => undefined, warn: () => undefined, error: () => undefined },
    metrics: {},
  });
  dispatcher.start({
    publish: async (message) => {
      await answer(message);
      published.push(message.id);
      return { stream: 'S', sequence: 1, duplicate: false };
    },
  });
  return {
    clock,
    dispatcher,
    published,
    marked,
    spills,
    answerWith: (next: typeof answer) => {
      answer = next;
    },
  };
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('OutboxDispatcher', () => {
  it('keeps order per key and stream: what takes its time on the way to one does not hold up another', async () => {
    const { dispatcher, published, answerWith } = setUp();
    const to = (subject: string): OutboxRow => {
      const each = row('a');
      return { ...each, message: { ...each.message, subject } };
    };
    const { promise, resolve } = Promise.withResolvers<void>();
    answerWith(({ subject }) => (subject.startsWith('cmd.') ? promise : Promise.resolve()));
    const rows = [
      to('cmd.x.Do.v1.3.a'),
      to('cmd.x.Undo.v1.3.a'),
      to('evt.y.Done.v1.3.a'),
      to('evt.y.Told.v1.3.a'),
    ];
    dispatcher.accept(rows);
    await settled();
    expect(published).toEqual(rows.slice(2).map(({ message }) => message.id));
    resolve();
    await settled();
    expect(published.slice(2)).toEqual(rows.slice(0, 2).map(({ message }) => message.id));
  });

  it('rests after a failure, a little longer each time, on one timer for all', async () => {
    const { clock, dispatcher, published, answerWith } = setUp();
    answerWith(() => Promise.reject(new Error('away')));
    dispatcher.accept([row('a'), row('b'), row('c')]);
    await settled();
    expect(clock.pending).toBe(1);
    await clock.advance(5_000);
    expect(published).toEqual([]);
    expect(clock.pending).toBe(1);
    answerWith(() => Promise.resolve());
    await clock.advance(1_100);
    expect(published).toHaveLength(3);
    expect(clock.pending).toBe(0);
  });

  it('leaves to the relay what has no room, and everything later of that partition', async () => {
    const { dispatcher, spills, answerWith } = setUp({ maxBuffered: 2 });
    const go = Promise.withResolvers<void>();
    answerWith(() => go.promise);
    const rows = [row('a', 1), row('b', 2), row('c', 1)];
    dispatcher.accept(rows);
    expect(dispatcher.buffered).toBe(2);
    expect(spills).toHaveLength(1);
    expect([...dispatcher.spilled]).toEqual([[1, 1]]);
    go.resolve();
    await settled();
    // There is room again, but the partition has not caught up yet.
    dispatcher.accept([row('d', 1), row('e', 2)]);
    await settled();
    expect([...dispatcher.spilled]).toEqual([[1, 2]]);
    dispatcher.caughtUp(1, 1);
    expect([...dispatcher.spilled]).toEqual([[1, 2]]);
    dispatcher.caughtUp(1, 2);
    expect([...dispatcher.spilled]).toEqual([]);
  });

  it('goes on with the next message of a key when the broker refuses one for good', async () => {
    const { dispatcher, published, answerWith } = setUp();
    const [first, second] = [row('a'), row('a')];
    answerWith((message) =>
      message.id === first.message.id
        ? Promise.reject(new FlotillaError('TOO_LARGE', 'too large', { retry: 'never' }))
        : Promise.resolve(),
    );
    dispatcher.accept([first, second]);
    await dispatcher.whenEmpty();
    expect(published).toEqual([second.message.id]);
    expect(dispatcher.holds(first.position)).toBe(false);
  });

  it('tells the relay when all that it gave is published', async () => {
    const { dispatcher, marked } = setUp();
    const rows = [row('a'), row('a'), row('b')];
    await dispatcher.adopt(rows);
    expect(marked).toHaveLength(3);
  });

  it('returns what is not published when it is closed, and lets nobody wait', async () => {
    const { dispatcher, answerWith } = setUp();
    answerWith(() => new Promise<never>(() => undefined));
    const rows = [row('a'), row('a'), row('b')];
    const adopted = dispatcher.adopt(rows);
    const empty = dispatcher.whenEmpty();
    expect(dispatcher.close()).toEqual(rows);
    await adopted;
    await empty;
  });
});
