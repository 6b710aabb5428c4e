import { AsyncLocalStorage } from 'node:async_hooks';
import { BusinessError } from '@flotilla/contracts-protocol';
import { until, type TestDatabase } from '@flotilla/testing';
import type { DataSource } from 'typeorm';
import {
  CommitOutcomeUnknownError,
  currentUnitOfWork,
  DatabaseUnavailableError,
  defineBulk,
  IdempotencyConflictError,
  NestedProcessError,
  OutsideUnitOfWorkError,
  PersistenceClosedError,
  requireUnitOfWork,
  TransactionControlError,
  UnitOfWorkFailedError,
  UnitOfWorkOverError,
  UnitOfWorkOverloadedError,
  UnitOfWorkTimedOutError,
  UnstorableError,
  type ActiveUnitOfWork,
  type UnitOfWork,
} from '../src/index.ts';
import { message, Opened } from './database.ts';

const opened = new Opened();
let database: TestDatabase;
let dataSource: DataSource;
let unitOfWork: UnitOfWork;

beforeEach(async () => {
  database = await opened.database();
  ({ unitOfWork, dataSource } = await opened.unitOfWork(database.url));
  await unitOfWork.run(async () => {
    await unit().query(
      'CREATE TABLE account (id text PRIMARY KEY, balance int NOT NULL CHECK (balance >= 0))',
    );
  });
});

afterEach(() => opened.close());

function unit(): ActiveUnitOfWork {
  return requireUnitOfWork('This test');
}

function rows<R>(sql: string, parameters: unknown[] = []): Promise<R[]> {
  return dataSource.query<R[]>(sql, parameters);
}

const addAccount = async (id: string, balance = 0): Promise<void> => {
  await unit().query('INSERT INTO account VALUES ($1, $2)', [id, balance]);
};

const accounts = async (): Promise<string[]> =>
  (await rows<{ id: string }>('SELECT id FROM account ORDER BY id')).map(({ id }) => id);

const outboxIds = async (): Promise<string[]> =>
  (await rows<{ id: string }>('SELECT id FROM outbox ORDER BY position')).map(({ id }) => id);

const inboxIds = async (): Promise<string[]> =>
  (await rows<{ message_id: string }>('SELECT message_id FROM inbox ORDER BY 1')).map(
    (row) => row.message_id,
  );

/** Units that wait for each other's start, so that they are in one group. */
const together = <T>(works: readonly (() => Promise<T>)[]): Promise<PromiseSettledResult<T>[]> =>
  Promise.allSettled(works.map((work) => work()));

const numbered = (count: number): string[] => Array.from({ length: count }, (_, index) => `n${index}`);

const commits = async (): Promise<number> => {
  const [row] = await rows<{ xact_commit: string }>(
    'SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()',
  );
  return Number(row?.xact_commit);
};

