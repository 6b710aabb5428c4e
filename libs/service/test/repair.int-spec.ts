import { encodeEnvelope } from '@flotilla/contracts-protocol';
import { newId } from '@flotilla/kernel';
import { until } from '@flotilla/testing';
import { jetstreamManager } from '@nats-io/jetstream';
import { Client } from 'pg';
import { SagaHost } from '../src/sagas/saga-host.ts';
import { startTestService, type TestService } from '../src/testing/index.ts';
import { AlphaConfig } from './fixtures/alpha/alpha.config.ts';
import { AlphaModule } from './fixtures/alpha/alpha.module.ts';
import { Add, Begin } from './fixtures/contracts.ts';

interface Answer {
  readonly repaired: readonly { readonly about: string; readonly outcome: string; readonly detail: string }[];
  readonly code?: string;
  readonly message?: string;
}

let alpha: TestService;
beforeAll(async () => {
  alpha = await startTestService({ module: AlphaModule, config: AlphaConfig });
});
afterAll(() => alpha.stop());

async function ask(body: object): Promise<Answer> {
  const id = newId();
  const headers = encodeEnvelope({
    id,
    type: 'ops.repair',
    source: 'test',
    time: new Date().toISOString(),
    subject: id,
    correlationId: id,
  });
  const reply = await alpha.broker.request(
    {
      id,
      subject: 'ops.alpha.repair',
      key: id,
      headers,
      body: JSON.stringify({ operator: 'ada', ...body }),
    },
    { timeoutMs: 10_000 },
  );
  return reply.json() as Answer;
}

/** An event that is published and handled; its row in the outbox. */
async function added(): Promise<{ accountId: string; position: string; id: string; sequence: string }> {
  const accountId = `account-${newId()}`;
  await alpha.execute(new Add({ accountId, amount: 1 }));
  await until(async () => (await lines(accountId)) === 1, { describe: 'the event is handled' });
  return until(async () => {
    const [row] = await alpha.sql<{ position: string; id: string; sequence: string }>(
      'SELECT position, id, sequence FROM outbox WHERE key = $1 AND published_at IS NOT NULL',
      [accountId],
    );
    return row && { accountId, ...row };
  });
}

const lines = async (accountId: string): Promise<number> =>
  (await alpha.sql('SELECT FROM statement_lines WHERE account_id = $1', [accountId])).length;
/** Waits until everything is published, and handled by that consumer. */
async function untilIdle(consumer: string): Promise<void> {
  const manager = await jetstreamManager(alpha.broker.connection);
  await until(
    async () => {
      if ((await alpha.sql('SELECT FROM outbox WHERE published_at IS NULL')).length > 0) return false;
      const { num_pending, num_ack_pending } = await manager.consumers.info('EVT_alpha', consumer);
      return num_pending + num_ack_pending === 0;
    },
    { describe: `${consumer} has nothing to do` },
  );
}

/** The service itself may not change its tables. */
async function asOwner(statement: string): Promise<void> {
  const client = new Client({ connectionString: alpha.database?.adminUrl });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}

const logged = (about: string) =>
  alpha.sql<{ operator: string; action: string; outcome: string }>(
    'SELECT operator, action, outcome FROM repairs WHERE about = $1 ORDER BY id',
    [about],
  );

