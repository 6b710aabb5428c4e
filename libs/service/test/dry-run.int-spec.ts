import { commandSubject, encodeEnvelope, eventSubject, replySubject } from '@flotilla/contracts-protocol';
import { newId } from '@flotilla/kernel';
import { sagaKey } from '@flotilla/saga';
import { until } from '@flotilla/testing';
import { dryRunSubject, type DryRunReport } from '../src/index.ts';
import { startTestService, type TestService } from '../src/testing/index.ts';
import { AlphaConfig } from './fixtures/alpha/alpha.config.ts';
import { AlphaModule } from './fixtures/alpha/alpha.module.ts';
import { outsideSystem } from './fixtures/alpha/handlers.ts';
import { Add, Added, Begin, Charge, Pay, Settled } from './fixtures/contracts.ts';

let alpha: TestService;
beforeAll(async () => {
  alpha = await startTestService({ module: AlphaModule, config: AlphaConfig });
});
afterAll(() => alpha.stop());

interface About {
  readonly consumer: string;
  readonly subject: string;
  readonly type: string;
  readonly key: string;
  readonly payload: unknown;
  readonly id?: string;
  readonly more?: object;
}

async function dryRun({
  consumer,
  subject,
  type,
  key,
  payload,
  id = newId(),
  more,
}: About): Promise<DryRunReport> {
  const envelope = {
    id,
    type,
    source: 'test',
    time: new Date().toISOString(),
    subject: key,
    correlationId: id,
  };
  const headers = encodeEnvelope({ ...envelope, ...more });
  const reply = await alpha.broker.request(
    {
      id: newId(),
      subject: dryRunSubject('alpha'),
      key,
      headers: encodeEnvelope({ ...envelope, id: newId(), type: 'ops.dead-letters.dry-run' }),
      body: JSON.stringify({ consumer, subject, headers, body: JSON.stringify(payload) }),
    },
    { timeoutMs: 15_000 },
  );
  expect(reply.envelope.outcome).toBe('ok');
  return reply.json() as DryRunReport;
}
const add = (accountId: string, amount: number, id?: string): Promise<DryRunReport> =>
  dryRun({
    consumer: 'alpha',
    subject: commandSubject(Add.contract, accountId),
    type: Add.contract.type,
    key: accountId,
    payload: { accountId, amount },
    ...(id !== undefined && { id }),
    more: { replyTo: replySubject('harness', 'c-1') },
  });
const account = (): string => `account-${newId()}`;
const accounts = (accountId: string) =>
  alpha.sql('SELECT total FROM accounts WHERE account_id = $1', [accountId]);

