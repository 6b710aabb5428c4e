import { newId } from '@flotilla/kernel';
import { until, type TestDatabase } from '@flotilla/testing';
import { requireUnitOfWork, type Outbox, type OutboxLimits, type UnitOfWork } from '../src/index.ts';
import { OLDEST_UNPUBLISHED, TO_RELAY } from '../src/outbox/outbox-relay.ts';
import { message, Opened, RecordingLog } from './database.ts';
import { BrokerAwayError, FakeBroker, TooLargeError } from './fake-broker.ts';

const opened = new Opened();
let database: TestDatabase;
let broker: FakeBroker;

beforeEach(async () => {
  database = await opened.database();
  broker = new FakeBroker();
});

afterEach(() => opened.close());

interface Replica {
  readonly unitOfWork: UnitOfWork;
  readonly outbox: Outbox;
  readonly log: RecordingLog;
}

/** A process of the service: it publishes what it commits, once its outbox is started. */
async function replica(limits: OutboxLimits = {}): Promise<Replica> {
  const log = new RecordingLog();
  const outbox = opened.outbox(database.url, { log, relayPollMs: 50, relayGraceMs: 200, ...limits });
  const { unitOfWork } = await opened.unitOfWork(database.url, { outbox, log });
  return { unitOfWork, outbox, log };
}

async function send(unitOfWork: UnitOfWork, keys: readonly string[]): Promise<string[]> {
  const messages = keys.map((key) => message(key, { id: newId() }));
  await unitOfWork.run(async () => {
    for (const each of messages) requireUnitOfWork('This test').send(each);
  });
  return messages.map(({ id }) => id);
}

function rows<R extends object>(sql: string, parameters: unknown[] = []): Promise<R[]> {
  return opened.admin(database, async (client) => (await client.query<R>(sql, parameters)).rows);
}

/** As the role of the service, which owns its tables. */
function owner<R extends object>(sql: string): Promise<R[]> {
  return opened.connection(database.url, async (client) => (await client.query<R>(sql)).rows);
}

const unpublished = async (): Promise<number> =>
  (await rows('SELECT FROM outbox WHERE published_at IS NULL')).length;

const numbered = (count: number, prefix = 'key'): string[] =>
  Array.from({ length: count }, (_, index) => `${prefix}-${index}`);