describe('a message that its stream does not have', () => {
  it('is published again under its id, once, and that is written down', async () => {
    const { accountId, position, id, sequence } = await added();
    await alpha.sql('UPDATE outbox SET sequence = 1000000 WHERE position = $1', [position]);
    const first = await ask({ action: 'republish', positions: [position] });
    expect(first.repaired).toMatchObject([
      { about: accountId, outcome: 'repaired', detail: 'published again: EVT_alpha had lost it' },
    ]);
    const row = await until(
      async () =>
        (
          await alpha.sql<{ id: string; sequence: string }>(
            'SELECT id, sequence FROM outbox WHERE position = $1 AND published_at IS NOT NULL',
            [position],
          )
        )[0],
      { describe: 'it is published' },
    );
    // The stream knew it by its id all the same.
    expect(row).toEqual({ id, sequence });
    const second = await ask({ action: 'republish', positions: [position] });
    expect(second.repaired).toMatchObject([{ outcome: 'nothing to do', detail: 'EVT_alpha has it' }]);
    expect(await logged(accountId)).toEqual([
      { operator: 'ada', action: 'publish again', outcome: 'repaired' },
      { operator: 'ada', action: 'publish again', outcome: 'nothing to do' },
    ]);
  });

  it('because nobody has published it, is published at once', async () => {
    const { position } = await added();
    await alpha.sql(
      'UPDATE outbox SET published_at = NULL, stream = NULL, sequence = NULL WHERE position = $1',
      [position],
    );
    const { repaired } = await ask({ action: 'republish', positions: [position] });
    expect(repaired).toMatchObject([{ outcome: 'repaired', detail: 'the relay takes it at once' }]);
    await until(
      async () =>
        (await alpha.sql('SELECT FROM outbox WHERE position = $1 AND published_at IS NOT NULL', [position]))
          .length === 1,
      { describe: 'it is published' },
    );
  });

  it('and neither does the outbox, is refused', async () => {
    const { repaired } = await ask({ action: 'republish', positions: ['999999999'] });
    expect(repaired).toMatchObject([
      { outcome: 'refused', detail: 'the outbox does not have it (any more)' },
    ]);
  });
});

describe('a message that a consumer has acknowledged and not handled', () => {
  it('is handled, and only once however often it is repaired', async () => {
    const { accountId, position, id } = await added();
    await alpha.sql('DELETE FROM inbox WHERE consumer = $1 AND message_id = $2', ['statement', id]);
    await alpha.sql('DELETE FROM statement_lines WHERE account_id = $1', [accountId]);
    const redeliver = { action: 'redeliver', positions: [position], consumer: 'alpha-statement' };
    expect((await ask(redeliver)).repaired).toMatchObject([
      { about: accountId, outcome: 'repaired', detail: 'sent again, for alpha-statement alone' },
    ]);
    await until(async () => (await lines(accountId)) === 1, { describe: 'it is handled' });
    await ask(redeliver);
    await untilIdle('alpha-statement');
    expect(await lines(accountId)).toBe(1);
    expect(await logged(accountId)).toHaveLength(2);
  });
});

describe('a saga whose timer is overdue', () => {
  it('goes on', async () => {
    // Nobody fires timers any more, as in a process that hangs.
    await alpha.get(SagaHost).stop();
    const tabId = `tab-${newId()}`;
    await alpha.execute(new Begin({ tabId }));
    const overdue = () =>
      alpha.sql<{ attempt: number }>(`SELECT attempt FROM saga_instances WHERE id = $1 AND due_at < now()`, [
        tabId,
      ]);
    await alpha.sql(`UPDATE saga_instances SET due_at = now() - interval '1 hour' WHERE id = $1`, [tabId]);
    expect(await overdue()).toHaveLength(1);
    const fire = { action: 'fire', saga: 'tab', id: tabId };
    expect((await ask(fire)).repaired).toMatchObject([
      { about: tabId, outcome: 'repaired', detail: 'its timer has fired' },
    ]);
    expect(await overdue()).toEqual([]);
    expect((await ask(fire)).repaired).toMatchObject([{ outcome: 'nothing to do' }]);
    expect((await logged(tabId)).map(({ outcome }) => outcome)).toEqual(['repaired', 'nothing to do']);
  });

  it('and cannot go on, says why', async () => {
    const tabId = `tab-${newId()}`;
    await alpha.execute(new Begin({ tabId }));
    await alpha.sql(`UPDATE saga_instances SET due_at = now() - interval '1 hour' WHERE id = $1`, [tabId]);
    await asOwner('ALTER TABLE saga_history RENAME TO hidden');
    try {
      const [repaired] = (await ask({ action: 'fire', saga: 'tab', id: tabId })).repaired;
      expect(repaired?.outcome).toBe('refused');
      expect(repaired?.detail).toMatch(/^its timer fails: .*saga_history/);
    } finally {
      await asOwner('ALTER TABLE hidden RENAME TO saga_history');
    }
  });
});

it('a request that makes no sense is refused with what is wrong', async () => {
  const { code, message } = await ask({ action: 'redeliver', positions: [] });
  expect(code).toBe('INVALID_MESSAGE');
  expect(message).toMatch(/positions.*consumer/s);
});