describe('run', () => {
  it('commits the changes and the messages together, and then answers', async () => {
    const sent = message('a');
    const result = await unitOfWork.run(async () => {
      await addAccount('a');
      unit().send(sent);
      return 'done';
    });
    expect(result).toBe('done');
    expect(await accounts()).toEqual(['a']);
    expect(
      await rows('SELECT id, key, subject, headers, body, partition, published_at, relay FROM outbox'),
    ).toEqual([{ ...sent, partition: expect.any(Number) as number, published_at: null, relay: true }]);
  });

  it('leaves nothing behind when the work throws', async () => {
    await expect(
      unitOfWork.run(async () => {
        await addAccount('a');
        unit().send(message('a'));
        throw new Error('no');
      }),
    ).rejects.toThrow('no');
    expect(await accounts()).toEqual([]);
    expect(await outboxIds()).toEqual([]);
  });

  it('joins the unit it is called in', async () => {
    await expect(
      unitOfWork.run(async () => {
        const outer = unit();
        await unitOfWork.run(async () => {
          expect(unit()).toBe(outer);
          await addAccount('a');
        });
        throw new Error('undo both');
      }),
    ).rejects.toThrow('undo both');
    expect(await accounts()).toEqual([]);
  });

  it('keeps the units of one group apart, and each in the async context of its caller', async () => {
    const context = new AsyncLocalStorage<string>();
    const seen = await Promise.all(
      ['a', 'b', 'c', 'd', 'e'].map((id) =>
        context.run(id, () =>
          unitOfWork.run(async () => {
            const before = unit();
            await addAccount(id);
            await new Promise((resolve) => setImmediate(resolve));
            return { same: unit() === before, unit: before, context: context.getStore() };
          }),
        ),
      ),
    );
    expect(seen.map(({ context: name }) => name)).toEqual(['a', 'b', 'c', 'd', 'e']);
    expect(seen.every(({ same }) => same)).toBe(true);
    expect(new Set(seen.map((result) => result.unit)).size).toBe(5);
    expect(currentUnitOfWork()).toBeUndefined();
  });

  it('undoes a member that throws and commits the others of its group', async () => {
    const results = await together(
      ['a', 'b', 'c', 'd'].map(
        (id) => () =>
          unitOfWork.run(async () => {
            await addAccount(id);
            unit().send(message(id, { id }));
            if (id === 'b') throw new Error('b fails');
            if (id === 'c') await addAccount('a');
          }),
      ),
    );
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected', 'fulfilled']);
    expect(await accounts()).toEqual(['a', 'd']);
    expect(await outboxIds()).toEqual(['a', 'd']);
    // They were one group: their rows come from one transaction.
    expect(await rows('SELECT created_at FROM outbox GROUP BY created_at')).toHaveLength(1);
  });

  it('does not let a member that swallows a failed statement pass for a success', async () => {
    const results = await together(
      ['a', 'b', 'c'].map(
        (id) => () =>
          unitOfWork.run(async () => {
            if (id !== 'b') return addAccount(id);
            await unit()
              .query('SELECT 1 / 0')
              .catch(() => 'swallowed');
          }),
      ),
    );
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect(results[1]).toMatchObject({ reason: { code: 'UNIT_OF_WORK_FAILED' } });
    expect(await accounts()).toEqual(['a', 'c']);
  });

  it('finds the member whose constraint fails only at commit', async () => {
    await unitOfWork.run(async () => {
      await unit().query(
        'CREATE TABLE entry (account text REFERENCES account DEFERRABLE INITIALLY DEFERRED)',
      );
    });
    const results = await together(
      ['a', 'b', 'c'].map(
        (id) => () =>
          unitOfWork.run(async () => {
            await unit().query('INSERT INTO entry VALUES ($1)', [id]);
            if (id !== 'b') await addAccount(id);
          }),
      ),
    );
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect(results[1]).toMatchObject({ reason: { code: 'UNIT_OF_WORK_FAILED', retry: 'later' } });
    expect(await accounts()).toEqual(['a', 'c']);
  });

  it('runs units with one key one after another, in order, whatever else waits', async () => {
    const order: string[] = [];
    const running = new Set<string>();
    await Promise.all(
      Array.from({ length: 120 }, (_, index) => {
        const key = `key-${index % 3}`;
        return unitOfWork.run(
          async () => {
            expect(running.has(key)).toBe(false);
            running.add(key);
            await unit().query('SELECT 1');
            running.delete(key);
            order.push(`${key}/${String(index).padStart(3, '0')}`);
          },
          { key },
        );
      }),
    );
    for (const key of ['key-0', 'key-1', 'key-2']) {
      const own = order.filter((entry) => entry.startsWith(key));
      expect(own).toEqual(own.toSorted());
      expect(own).toHaveLength(40);
    }
  });

  it('commits 1,000 concurrent units in few transactions', async () => {
    const busy = await opened.unitOfWork(database.url);
    const before = await commits();
    await Promise.all(
      Array.from({ length: 1_000 }, (_, index) =>
        busy.unitOfWork.process({ consumer: 'test', messageId: `m${index}` }, async () => {
          await addAccount(`account-${index}`);
          unit().send(message(`account-${index}`));
        }),
      ),
    );
    expect(await accounts()).toHaveLength(1_000);
    // A backend reports its commits at the latest when it ends.
    await busy.unitOfWork.close();
    await busy.dataSource.destroy();
    const used = await until(
      async () => {
        const sinceBefore = (await commits()) - before;
        return sinceBefore >= 1_000 / 32 && sinceBefore;
      },
      { describe: 'all commits are reported' },
    );
    expect(used).toBeLessThan(80);
  });

  it('gives hot rows to replicas that want them in opposite order without a deadlock', async () => {
    const other = await opened.unitOfWork(database.url);
    const names = ['x', 'y', 'z', 'w'];
    await unitOfWork.run(async () => {
      for (const name of names) await addAccount(name, 0);
    });
    const transfer = (uow: UnitOfWork, order: readonly string[]): Promise<void> =>
      uow.run(
        async () => {
          for (const name of order) {
            await unit().query('UPDATE account SET balance = balance + 1 WHERE id = $1', [name]);
          }
        },
        { locks: order },
      );
    await Promise.all(
      Array.from({ length: 400 }, (_, index) =>
        index % 2 === 0 ? transfer(unitOfWork, names) : transfer(other.unitOfWork, names.toReversed()),
      ),
    );
    expect(await rows('SELECT DISTINCT balance FROM account')).toEqual([{ balance: 400 }]);
    expect(
      await rows('SELECT deadlocks::int FROM pg_stat_database WHERE datname = current_database()'),
    ).toEqual([{ deadlocks: 0 }]);
  });

  it('refuses to be used after its work has ended', async () => {
    let escaped: ActiveUnitOfWork | undefined;
    await unitOfWork.run(async () => {
      escaped = unit();
    });
    expect(() => escaped?.send(message('a'))).toThrow(UnitOfWorkOverError);
    expect(() => escaped?.manager).toThrow(UnitOfWorkOverError);
    await expect(escaped?.query('SELECT 1')).rejects.toThrow(UnitOfWorkOverError);
  });

  it('says what to do when something is sent outside a unit of work', () => {
    expect(() => requireUnitOfWork('Publishing OrderPlaced')).toThrow(OutsideUnitOfWorkError);
    expect(() => requireUnitOfWork('Publishing OrderPlaced')).toThrow(
      /^Publishing OrderPlaced needs a unit of work/,
    );
  });

  it('refuses a message that Postgres cannot store when it is sent, not at the commit of the group', async () => {
    await expect(
      unitOfWork.run(async () => {
        unit().send(message('a', { body: '"\u0000"' }));
      }),
    ).rejects.toThrow(UnstorableError);
  });

  it('runs afterCommit actions after the commit, and only then', async () => {
    const seen: unknown[] = [];
    await unitOfWork.run(async () => {
      await addAccount('a');
      unit().afterCommit(() => seen.push('committed'));
      expect(seen).toEqual([]);
    });
    await expect(
      unitOfWork.run(async () => {
        unit().afterCommit(() => seen.push('never'));
        throw new Error('no');
      }),
    ).rejects.toThrow('no');
    expect(seen).toEqual(['committed']);
  });

  it('refuses writes outside units of work, however they are made', async () => {
    await expect(dataSource.query("INSERT INTO account VALUES ('a', 1)")).rejects.toMatchObject({
      code: 'OUTSIDE_UNIT_OF_WORK',
    });
    await expect(
      dataSource.query("WITH a AS (INSERT INTO account VALUES ('a', 1) RETURNING id) SELECT * FROM a"),
    ).rejects.toMatchObject({ code: 'OUTSIDE_UNIT_OF_WORK' });
    expect(await accounts()).toEqual([]);
  });

  it.each(['COMMIT', 'ROLLBACK', 'BEGIN', 'start transaction', 'END'])(
    'refuses %s in a unit',
    async (sql) => {
      await expect(unitOfWork.run(() => unit().query(sql))).rejects.toThrow(TransactionControlError);
    },
  );

  it('gives Postgres arrays as they are, whatever is in them', async () => {
    const texts = ['', 'NULL', '{a,"b"}', String.raw`\"`, 'line\n\t\u0001', 'ümlaut 漢字 😀 \u2028', null];
    const [row] = await unitOfWork.run(() =>
      unit().query(
        'SELECT $1::text[] AS texts, $2::int[] AS numbers, $3::boolean[] AS flags, $4::json[] AS bodies, ' +
          '$5::timestamptz[] AS times, $6::text[] AS none',
        [
          texts,
          [1, -2, null],
          [true, false],
          [JSON.stringify({ texts })],
          [new Date(0), new Date(86_400_000)],
          [],
        ],
      ),
    );
    expect(row).toEqual({
      texts,
      numbers: [1, -2, null],
      flags: [true, false],
      bodies: [{ texts }],
      times: [new Date(0), new Date(86_400_000)],
      none: [],
    });
  });

  it("lets TypeORM's own transactions be savepoints of the unit", async () => {
    await unitOfWork.run(async () => {
      await addAccount('a');
      await expect(
        unit().manager.transaction(async (manager) => {
          await manager.query("INSERT INTO account VALUES ('b', 1)");
          throw new Error('undo b');
        }),
      ).rejects.toThrow('undo b');
      await unit().manager.transaction(async (manager) => {
        await manager.query("INSERT INTO account VALUES ('c', 1)");
      });
      expect(await rows('SELECT id FROM account')).toEqual([]);
    });
    expect(await accounts()).toEqual(['a', 'c']);
  });
});