describe('publishing from memory', () => {
  it('marks what its receiver has taken straight away; no broker can lose that', async () => {
    const { unitOfWork, outbox } = await replica({ relayPollMs: 60_000 });
    const asked: unknown[] = [];
    await outbox.start({
      publish: async (received) => {
        asked.push(received.handover);
        return { handedOver: true };
      },
    });
    await unitOfWork.run(async () =>
      requireUnitOfWork('This test').send({ ...message('a'), handover: true }),
    );
    expect(await outbox.flush(5_000)).toBe(true);
    expect(asked).toEqual([true]);
    expect(await rows('SELECT stream, sequence, published_at IS NOT NULL AS published FROM outbox')).toEqual([
      { stream: null, sequence: null, published: true },
    ]);
    expect(await outbox.reconcile(broker)).toEqual({ lost: 0, streams: [] });
  });

  it('publishes what was committed, with its headers and body, and records where it went', async () => {
    const { unitOfWork, outbox } = await replica({ relayPollMs: 60_000 });
    await outbox.start(broker);
    const sent: unknown[] = [];
    broker.before = (received) => void sent.push(received);
    const original = message('a');
    await unitOfWork.run(async () => requireUnitOfWork('This test').send(original));
    expect(await outbox.flush(5_000)).toBe(true);
    expect(sent).toEqual([original]);
    expect(
      await rows('SELECT id, stream, sequence, published_at IS NOT NULL AS published, relay FROM outbox'),
    ).toEqual([{ id: original.id, stream: 'EVT_test', sequence: '1', published: true, relay: false }]);
    expect(await outbox.stats()).toEqual({
      oldestUnpublishedAgeMs: 0,
      unpublished: 0,
      refused: 0,
      buffered: 0,
    });
  });

  it('reads no more rows to mark one message when there are many than when there were none', async () => {
    const { unitOfWork, outbox } = await replica({ relayPollMs: 60_000 });
    await outbox.start(broker);
    const rowsRead = async (): Promise<number> => {
      // What a connection has counted is reported when it ends; those of the test's own queries end at once.
      const [counted] = await rows<{ read: string }>(
        `SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) AS read FROM pg_stat_user_tables WHERE relname LIKE 'outbox%'`,
      );
      return Number(counted?.read);
    };
    // The plan is kept from the first mark on, made while the table was empty.
    const before = await rowsRead();
    const MARKED = 200;
    for (const key of numbered(MARKED)) {
      await send(unitOfWork, [key]);
      expect(await outbox.flush(5_000)).toBe(true);
    }
    await outbox.close();
    await unitOfWork.close();
    let read = 0;
    await until(async () => (read = await rowsRead()) - before >= MARKED);
    expect(read - before).toBeLessThan(10 * MARKED);
  });

  it('publishes nothing of a unit that was rolled back', async () => {
    const { unitOfWork, outbox } = await replica();
    await outbox.start(broker);
    await expect(
      unitOfWork.run(async () => {
        requireUnitOfWork('This test').send(message('a'));
        throw new Error('no');
      }),
    ).rejects.toThrow('no');
    await send(unitOfWork, ['b']);
    await outbox.flush(5_000);
    expect(broker.stored.map(({ key }) => key)).toEqual(['b']);
  });

  it('keeps the order of each key through failures, one at a time, many keys at once', async () => {
    const { unitOfWork, outbox } = await replica({ retryInitialMs: 5, retryMaxMs: 20, relayPollMs: 60_000 });
    await outbox.start(broker);
    let attempts = 0;
    broker.before = () => {
      attempts += 1;
      if (attempts % 3 === 0) throw new BrokerAwayError();
    };
    const keys = numbered(10);
    const expected = new Map<string, string[]>(keys.map((key) => [key, []]));
    for (let round = 0; round < 20; round += 1) {
      const ids = await send(unitOfWork, keys);
      keys.forEach((key, index) => expected.get(key)?.push(ids[index] as string));
    }
    expect(await outbox.flush(10_000)).toBe(true);
    for (const key of keys) expect(broker.idsOf(key)).toEqual(expected.get(key));
    expect(broker.mostInFlightPerKey).toBe(1);
    expect(broker.mostInFlight).toBeGreaterThan(3);
    expect(await unpublished()).toBe(0);
  });

  it('never has more in flight than it may', async () => {
    const { unitOfWork, outbox } = await replica({ maxInFlight: 7 });
    await outbox.start(broker);
    await send(unitOfWork, numbered(100));
    await outbox.flush(5_000);
    expect(broker.stored).toHaveLength(100);
    expect(broker.mostInFlight).toBe(7);
  });

  it('keeps a refused message with the reason, says so, and lets later ones of its key go on', async () => {
    const { unitOfWork, outbox, log } = await replica();
    await outbox.start(broker);
    broker.before = (received) => {
      if (received.body === '"huge"') throw new TooLargeError();
    };
    await unitOfWork.run(async () => {
      requireUnitOfWork('This test').send(message('a', { id: 'refused', body: '"huge"' }));
      requireUnitOfWork('This test').send(message('a', { id: 'next' }));
    });
    await until(() => broker.ids.includes('next'));
    expect(await rows("SELECT id, error FROM outbox WHERE id = 'refused'")).toEqual([
      { id: 'refused', error: 'TOO_LARGE: The message is too large' },
    ]);
    expect(log.lines.filter((line) => line.includes('The broker refuses message refused'))).toHaveLength(1);
    await outbox.flush(5_000);
    expect(await outbox.stats()).toMatchObject({ unpublished: 1, refused: 1 });
  });

  it('publishes a refused message once the broker takes it', async () => {
    const { unitOfWork, outbox } = await replica({ refusedRetryMs: 50 });
    await outbox.start(broker);
    broker.before = () => {
      throw new TooLargeError();
    };
    const [id] = await send(unitOfWork, ['a']);
    await until(async () => (await outbox.stats()).refused === 1);
    broker.before = () => undefined;
    await until(() => broker.ids.includes(id as string));
    await until(async () => (await unpublished()) === 0);
    expect(await rows('SELECT error, refused_at FROM outbox')).toEqual([{ error: null, refused_at: null }]);
  });

  it('keeps what it is given before it is started', async () => {
    const { unitOfWork, outbox } = await replica();
    const ids = await send(unitOfWork, ['a', 'b']);
    expect(broker.stored).toEqual([]);
    await outbox.start(broker);
    await outbox.flush(5_000);
    expect(broker.ids.toSorted()).toEqual(ids.toSorted());
  });
});