describe('a dry run', () => {
  it('of a command tells its reply, what it writes and what it sends, and does none of it', async () => {
    const accountId = account();
    expect(await add(accountId, 5)).toMatchObject({
      possible: true,
      handledBefore: false,
      outcome: 'ok',
      reply: { total: 5 },
      tables: [
        {
          table: 'accounts',
          inserted: 1,
          updated: 0,
          deleted: 0,
          rows: [{ before: null, after: { account_id: accountId, total: 5 } }],
        },
      ],
      messages: [
        { type: 'alpha.Added.v1', key: accountId, body: { accountId, amount: 5 } },
        { type: 'alpha.Add.v1', subject: replySubject('harness', 'c-1'), body: { total: 5 } },
      ],
    });
    expect(await accounts(accountId)).toEqual([]);
    await alpha.execute(new Add({ accountId, amount: 1 }));
    expect(await add(accountId, 5)).toMatchObject({
      reply: { total: 6 },
      tables: [{ rows: [{ before: { total: 1 }, after: { total: 6 } }] }],
    });
    expect(await accounts(accountId)).toEqual([{ total: 1 }]);
    // Whatever came of the rehearsals would have come before this.
    await alpha.execute(new Add({ accountId, amount: 2 }));
    await until(() =>
      alpha.events(Added).some(({ payload }) => payload.amount === 2 && payload.accountId === accountId),
    );
    expect(
      alpha
        .events(Added)
        .filter(({ payload }) => payload.accountId === accountId)
        .map(({ payload }) => payload.amount),
    ).toEqual([1, 2]);
  });

  it('tells why it fails, and what it is refused for', async () => {
    const accountId = account();
    expect(await add(accountId, 13)).toMatchObject({
      outcome: 'failed',
      error: { code: 'Error', message: '13 never works' },
      tables: [],
      messages: [],
    });
    expect(await add(accountId, 14)).toMatchObject({ outcome: 'failed', error: { code: 'INVALID_REPLY' } });
    expect(await add(accountId, 0.5)).toMatchObject({
      outcome: 'failed',
      error: { code: 'INVALID_MESSAGE' },
    });
    expect(await add(accountId, 101)).toMatchObject({
      outcome: 'refused',
      error: { code: 'TooMuch' },
      tables: [],
      messages: [{ type: 'alpha.Add.v1', body: { code: 'TooMuch', data: { limit: 100 } } }],
    });
  });

  it('knows what was handled before', async () => {
    const [accountId, id] = [account(), newId()];
    await alpha.send(new Add({ accountId, amount: 5 }), { id });
    expect(await add(accountId, 5, id)).toMatchObject({ handledBefore: true, tables: [], messages: [] });
  });

  it('of a handler outside a unit of work is refused, and the outside left alone', async () => {
    let called = false;
    outsideSystem.call = async () => void (called = true);
    const accountId = account();
    expect(
      await dryRun({
        consumer: 'alpha',
        subject: commandSubject(Pay.contract, accountId),
        type: Pay.contract.type,
        key: accountId,
        payload: { accountId },
      }),
    ).toEqual({
      possible: false,
      why: expect.stringContaining('PayHandler runs outside of a unit of work') as string,
    });
    expect(called).toBe(false);
  });

  it('of an event runs its reaction', async () => {
    const accountId = account();
    const about = {
      consumer: 'alpha-statement',
      subject: eventSubject(Added.contract, accountId),
      type: Added.contract.type,
      key: accountId,
      payload: { accountId, amount: 3 },
    };
    expect(await dryRun(about)).toMatchObject({
      outcome: 'ok',
      tables: [{ table: 'statement_lines', inserted: 1, rows: [{ after: { amount: 3 } }] }],
    });
    expect(await alpha.sql('SELECT 1 FROM statement_lines WHERE account_id = $1', [accountId])).toEqual([]);
  });

  it('of an answer or an event to a saga moves the saga, and does not', async () => {
    const tabId = `tab-${newId()}`;
    await alpha.execute(new Begin({ tabId }));
    const sent = await until(() => alpha.commands(Charge).find(({ payload }) => payload.tabId === tabId));
    const answer = {
      consumer: 'alpha',
      subject: replySubject('alpha', sagaKey({ saga: 'tab', id: tabId })),
      type: Charge.contract.type,
      key: tabId,
      payload: { chargeId: 'c-1' },
      more: { causationId: sent.envelope.id, outcome: 'ok' as const },
    };
    const report = await dryRun(answer);
    expect(report).toMatchObject({ outcome: 'ok' });
    expect(report.possible && report.tables.map(({ table }) => table)).toEqual([
      'saga_history',
      'saga_instances',
      'tabs',
    ]);
    expect(await alpha.sql('SELECT status FROM tabs WHERE tab_id = $1', [tabId])).toEqual([
      { status: 'open' },
    ]);
    const event = await dryRun({
      consumer: 'alpha-tabs',
      subject: eventSubject(Settled.contract, tabId),
      type: Settled.contract.type,
      key: tabId,
      payload: { tabId },
    });
    expect(event).toMatchObject({ outcome: 'ok' });
    expect(event.possible && event.tables.map(({ table }) => table)).toContain('saga_instances');
    // It still waits for its answer.
    await alpha.answer(Charge, 'ok', { chargeId: 'c-1' });
    await until(async () => {
      const [tab] = await alpha.sql<{ status: string }>('SELECT status FROM tabs WHERE tab_id = $1', [tabId]);
      return tab?.status === 'charged';
    });
  });

  it('of what nobody handles says so', async () => {
    const about = { subject: 'cmd.alpha.Gone.v1.0.x', type: 'alpha.Gone.v1', key: 'x', payload: {} };
    for (const consumer of ['alpha', 'alpha-nothing']) {
      expect(await dryRun({ ...about, consumer })).toMatchObject({
        outcome: 'failed',
        error: { code: 'UNKNOWN_MESSAGE' },
      });
    }
  });
});