describe('independent works', () => {
  const independent = true;

  it('overlap within their group, and commit together', async () => {
    let running = 0;
    let most = 0;
    await Promise.all(
      numbered(20).map((id) =>
        unitOfWork.process(
          { consumer: 'test', messageId: id, key: id },
          async () => {
            running += 1;
            most = Math.max(most, running);
            await addAccount(id);
            await unit().query('UPDATE account SET balance = 1 WHERE id = $1', [id]);
            unit().send(message(id, { id }));
            running -= 1;
          },
          { independent },
        ),
      ),
    );
    expect(most).toBeGreaterThan(1);
    expect(await accounts()).toEqual(numbered(20).toSorted());
    expect((await outboxIds()).toSorted()).toEqual(numbered(20).toSorted());
    expect(await rows('SELECT DISTINCT balance FROM account')).toEqual([{ balance: 1 }]);
  });

  it('do not overlap when they share a key or a lock', async () => {
    await unitOfWork.run(() => addAccount('hot', 0));
    await Promise.all(
      numbered(60).map((id, index) =>
        unitOfWork.run(
          async () => {
            // Lost updates, if two of them overlapped.
            const [row] = await unit().query<{ balance: number }>(
              "SELECT balance FROM account WHERE id = 'hot'",
            );
            await unit().query("UPDATE account SET balance = $1 WHERE id = 'hot'", [(row?.balance ?? 0) + 1]);
          },
          { key: id, locks: ['hot', `own ${index}`], independent },
        ),
      ),
    );
    expect(await rows('SELECT balance FROM account')).toEqual([{ balance: 60 }]);
  });

  it('refuse without disturbing the others when they have written nothing', async () => {
    const runs = new Map<string, number>();
    const results = await together(
      numbered(8).map(
        (id, index) => () =>
          unitOfWork.process(
            { consumer: 'test', messageId: id, key: id },
            async () => {
              runs.set(id, (runs.get(id) ?? 0) + 1);
              await unit().query('SELECT 1');
              if (index === 3) throw new BusinessError('test.Open.v1', 'NoFunds', {});
              await addAccount(id);
            },
            { independent, onRefusal: (error) => unit().remember(error.code) },
          ),
      ),
    );
    expect(results.filter(({ status }) => status === 'rejected')).toHaveLength(1);
    expect(await accounts()).toHaveLength(7);
    expect(new Set(runs.values())).toEqual(new Set([1]));
    expect(await unitOfWork.findProcessed({ consumer: 'test', messageId: 'n3' })).toEqual({
      reply: 'NoFunds',
    });
  });

  it('run again in sequence when one fails that has written, and nothing of it remains', async () => {
    const results = await together(
      numbered(12).map(
        (id, index) => () =>
          unitOfWork.process(
            { consumer: 'test', messageId: id, key: id },
            async () => {
              if (index === 2) throw new Error('fails before it writes');
              await addAccount(id);
              unit().send(message(id, { id }));
              if (index === 5) throw new Error('fails after it has written');
              if (index === 7) await unit().query('SELECT 1 / 0');
              if (index === 9)
                await unit()
                  .query('SELECT 1 / 0')
                  .catch(() => 'swallowed');
            },
            { independent },
          ),
      ),
    );
    const failed = results.flatMap(({ status }, index) => (status === 'rejected' ? [index] : []));
    expect(failed).toEqual([2, 5, 7, 9]);
    const expected = numbered(12).filter((_, index) => !failed.includes(index));
    expect((await accounts()).toSorted()).toEqual(expected.toSorted());
    expect((await inboxIds()).toSorted()).toEqual(expected.toSorted());
    expect((await outboxIds()).toSorted()).toEqual(expected.toSorted());
  });

  it('make no savepoints, because these would undo what others did', async () => {
    const results = await together(
      ['a', 'b'].map(
        (id) => () =>
          unitOfWork.run(
            async () => {
              await addAccount(id);
              if (id === 'b') await unit().manager.transaction(() => addAccount('c'));
            },
            { key: id, independent },
          ),
      ),
    );
    // Run in sequence, after the failure, its savepoint is fine.
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled']);
    expect(await accounts()).toEqual(['a', 'b', 'c']);
  });
});