describe('the relay', () => {
  it('publishes what a process committed and did not live to publish', async () => {
    const crashed = await replica({ relayPollMs: 60_000 });
    const silent = new FakeBroker();
    silent.before = () => new Promise<never>(() => undefined);
    await crashed.outbox.start(silent);
    const ids = await send(crashed.unitOfWork, ['a', 'b', 'a']);
    await until(() => silent.attempts.length === 2);

    const next = await replica();
    await next.outbox.start(broker);
    await until(() => broker.stored.length === 3);
    expect(broker.idsOf('a')).toEqual([ids[0], ids[2]]);
    await until(async () => (await unpublished()) === 0);
  });

  it('leaves alone what another process has had for less than the grace time', async () => {
    const slow = await replica({ relayPollMs: 60_000 });
    const silent = new FakeBroker();
    silent.before = () => new Promise<never>(() => undefined);
    await slow.outbox.start(silent);
    await send(slow.unitOfWork, ['a']);

    const other = await replica({ relayGraceMs: 60_000 });
    await other.outbox.start(broker);
    await send(other.unitOfWork, ['b']);
    await until(async () => (await unpublished()) === 1);
    expect(broker.stored.map(({ key }) => key)).toEqual(['b']);
  });

  it('takes at once what a process without a publisher commits', async () => {
    const service = await replica({ relayPollMs: 600_000, relayGraceMs: 600_000 });
    await service.outbox.start(broker);
    const tool = await opened.unitOfWork(database.url);
    // Once the relay listens: its first look is over.
    await until(async () => {
      await send(tool.unitOfWork, ['a']);
      return broker.stored.length > 0;
    });
    const before = broker.stored.length;
    const start = performance.now();
    const [id] = await send(tool.unitOfWork, ['b']);
    await until(() => broker.ids.includes(id as string));
    expect(broker.stored.length).toBeGreaterThan(before);
    expect(performance.now() - start).toBeLessThan(2_000);
  });

  it('publishes what does not fit into memory, in order, and then goes on from memory', async () => {
    const { unitOfWork, outbox } = await replica({ maxBuffered: 20, relayBatch: 30, relayGraceMs: 600_000 });
    let open = false;
    broker.before = () => {
      if (!open) throw new BrokerAwayError();
    };
    await outbox.start(broker);
    const keys = numbered(8);
    const expected = new Map<string, string[]>(keys.map((key) => [key, []]));
    const round = async (): Promise<void> => {
      const ids = await send(unitOfWork, keys);
      keys.forEach((key, index) => expected.get(key)?.push(ids[index] as string));
    };
    for (let count = 0; count < 40; count += 1) {
      await round();
      expect((await outbox.stats()).buffered).toBeLessThanOrEqual(20 + 8 * 30);
    }
    open = true;
    for (let count = 0; count < 40; count += 1) await round();
    await until(async () => (await unpublished()) === 0, { timeoutMs: 20_000 });
    for (const key of keys) expect(broker.idsOf(key)).toEqual(expected.get(key));
    // From memory again: no look of the relay is needed.
    const [id] = await send(unitOfWork, ['key-0']);
    expect(await outbox.flush(5_000)).toBe(true);
    expect(broker.ids).toContain(id);
  });

  it('shares the work with other replicas, each message published once', async () => {
    const tool = await opened.unitOfWork(database.url);
    for (let batch = 0; batch < 10; batch += 1) await send(tool.unitOfWork, numbered(200, `batch-${batch}`));
    const brokers = [broker, new FakeBroker()] as const;
    for (const each of brokers) {
      const { outbox } = await replica({ relayBatch: 20 });
      await outbox.start(each);
    }
    await until(async () => (await unpublished()) === 0, { timeoutMs: 20_000 });
    const all = brokers.flatMap((each) => each.attempts);
    expect(all).toHaveLength(2_000);
    expect(new Set(all).size).toBe(2_000);
    expect(Math.min(...brokers.map((each) => each.attempts.length))).toBeGreaterThan(0);
  });

  it('finds its way back when its connections are cut', async () => {
    const { unitOfWork, outbox } = await replica();
    await outbox.start(broker);
    await send(unitOfWork, ['a']);
    await opened.server(database, (client) =>
      client.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND backend_type = 'client backend'",
        [database.name],
      ),
    );
    const tool = await opened.unitOfWork(database.url);
    const [id] = await send(tool.unitOfWork, ['b']);
    await until(() => broker.ids.includes(id as string));
    await until(async () => (await unpublished()) === 0);
  });

  it('costs next to nothing when there is nothing to do, however much was published', async () => {
    await replica();
    await owner(`
      INSERT INTO outbox (id, partition, key, subject, headers, body, published_at, stream, sequence)
      SELECT n, n % 16, n, 'evt.test', '{}', '{}', now(), 'EVT_test', n FROM generate_series(1, 100000) n`);
    await owner('ANALYZE outbox');
    for (const look of [OLDEST_UNPUBLISHED, TO_RELAY]) {
      const [row] = await owner<{ 'QUERY PLAN': [{ Plan: Record<string, number> }] }>(
        `EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ${look}`,
      );
      const { Plan: plan } = (row as { 'QUERY PLAN': [{ Plan: Record<string, number> }] })['QUERY PLAN'][0];
      // A few pages of each day's index, not of its rows.
      expect(Number(plan['Shared Hit Blocks']) + Number(plan['Shared Read Blocks'])).toBeLessThan(100);
    }
  });
});

