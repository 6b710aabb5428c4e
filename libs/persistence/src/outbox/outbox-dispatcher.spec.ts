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

describe('batches', () => {
  const event = (key: string, more: Partial<OutgoingMessage> = {}): OutboxRow => {
    const each = row(key);
    return { ...each, message: { ...each.message, subject: `evt.a.Done.v1.3.${key}`, ...more } };
  };
  const events = (count: number): OutboxRow[] => Array.from({ length: count }, (_, at) => event(`k${at}`));
  const idsOf = (some: readonly OutboxRow[]): string[] => some.map(({ message }) => message.id);

  function batching(limits: OutboxLimits = {}) {
    const parts = setUp(limits);
    const batches: string[][] = [];
    const held: PromiseWithResolvers<void>[] = [];
    const state = { hold: false, fail: undefined as Error | undefined };
    parts.dispatcher.start({
      publish: async (message) => {
        await Promise.resolve();
        parts.published.push(message.id);
        return { stream: 'S', sequence: 1, duplicate: false };
      },
      publishBatch: async (messages) => {
        batches.push(messages.map(({ id }) => id));
        if (state.hold) {
          const each = Promise.withResolvers<void>();
          held.push(each);
          await each.promise;
        }
        if (state.fail !== undefined) throw state.fail;
        return messages.map((_, index) => ({ stream: 'S', sequence: index + 1, duplicate: false }));
      },
    });
    return { ...parts, batches, held, state };
  }

  it('are made of what is ready for one stream at the same time, when it is enough', async () => {
    const { dispatcher, published, batches, marked } = batching();
    const [few, many] = [events(23), events(30).map(({ message: { key } }) => event(`other ${key}`))];
    dispatcher.accept(few);
    await settled();
    expect(batches).toEqual([]);
    expect(published).toEqual(idsOf(few));
    dispatcher.accept(many);
    await settled();
    expect(batches).toEqual([idsOf(many)]);
    expect(marked).toHaveLength(53);
    expect(dispatcher.buffered).toBe(0);
  });

  it('hold one message of each key, and none that is large, handed over or was tried before', async () => {
    const { dispatcher, published, batches } = batching();
    const heads = events(24);
    const second = event('k0');
    const large = event('large', { body: 'x'.repeat(20_000) });
    const given = event('given', { handover: true });
    dispatcher.accept([...heads, second, large, given]);
    await settled();
    expect(batches).toEqual([idsOf(heads)]);
    expect(new Set(published)).toEqual(new Set(idsOf([second, large, given])));
  });

  it('go out one at a time for a stream; what becomes ready meanwhile makes the next, up to the room there is', async () => {
    const { dispatcher, published, batches, held, state } = batching({ maxInFlight: 100 });
    state.hold = true;
    const [first, next] = [events(40), events(70).map(({ message: { key } }) => event(`next ${key}`))];
    dispatcher.accept(first);
    dispatcher.accept(next);
    const elsewhere = { ...row('e'), message: { ...row('e').message, subject: 'reply.b.3.e' } };
    dispatcher.accept([elsewhere]);
    await settled();
    expect(batches).toEqual([idsOf(first)]);
    expect(published).toEqual([elsewhere.message.id]);
    held[0]?.resolve();
    await settled();
    expect(batches.slice(1)).toEqual([idsOf(next)]);
    held[1]?.resolve();
    await dispatcher.whenEmpty();
  });

  it('that are refused are published one by one, and those after them for a while', async () => {
    const { clock, dispatcher, published, batches, state } = batching();
    state.fail = new FlotillaError('BATCH_REFUSED', 'no');
    const [refused, later] = [events(30), events(30).map(({ message: { key } }) => event(`later ${key}`))];
    dispatcher.accept(refused);
    await settled();
    expect(batches).toHaveLength(1);
    expect(published).toEqual(idsOf(refused));
    state.fail = undefined;
    dispatcher.accept(later);
    await settled();
    expect(batches).toHaveLength(1);
    expect(published).toHaveLength(60);
    await clock.advance(5_000);
    dispatcher.accept(events(30));
    await settled();
    expect(batches).toHaveLength(2);
  });

  it('are not made of what a relay has read: the broker may have some of it', async () => {
    const { dispatcher, published, batches } = batching();
    await dispatcher.adopt(events(30));
    expect(batches).toEqual([]);
    expect(published).toHaveLength(30);
  });

  it('that end after the close change nothing any more', async () => {
    const { dispatcher, marked, held, state } = batching();
    state.hold = true;
    dispatcher.accept(events(24));
    await settled();
    expect(dispatcher.close()).toHaveLength(24);
    held[0]?.resolve();
    await settled();
    expect(marked).toEqual([]);
  });
});