describe('bulk statements', () => {
  const gathered = defineBulk(
    'reads',
    { id: 'text' },
    (given) => `SELECT given.n::int AS n, given.id, (count(*) OVER ())::int AS together FROM ${given}`,
  );
  const add = defineBulk(
    'writes',
    { id: 'text', balance: 'int' },
    (given) => `
    WITH given AS (SELECT * FROM ${given}), added AS (
      INSERT INTO account SELECT id, balance FROM given RETURNING id, balance
    )
    SELECT given.n::int AS n, added.id, added.balance FROM given JOIN added USING (id)`,
  );
  interface Together {
    readonly id: string;
    readonly together: number;
  }

  it('are one statement for the units that overlap, and each gets its own rows', async () => {
    const ids = numbered(20);
    const found = await Promise.all(
      ids.map((id, index) =>
        unitOfWork.run(
          async () => {
            const [asked] = await unit().bulk<Together>(gathered, [id]);
            const [added] = await unit().bulk<{ id: string; balance: number }>(add, [id, index]);
            // What follows in the same unit sees it, also without waiting.
            void unit().bulk(gathered, [id]);
            const seen = await unit().query<{ balance: number }>(
              'SELECT balance FROM account WHERE id = $1',
              [id],
            );
            return { asked, added, seen };
          },
          { key: id, independent: true },
        ),
      ),
    );
    for (const [index, { asked, added, seen }] of found.entries()) {
      expect(asked?.id).toBe(ids[index]);
      expect(added).toMatchObject({ id: ids[index], balance: index });
      expect(seen).toEqual([{ balance: index }]);
    }
    expect(Math.max(...found.map(({ asked }) => asked?.together ?? 0))).toBeGreaterThan(1);
  });

  it('run for one row in units that do not overlap, and outside of units when they read', async () => {
    expect(await unitOfWork.run(() => unit().bulk<Together>(gathered, ['a']))).toEqual([
      { n: 1, id: 'a', together: 1 },
    ]);
    expect(await unitOfWork.bulk<Together>(gathered, ['b'])).toEqual([{ n: 1, id: 'b', together: 1 }]);
    await expect(unitOfWork.bulk(add, ['a', 1])).rejects.toThrow('needs a unit of work');
  });

  it('that fail for one row fail for that unit only', async () => {
    const results = await together(
      numbered(10).map(
        (id, index) => () =>
          unitOfWork.process(
            { consumer: 'test', messageId: id, key: id },
            async () => {
              unit().send(message(id, { id }));
              await unit().bulk(add, [id, index === 4 ? -1 : index]);
            },
            { independent: true },
          ),
      ),
    );
    const failed = results.flatMap(({ status }, index) => (status === 'rejected' ? [index] : []));
    expect(failed).toEqual([4]);
    const expected = numbered(10).filter((_, index) => index !== 4);
    expect(await accounts()).toEqual(expected);
    expect(await inboxIds()).toEqual(expected);
    expect((await outboxIds()).toSorted()).toEqual(expected);
  });
});