describe('closing', () => {
  it('publishes what is in memory, then hands the rest to another replica at once', async () => {
    const closing = await replica({ relayPollMs: 60_000 });
    const away = new FakeBroker();
    away.before = () => {
      throw new BrokerAwayError();
    };
    await closing.outbox.start(away);
    const other = await replica({ relayPollMs: 60_000, relayGraceMs: 600_000 });
    await other.outbox.start(broker);
    const ids = await send(closing.unitOfWork, ['a', 'b', 'a']);
    await closing.outbox.close({ drainMs: 100 });
    await until(() => broker.stored.length === 3);
    expect(broker.idsOf('a')).toEqual([ids[0], ids[2]]);
    expect(closing.log.lines).toContain('log 3 messages were not published before closing; a relay will.');
  });

  it('waits for what the broker has not answered yet', async () => {
    const { unitOfWork, outbox } = await replica();
    await outbox.start(broker);
    const go = Promise.withResolvers<void>();
    broker.before = () => go.promise;
    await send(unitOfWork, ['a', 'b']);
    const closed = outbox.close({ drainMs: 5_000 });
    go.resolve();
    await closed;
    expect(await unpublished()).toBe(0);
  });
});

describe('the reconciler', () => {
  const publishSome = async (
    count: number,
  ): Promise<{ outbox: Outbox; unitOfWork: UnitOfWork; ids: string[] }> => {
    const { unitOfWork, outbox } = await replica();
    await outbox.start(broker);
    const ids = await send(unitOfWork, numbered(count));
    await outbox.flush(5_000);
    return { outbox, unitOfWork, ids };
  };

  it('finds nothing lost when nothing is', async () => {
    const { outbox } = await publishSome(60);
    expect(await outbox.reconcile(broker)).toEqual({
      lost: 0,
      streams: [{ stream: 'EVT_test', lost: 0, reason: 'nothing lost' }],
    });
    expect(broker.attempts).toHaveLength(60);
  });

  it('does not take for lost what is published while it looks', async () => {
    const { outbox, unitOfWork } = await publishSome(5);
    const view = {
      streamState: async () => {
        const state = await broker.streamState();
        await send(unitOfWork, numbered(5, 'meanwhile'));
        await outbox.flush(5_000);
        return state;
      },
    };
    expect(await outbox.reconcile(view)).toMatchObject({ lost: 0 });
    expect(broker.attempts).toHaveLength(10);
  });

  it('publishes everything again when the broker was wiped', async () => {
    const { outbox, ids } = await publishSome(30);
    await until(() => Date.now() > broker.createdAtMs);
    broker.wipe();
    expect(await outbox.reconcile(broker)).toEqual({
      lost: 30,
      streams: [{ stream: 'EVT_test', lost: 30, reason: 'stream was made anew' }],
    });
    await until(() => broker.stored.length === 30);
    expect(broker.ids.toSorted()).toEqual(ids.toSorted());
    await until(async () => (await unpublished()) === 0);
    expect((await outbox.reconcile(broker)).lost).toBe(0);
  });

  it('publishes again what a stream is missing that went back in time', async () => {
    const { outbox } = await publishSome(30);
    broker.restore(20);
    expect(await outbox.reconcile(broker)).toMatchObject({
      lost: 10,
      streams: [{ reason: 'stream went back' }],
    });
    await until(() => broker.stored.length === 30);
  });

  it('finds what is missing even when the lost sequences were given out again', async () => {
    const { outbox, unitOfWork, ids } = await publishSome(30);
    broker.restore(20);
    await send(unitOfWork, numbered(15, 'later'));
    await outbox.flush(5_000);
    expect(await outbox.reconcile(broker)).toMatchObject({ lost: 10 });
    await until(() => broker.stored.length === 45);
    expect(broker.ids).toEqual(expect.arrayContaining(ids));
  });

  it('finds what was stored before the loss and is marked after', async () => {
    const { unitOfWork, outbox } = await replica({ markDelayMs: 1_000 });
    await outbox.start(broker);
    const ids = await send(unitOfWork, numbered(5));
    await until(() => broker.stored.length === 5);
    broker.wipe();
    expect(await outbox.reconcile(broker)).toMatchObject({ lost: 5 });
    await until(() => broker.stored.length === 5);
    expect(broker.ids.toSorted()).toEqual(ids.toSorted());
  });

  it('finds them among the many that came after, though their sequences were given out again', async () => {
    const { unitOfWork, outbox } = await replica({ markDelayMs: 1_000 });
    await outbox.start(broker);
    const ids = await send(unitOfWork, numbered(5));
    await until(() => broker.stored.length === 5);
    broker.wipe();
    await send(unitOfWork, numbered(80, 'later'));
    await until(() => broker.stored.length === 80);
    expect(await outbox.reconcile(broker)).toMatchObject({ lost: 5 });
    await until(() => broker.stored.length === 85);
    expect(broker.ids).toEqual(expect.arrayContaining(ids));
  });

  it('publishes again when the stream is gone', async () => {
    const { outbox } = await publishSome(5);
    expect(await outbox.reconcile({ streamState: () => Promise.resolve(undefined) })).toMatchObject({
      lost: 5,
      streams: [{ reason: 'stream is gone' }],
    });
  });
});