describe('process', () => {
  const entry = { consumer: 'test', messageId: 'm1' };

  it('handles a message once and answers duplicates with what was remembered', async () => {
    let runs = 0;
    const handle = async (): Promise<string> => {
      runs += 1;
      await addAccount('a');
      unit().remember({ orderId: 'a', total: 1.5 });
      return 'result';
    };
    expect(await unitOfWork.process(entry, handle)).toEqual({ duplicate: false, result: 'result' });
    expect(await unitOfWork.process(entry, handle)).toEqual({
      duplicate: true,
      reply: { orderId: 'a', total: 1.5 },
    });
    expect(await unitOfWork.process({ ...entry, consumer: 'other' }, async () => 'own')).toEqual({
      duplicate: false,
      result: 'own',
    });
    expect(runs).toBe(1);
  });

  it('lets concurrent deliveries of one message wait for the first: one group, other lanes, another process', async () => {
    const other = await opened.unitOfWork(database.url);
    let runs = 0;
    const handle = async (): Promise<void> => {
      runs += 1;
      await addAccount('a');
      unit().remember('the reply');
    };
    const results = await Promise.all(
      Array.from({ length: 60 }, (_, index) =>
        (index % 2 === 0 ? unitOfWork : other.unitOfWork).process(
          index % 3 === 0 ? entry : { ...entry, key: `key-${index % 5}` },
          handle,
        ),
      ),
    );
    expect(runs).toBe(1);
    expect(results.filter(({ duplicate }) => !duplicate)).toHaveLength(1);
    expect(results.filter((result) => result.duplicate && result.reply === 'the reply')).toHaveLength(59);
  });

  it('handles a message whose first attempt failed', async () => {
    await expect(
      unitOfWork.process(entry, async () => {
        await addAccount('a');
        throw new Error('first');
      }),
    ).rejects.toThrow('first');
    expect(await inboxIds()).toEqual([]);
    expect(await unitOfWork.process(entry, async () => 'second')).toEqual({
      duplicate: false,
      result: 'second',
    });
  });

  it('refuses the same message id with another payload', async () => {
    await unitOfWork.process({ ...entry, payloadHash: 'one' }, async () => unit().remember('reply'));
    await expect(unitOfWork.process({ ...entry, payloadHash: 'two' }, async () => 1)).rejects.toThrow(
      IdempotencyConflictError,
    );
    expect(await unitOfWork.process({ ...entry, payloadHash: 'one' }, async () => 1)).toEqual({
      duplicate: true,
      reply: 'reply',
    });
  });

  it('keeps a refusal as the reply, without the changes of the refused work', async () => {
    const refuse = (id: string): Promise<unknown> =>
      unitOfWork.process(
        { consumer: 'test', messageId: id },
        async () => {
          await addAccount(id);
          unit().send(message(id, { id: `sent-${id}` }));
          throw new BusinessError('test.Open.v1', 'NoFunds', { missing: 3 });
        },
        {
          onRefusal: (error) => {
            unit().send(message(id, { id: `refused-${id}` }));
            unit().remember({ code: error.code, data: error.data });
          },
        },
      );
    const results = await Promise.allSettled([
      refuse('a'),
      unitOfWork.run(() => addAccount('b')),
      refuse('c'),
    ]);
    expect(results.map(({ status }) => status)).toEqual(['rejected', 'fulfilled', 'rejected']);
    expect(results[0]).toMatchObject({ reason: { code: 'NoFunds' } });
    expect(await accounts()).toEqual(['b']);
    expect((await outboxIds()).toSorted()).toEqual(['refused-a', 'refused-c']);
    expect(await refuse('a')).toEqual({ duplicate: true, reply: { code: 'NoFunds', data: { missing: 3 } } });
  });

  it('undoes the refusal too when that fails', async () => {
    await expect(
      unitOfWork.process(
        entry,
        async () => {
          throw new BusinessError('test.Open.v1', 'NoFunds', {});
        },
        {
          onRefusal: () => {
            unit().send(message('a'));
            throw new Error('cannot refuse');
          },
        },
      ),
    ).rejects.toThrow('cannot refuse');
    expect(await inboxIds()).toEqual([]);
    expect(await outboxIds()).toEqual([]);
  });

  it('cannot be nested', async () => {
    await expect(
      unitOfWork.run(async () => {
        await unitOfWork.process(entry, async () => 1);
      }),
    ).rejects.toThrow(NestedProcessError);
  });
});

describe('failures', () => {
  const cutConnections = async (): Promise<void> => {
    await opened.server(database, (client) =>
      client.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
          WHERE datname = $1 AND backend_type = 'client backend'`,
        [database.name],
      ),
    );
  };

  it('rejects a whole group whose connection is cut, with nothing half done, and goes on', async () => {
    const started = Promise.withResolvers<void>();
    const cut = Promise.withResolvers<void>();
    const work = (id: string) => async (): Promise<void> => {
      await addAccount(id);
      unit().send(message(id));
      if (id !== 'b') return;
      started.resolve();
      await cut.promise;
      await addAccount('b2');
    };
    const results = together(
      ['a', 'b', 'c'].map((id) => () => unitOfWork.process({ consumer: 'test', messageId: id }, work(id))),
    );
    await started.promise;
    await cutConnections();
    cut.resolve();
    for (const result of await results) {
      expect(result).toMatchObject({
        status: 'rejected',
        reason: { code: 'UNIT_OF_WORK_FAILED', retry: 'later' },
      });
      expect((result as PromiseRejectedResult).reason).toBeInstanceOf(UnitOfWorkFailedError);
    }
    expect(await accounts()).toEqual([]);
    expect(await inboxIds()).toEqual([]);
    expect(await outboxIds()).toEqual([]);
    await unitOfWork.run(() => addAccount('later'));
    expect(await accounts()).toEqual(['later']);
  });

  it('does not claim to know the outcome when the connection is cut during the commit', async () => {
    await unitOfWork.run(async () => {
      await unit().query(`
        CREATE FUNCTION wait_at_commit() RETURNS trigger LANGUAGE plpgsql AS
          'BEGIN PERFORM pg_sleep(20); RETURN NULL; END'`);
      await unit().query(`
        CREATE CONSTRAINT TRIGGER slow_commit AFTER INSERT ON account
          DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait_at_commit()`);
    });
    const result = expect(unitOfWork.run(() => addAccount('a'))).rejects.toThrow(CommitOutcomeUnknownError);
    await opened.server(database, (client) =>
      until(async () => {
        const { rowCount } = await client.query(
          "SELECT FROM pg_stat_activity WHERE datname = $1 AND wait_event = 'PgSleep'",
          [database.name],
        );
        return rowCount === 1;
      }),
    );
    await cutConnections();
    await result;
    expect(await accounts()).toEqual([]);
  });

  it('says that the database is unavailable, and works once it is back', async () => {
    const other = await opened.unitOfWork(database.url, { lanes: 1 });
    const allow = (allowed: boolean): Promise<unknown> =>
      opened.server(database, (client) =>
        client.query(`ALTER DATABASE ${database.name} WITH ALLOW_CONNECTIONS ${allowed}`),
      );
    await allow(false);
    try {
      await cutConnections();
      // The first may still go out on a connection that the client does not know to be cut.
      await until(async () => {
        const outcome: unknown = await other.unitOfWork.run(async () => 1).catch((error: unknown) => error);
        return outcome instanceof DatabaseUnavailableError;
      });
    } finally {
      await allow(true);
    }
    expect(await other.unitOfWork.run(async () => 1)).toBe(1);
  });

  it('cuts off a work that does not end, and the next one runs', async () => {
    const hasty = await opened.unitOfWork(database.url, { workTimeoutMs: 200, lanes: 1 });
    const never = new Promise<never>(() => undefined);
    const stuck = hasty.unitOfWork.run(() => never);
    const waiting = hasty.unitOfWork.run(() => addAccount('a'));
    await expect(stuck).rejects.toThrow(UnitOfWorkTimedOutError);
    await Promise.allSettled([waiting]);
    await hasty.unitOfWork.run(() => addAccount('b'));
    expect(await accounts()).toContain('b');
  });

  it('recovers when a table changes under a statement it has prepared', async () => {
    const single = await opened.unitOfWork(database.url, { lanes: 1 });
    const read = () =>
      single.unitOfWork.run(() => unit().query('SELECT * FROM account WHERE id = $1', ['a']));
    for (let times = 0; times < 8; times += 1) await read();
    await unitOfWork.run(() => unit().query('ALTER TABLE account ADD COLUMN note text'));
    await expect(read()).rejects.toMatchObject({ code: 'UNIT_OF_WORK_FAILED', retry: 'later' });
    expect(await read()).toEqual([]);
  });

  it('refuses more than it may queue', async () => {
    const small = await opened.unitOfWork(database.url, { maxQueued: 3, lanes: 1 });
    const results = await together(
      Array.from({ length: 5 }, () => () => small.unitOfWork.run(async () => 1)),
    );
    expect(results.map(({ status }) => status)).toEqual([
      'fulfilled',
      'fulfilled',
      'fulfilled',
      'rejected',
      'rejected',
    ]);
    expect(results[4]).toMatchObject({ reason: expect.any(UnitOfWorkOverloadedError) as Error });
  });

  it('lets what runs end when it is closed, and refuses what comes later', async () => {
    const closing = await opened.unitOfWork(database.url);
    const started = Promise.withResolvers<void>();
    const go = Promise.withResolvers<void>();
    const running = closing.unitOfWork.run(async () => {
      started.resolve();
      await go.promise;
      await addAccount('a');
    });
    await started.promise;
    const closed = closing.unitOfWork.close();
    await expect(closing.unitOfWork.run(async () => 1)).rejects.toThrow(PersistenceClosedError);
    go.resolve();
    await running;
    await closed;
    expect(await accounts()).toEqual(['a']);
  });
});