describe('maintenance', () => {
  const partitions = async (): Promise<string[]> =>
    (
      await rows<{ name: string }>(
        `SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
          WHERE i.inhparent = 'outbox'::regclass ORDER BY 1`,
      )
    ).map(({ name }) => name);

  const day = (offset: number): string =>
    new Date(Date.now() + offset * 86_400_000).toISOString().slice(0, 10);
  const partition = (offset: number): string => `outbox_${day(offset).replaceAll('-', '_')}`;

  const addDay = async (offset: number, publishedToo: boolean): Promise<void> => {
    await owner(
      `CREATE TABLE ${partition(offset)} PARTITION OF outbox
         FOR VALUES FROM ('${day(offset)}T00:00:00Z') TO ('${day(offset + 1)}T00:00:00Z')`,
    );
    await owner(
      `INSERT INTO outbox (created_at, id, partition, key, subject, headers, body, published_at)
       VALUES ('${day(offset)}T12:00:00Z', 'old', 1, 'k', 's', '{}', '{}', ${publishedToo ? 'now()' : 'NULL'})`,
    );
  };

  it('makes the partitions of the days to come', async () => {
    const expected = [...Array.from({ length: 8 }, (_, index) => partition(index)), 'outbox_default'];
    expect(await partitions()).toEqual(expected.toSorted());
  });

  it('drops old partitions, but none with a message that is not published', async () => {
    await addDay(-9, true);
    await addDay(-8, false);
    await addDay(-7, true);
    const { outbox, log } = await replica();
    expect(await outbox.maintain()).toMatchObject({
      dropped: [partition(-9)],
      kept: [partition(-8)],
      created: [],
    });
    expect(await partitions()).toEqual(expect.arrayContaining([partition(-8), partition(-7)]));
    expect(log.lines.join()).toContain(partition(-8));
  });

  it('moves what the default partition caught into a partition of its own', async () => {
    await owner(`DROP TABLE ${partition(0)}`);
    const { unitOfWork, outbox } = await replica();
    await send(unitOfWork, ['a', 'b']);
    expect(await rows('SELECT FROM outbox_default')).toHaveLength(2);
    expect(await outbox.maintain()).toMatchObject({ created: [partition(0)] });
    expect(await rows('SELECT FROM outbox_default')).toHaveLength(0);
    expect(await rows(`SELECT FROM ${partition(0)}`)).toHaveLength(2);
    await outbox.start(broker);
    await until(async () => (await unpublished()) === 0);
  });

  it('forgets old inbox entries, and only those', async () => {
    await rows(`
      INSERT INTO inbox (consumer, message_id, received_at)
      SELECT 'test', 'old-' || n, now() - interval '9 days' FROM generate_series(1, 12000) n`);
    const { unitOfWork, outbox } = await replica();
    await unitOfWork.process({ consumer: 'test', messageId: 'new' }, async () => 1);
    expect(await outbox.maintain()).toMatchObject({ trimmedInboxEntries: 12_000 });
    expect(await rows('SELECT message_id FROM inbox')).toEqual([{ message_id: 'new' }]);
  });

  it('gives way to whoever uses the table, and is done later', async () => {
    await addDay(-9, true);
    const { outbox, log } = await replica({ maintenanceMs: 50 });
    await opened.connection(database.url, async (client) => {
      await client.query('BEGIN; LOCK TABLE outbox IN ACCESS SHARE MODE');
      await outbox.start(broker);
      expect(log.lines.join()).toContain('Maintenance of the outbox failed');
      await client.query('COMMIT');
    });
    await until(async () => !(await partitions()).includes(partition(-9)));
  });

  it('is done by one process at a time', async () => {
    const { outbox } = await replica();
    const reports = await Promise.all([outbox.maintain(), outbox.maintain()]);
    expect(reports.filter(({ skipped }) => !skipped).length).toBeGreaterThanOrEqual(1);
  });
});
