import { commandSubject, rpcSubject } from '@flotilla/contracts-protocol';
import { newId } from '@flotilla/kernel';
import { DeadLetters, type IncomingMessage } from '@flotilla/messaging';
import { currentUnitOfWork, UnitOfWork } from '@flotilla/persistence';
import { Jobs, operatorSubject, wasReplayed, withMessageId } from '../src/index.ts';
import { startTestService, type TestService } from '../src/testing/index.ts';
import { until } from '@flotilla/testing';
import { CommandBus, EventBus, QueryBus } from '@nestjs/cqrs';
import { jetstreamManager } from '@nats-io/jetstream';
import { headers } from '@nats-io/nats-core';
import { connect } from '@nats-io/transport-node';
import { OutgoingMessages } from '../src/outgoing.ts';
import { AlphaConfig } from './fixtures/alpha/alpha.config.ts';
import { AlphaModule } from './fixtures/alpha/alpha.module.ts';
import { outsideSystem } from './fixtures/alpha/handlers.ts';
import {
  Add,
  Added,
  AskBalance,
  Approve,
  Begin,
  Bump,
  Charge,
  Forgotten,
  GetBalance,
  GetTotal,
  Misbehave,
  Pay,
  Settled,
} from './fixtures/contracts.ts';

let alpha: TestService;
let letters: DeadLetters;
let answerBalance: (message: IncomingMessage) => { outcome: 'ok' | 'refused' | 'failed'; body: unknown };

beforeAll(async () => {
  alpha = await startTestService({ module: AlphaModule, config: AlphaConfig, env: { MAX_ATTEMPTS: '3' } });
  letters = new DeadLetters(alpha.broker.connection);
  const beta = alpha.get(OutgoingMessages);
  await alpha.broker.serve(rpcSubject(GetBalance.contract), { queue: 'beta', maxInFlight: 10 }, (message) => {
    const { outcome, body } = answerBalance(message);
    return Promise.resolve(beta.reply(message.envelope, newId(), outcome, body));
  });
});
afterAll(() => alpha.stop());
beforeEach(() => {
  outsideSystem.call = () => Promise.resolve();
  answerBalance = () => ({ outcome: 'ok', body: { balance: 7 } });
});

const account = (): string => `account-${newId()}`;
const totalOf = async (accountId: string): Promise<number | undefined> =>
  (await alpha.sql<{ total: number }>('SELECT total FROM accounts WHERE account_id = $1', [accountId]))[0]
    ?.total;
const inboxRows = (id: string) =>
  alpha.sql<{ reply: unknown }>('SELECT reply FROM inbox WHERE consumer = $1 AND message_id = $2', [
    'commands',
    id,
  ]);

describe('plain handlers of @nestjs/cqrs', () => {
  it('answer here, in the same process', async () => {
    const accountId = account();
    expect(await alpha.get(CommandBus).execute(new Add({ accountId, amount: 5 }))).toEqual({ total: 5 });
    expect(await alpha.get(QueryBus).execute(new GetTotal({ accountId }))).toEqual({ total: 5 });
  });

  it('answer others, over NATS', async () => {
    const accountId = account();
    expect(await alpha.execute(new Add({ accountId, amount: 5 }))).toEqual({ total: 5 });
    expect(await alpha.query(new GetTotal({ accountId }))).toEqual({ total: 5 });
  });

  it('refuse with the declared error and its data, here and there, and change nothing', async () => {
    const accountId = account();
    for (const refused of [
      () => alpha.execute(new Add({ accountId, amount: 101 })),
      () => alpha.get(CommandBus).execute(new Add({ accountId, amount: 101 })),
    ]) {
      const error: unknown = await refused().catch((thrown: unknown) => thrown);
      expect(Add.isFailure(error, 'TooMuch') && error.data).toEqual({ limit: 100 });
    }
    expect(await totalOf(accountId)).toBeUndefined();
    await expect(alpha.query(new GetTotal({ accountId }))).rejects.toMatchObject({
      code: 'UnknownAccount',
      data: { accountId },
    });
  });

  it('say all that is wrong with a message of a caller without the contract', async () => {
    const plain = await connect({ servers: alpha.nats.url });
    const sent = headers();
    sent.set('ce-id', newId());
    sent.set('ce-type', 'alpha.Add.v1');
    const answer = await plain.request('rpc.alpha.Add.v1', JSON.stringify({ accountId: '', amount: 1.5 }), {
      headers: sent,
      timeout: 5_000,
    });
    await plain.close();
    expect(answer.headers?.get('Nats-Service-Error-Code')).toBe('500');
    const { code, message, retry } = answer.json<{ code: string; message: string; retry: string }>();
    expect({ code, retry }).toEqual({ code: 'INVALID_MESSAGE', retry: 'never' });
    expect(message).toMatch(/accountId: .*amount: /);
  });

  it('that reply what their contract does not allow are told so, here and there, and change nothing', async () => {
    const accountId = account();
    await expect(alpha.execute(new Add({ accountId, amount: 14 }))).rejects.toMatchObject({
      code: 'REMOTE_FAILURE',
      remoteCode: 'INVALID_REPLY',
      retry: 'never',
    });
    await expect(alpha.get(CommandBus).execute(new Add({ accountId, amount: 14 }))).rejects.toMatchObject({
      code: 'INVALID_REPLY',
      problems: [{ path: 'total' }],
    });
    expect(await totalOf(accountId)).toBeUndefined();
  });

  it.each([
    ['remote-call', 'REMOTE_CALL_INSIDE_UNIT_OF_WORK', 'beta.GetBalance.v1'],
    ['unlisted-call', 'UNLISTED_MESSAGE', 'add it to handles or calls in src/alpha.service.ts'],
    ['unlisted-event', 'UNLISTED_MESSAGE', 'add it to publishes in src/alpha.service.ts'],
    ['outside-handler', 'OUTSIDE_HANDLER_INSIDE_UNIT_OF_WORK', 'alpha.Pay.v1'],
  ] as const)('are stopped at a %s', async (how, code, says) => {
    const answer = await alpha.execute(new Misbehave({ how }));
    expect(answer).toEqual({ code, message: expect.stringContaining(says) as string });
  });

  it('publish inside a unit of work only', async () => {
    const events = alpha.get(EventBus);
    const accountId = account();
    expect(() => void events.publish(new Added({ accountId, amount: 1 }))).toThrow(
      /published outside a unit of work/,
    );
    expect(() => void events.publish(new Forgotten({ accountId }))).toThrow(/not listed/);
    await alpha.get(UnitOfWork).run(async () => void events.publish(new Added({ accountId, amount: 1 })));
    await until(() => alpha.events(Added).some(({ payload }) => payload.accountId === accountId));
  });

  it('call other services within the time that their own caller waits', async () => {
    let leftMs: number | undefined;
    answerBalance = ({ envelope }) => {
      leftMs = (envelope.deadline ?? 0) - Date.now();
      return { outcome: 'ok', body: { balance: 7 } };
    };
    expect(await alpha.query(new AskBalance({ accountId: 'a' }))).toEqual({ balance: 7 });
    // GetBalance alone may take 10 s, but who asked for it gives up after 3.
    expect(leftMs).toBeGreaterThan(1_000);
    expect(leftMs).toBeLessThanOrEqual(3_000);
  });

  it('see the refusals of other services typed, their failures as failures, and wrong answers as such', async () => {
    answerBalance = () => ({
      outcome: 'refused',
      body: { code: 'Closed', message: 'closed', data: { since: 'May' } },
    });
    await expect(alpha.query(new AskBalance({ accountId: 'a' }))).rejects.toMatchObject({
      code: 'NoSuchAccount',
    });
    answerBalance = () => ({ outcome: 'failed', body: { code: 'BROKEN', message: 'no disk' } });
    await expect(alpha.query(new AskBalance({ accountId: 'a' }))).rejects.toMatchObject({
      remoteCode: 'REMOTE_FAILURE',
      message: expect.stringContaining('(BROKEN): no disk') as string,
    });
    answerBalance = () => ({ outcome: 'ok', body: { balance: 'much' } });
    await expect(alpha.query(new AskBalance({ accountId: 'a' }))).rejects.toMatchObject({
      remoteCode: 'INVALID_REPLY',
    });
  });
});

describe('a command that comes again', () => {
  it('is answered as before, whichever way it comes', async () => {
    const accountId = account();
    const id = newId();
    const command = () => new Add({ accountId, amount: 5 });
    const asked = await alpha.execute(withMessageId(command(), id));
    expect([asked, wasReplayed(asked)]).toEqual([{ total: 5 }, false]);
    const again = await alpha.execute(withMessageId(command(), id));
    expect([again, wasReplayed(again)]).toEqual([{ total: 5 }, true]);
    const manager = await jetstreamManager(alpha.broker.connection);
    const replies = async (): Promise<number> => (await manager.streams.info('REPLY_harness')).state.messages;
    const before = await replies();
    expect(await alpha.send(command(), { id })).toEqual({ outcome: 'ok', reply: { total: 5 } });
    expect(await alpha.send(command(), { id })).toEqual({ outcome: 'ok', reply: { total: 5 } });
    // Both are kept: the second is not taken for a repetition of the first.
    await until(async () => (await replies()) === before + 2);
    expect(await totalOf(accountId)).toBe(5);
  });

  it('is not taken for another command with the same id', async () => {
    const accountId = account();
    const id = newId();
    await alpha.execute(withMessageId(new Bump({ accountId }), id));
    await expect(alpha.execute(withMessageId(new Pay({ accountId }), id))).rejects.toMatchObject({
      remoteCode: 'IDEMPOTENCY_CONFLICT',
    });
  });

  it('and was refused, is refused again without being run', async () => {
    const accountId = account();
    const id = newId();
    const refusal = { outcome: 'refused', code: 'TooMuch', data: { limit: 100 } };
    expect(await alpha.send(new Add({ accountId, amount: 101 }), { id })).toEqual(refusal);
    expect(await inboxRows(id)).toMatchObject([{ reply: { outcome: 'refused', body: { code: 'TooMuch' } } }]);
    expect(await alpha.send(new Add({ accountId, amount: 101 }), { id })).toEqual(refusal);
    expect(await letters.list({ service: 'alpha' })).not.toContainEqual(
      expect.objectContaining({ messageId: id }),
    );
  });
});

describe('a command that cannot be handled', () => {
  it('becomes a dead letter with its history, and its sender is told', async () => {
    const id = newId();
    expect(await alpha.send(new Add({ accountId: account(), amount: 13 }), { id })).toEqual({
      outcome: 'failed',
      code: 'Error',
    });
    const letter = await until(async () =>
      (await letters.list({ service: 'alpha' })).find(({ messageId }) => messageId === id),
    );
    expect(letter).toMatchObject({ errorMessage: '13 never works', attempts: 3, consumer: 'alpha' });
    expect(letter.history).toHaveLength(3);
    expect(await inboxRows(id)).toEqual([]);
  });

  it('is told so at once when trying again cannot help', async () => {
    const id = newId();
    expect(await alpha.send(new Add({ accountId: account(), amount: 14 }), { id })).toEqual({
      outcome: 'failed',
      code: 'INVALID_REPLY',
    });
    const letter = await until(async () =>
      (await letters.list({ service: 'alpha' })).find(({ messageId }) => messageId === id),
    );
    expect(letter.attempts).toBe(1);
  });
});

describe('a command on the subject of another', () => {
  const smuggled = (accountId: string) => {
    const id = newId();
    const headers = { 'ce-id': id, 'ce-type': Add.contract.type, 'ce-subject': accountId };
    return { id, key: accountId, headers, body: JSON.stringify({ accountId, amount: 5 }) };
  };

  it('is refused as a request, and changes nothing', async () => {
    const accountId = account();
    const reply = await alpha.broker.request(
      { ...smuggled(accountId), subject: rpcSubject(GetTotal.contract) },
      { timeoutMs: 5_000 },
    );
    expect(reply.envelope.outcome).toBe('failed');
    expect(reply.json()).toMatchObject({ code: 'TYPE_MISMATCH', retry: 'never' });
    expect(await totalOf(accountId)).toBeUndefined();
  });

  it('ends in the dead letters as a durable command, and changes nothing', async () => {
    const accountId = account();
    const message = smuggled(accountId);
    await alpha.broker.publish({ ...message, subject: commandSubject(Bump.contract, accountId) });
    const letter = await until(async () =>
      (await letters.list({ service: 'alpha' })).find(({ messageId }) => messageId === message.id),
    );
    expect(letter).toMatchObject({ errorCode: 'TYPE_MISMATCH', attempts: 1 });
    expect(await totalOf(accountId)).toBeUndefined();
  });
});

describe('a handler outside a unit of work', () => {
  it('runs again after it failed between its steps, each of which stays', async () => {
    const accountId = account();
    let failures = 1;
    outsideSystem.call = () =>
      failures-- > 0 ? Promise.reject(new Error('connection reset')) : Promise.resolve();
    const id = newId();
    const answer = { outcome: 'ok', reply: { steps: ['asked', 'paid'] } };
    expect(await alpha.send(new Pay({ accountId }), { id })).toEqual(answer);
    const runs = () =>
      alpha.sql('SELECT step, runs FROM steps WHERE account_id = $1 ORDER BY step', [accountId]);
    const expected = [
      { step: 'asked', runs: 2 },
      { step: 'paid', runs: 1 },
    ];
    expect(await runs()).toEqual(expected);
    // Known by now: the outside system is left alone.
    expect(await alpha.send(new Pay({ accountId }), { id })).toEqual(answer);
    expect(await runs()).toEqual(expected);
  });

  it('may refuse', async () => {
    const accountId = account();
    outsideSystem.call = () => Promise.reject(Pay.failure('Declined', { accountId }));
    expect(await alpha.send(new Pay({ accountId }))).toEqual({
      outcome: 'refused',
      code: 'Declined',
      data: { accountId },
    });
  });
});

describe('a saga', () => {
  const statusOf = async (tabId: string) =>
    (await alpha.sql<{ status: string }>('SELECT status FROM tabs WHERE tab_id = $1', [tabId]))[0]?.status;
  const becomes = (tabId: string, status: string) =>
    until(async () => (await statusOf(tabId)) === status, { describe: `${tabId} is ${status}` });
  const begin = async (kind = 'tab'): Promise<string> => {
    const tabId = `${kind}-${newId()}`;
    await alpha.execute(new Begin({ tabId }));
    await until(() => alpha.commands(Charge).some(({ payload }) => payload.tabId === tabId));
    return tabId;
  };

  it('sends its command with the key of its instance, takes the answer and then the event', async () => {
    const tabId = await begin();
    const sent = alpha.commands(Charge).find(({ payload }) => payload.tabId === tabId);
    expect(sent?.envelope).toMatchObject({ subject: tabId, source: 'alpha' });
    await alpha.answer(Charge, 'ok', { chargeId: 'c-1' });
    await becomes(tabId, 'charged');
    await alpha.publish(new Settled({ tabId }));
    await becomes(tabId, 'closed');
  });

  it('is told a decision by a handler, early or in time, and counts its steps', async () => {
    const early = await begin('approve');
    await expect(alpha.execute(new Approve({ tabId: early, approved: false }))).resolves.toEqual({
      taken: true,
      when: 'later',
    });
    await alpha.answer(Charge, 'ok', { chargeId: 'c-1' });
    await becomes(early, 'given up: disapproved');

    const tabId = await begin('approve');
    await alpha.answer(Charge, 'ok', { chargeId: 'c-2' });
    await becomes(tabId, 'charged');
    await expect(alpha.execute(new Approve({ tabId, approved: true }))).resolves.toEqual({
      taken: true,
      when: 'now',
    });
    await expect(alpha.execute(new Approve({ tabId, approved: true }))).resolves.toEqual({ taken: false });
    await alpha.publish(new Settled({ tabId }));
    await becomes(tabId, 'closed');
    const page = await alpha.metrics.scrape();
    for (const step of ['charge', 'charged', 'approved', 'settled', 'close']) {
      const labels = `service="alpha",saga="tab",step="${step}",outcome="ok"`;
      expect(page).toContain(`flotilla_saga_step_duration_seconds_count{${labels}}`);
    }
  });

  it('gives up when its command is refused, and when the other service cannot handle it', async () => {
    const declined = await begin();
    await alpha.answer(Charge, 'refused', { code: 'Declined', message: 'no', data: {} });
    await becomes(declined, 'given up: declined');
    const failed = await begin();
    await alpha.answer(Charge, 'failed', { code: 'BROKEN', message: 'no disk', retry: 'never' });
    await until(async () => (await statusOf(failed))?.startsWith('given up'), {
      describe: `${failed} is given up`,
    });
  });
});

describe('an operator', () => {
  const ask = async (body: unknown): Promise<{ outcome: string | undefined; body: unknown }> => {
    const id = newId();
    const reply = await alpha.broker.request(
      {
        id,
        subject: operatorSubject('alpha'),
        key: id,
        headers: { 'ce-id': id, 'ce-type': 'operator' },
        body: JSON.stringify(body),
      },
      { timeoutMs: 5_000 },
    );
    return { outcome: reply.envelope.outcome, body: reply.json() };
  };

  it('gives up a saga', async () => {
    const tabId = `tab-${newId()}`;
    await alpha.execute(new Begin({ tabId }));
    await until(() => alpha.commands(Charge).some(({ payload }) => payload.tabId === tabId));
    expect(await ask({ action: 'abort', saga: 'tab', id: tabId, reason: 'a test' })).toMatchObject({
      outcome: 'ok',
    });
    await alpha.answer(Charge, 'ok', { chargeId: 'c-1' });
    await until(async () => {
      const [tab] = await alpha.sql<{ status: string }>('SELECT status FROM tabs WHERE tab_id = $1', [tabId]);
      return tab?.status === 'given up: aborted';
    });
  });

  it('is told all that is wrong with a command', async () => {
    const { outcome, body } = await ask({ action: 'pause', saga: '' });
    expect(outcome).toBe('failed');
    expect(body).toMatchObject({
      code: 'INVALID_MESSAGE',
      message: expect.stringMatching(/action: .*saga: .*id: /) as string,
    });
  });
});

describe('a background job', () => {
  it('woken in a unit of work runs after its commit, and outside of it', async () => {
    const unitOfWork = alpha.get(UnitOfWork);
    const jobs = alpha.get(Jobs);
    const tabId = `tab-${newId()}`;
    const seen: unknown[] = [];
    jobs.register('probe', {
      intervalMs: 3_600_000,
      run: async () => {
        const rows = await unitOfWork.query('SELECT status FROM tabs WHERE tab_id = $1', [tabId]);
        seen.push({ rows, inUnit: currentUnitOfWork() !== undefined });
        return false;
      },
    });
    await until(() => seen.length === 1);
    await unitOfWork.run(async () => {
      jobs.wake('probe');
      await unitOfWork.query('INSERT INTO tabs VALUES ($1, $2)', [tabId, 'new']);
    });
    await until(() => seen.length === 2);
    expect(seen[1]).toEqual({ rows: [{ status: 'new' }], inUnit: false });
    const undone = unitOfWork.run(() => {
      jobs.wake('probe');
      return Promise.reject(new Error('undone'));
    });
    await expect(undone).rejects.toThrow('undone');
    expect(seen).toHaveLength(2);
  });
});

describe('two replicas', () => {
  beforeAll(async () => {
    await alpha.startReplica();
  });

  it('react to an event once, however often it comes', async () => {
    const accounts = Array.from({ length: 20 }, account);
    const ids = accounts.map(() => newId());
    for (let round = 0; round < 4; round++) {
      await Promise.all(
        accounts.map((accountId, index) =>
          alpha.publish(new Added({ accountId, amount: 1 }), { id: ids[index] as string }),
        ),
      );
    }
    const consumed = () =>
      alpha.sql<{ lines: number }>(
        'SELECT count(*)::int AS lines FROM statement_lines WHERE account_id = ANY ($1)',
        [accounts],
      );
    await until(async () => (await consumed())[0]?.lines === 20);
    // The last of all is behind the duplicates of its own account.
    const last = new Added({ accountId: accounts[0] as string, amount: 99 });
    await alpha.publish(last);
    await until(
      async () =>
        (
          await alpha.sql('SELECT 1 FROM statement_lines WHERE account_id = $1 AND amount = 99', [
            accounts[0],
          ])
        ).length === 1,
    );
    expect(await consumed()).toEqual([{ lines: 21 }]);
  });

  it('lock what they change before they read it, for requests and for calls in the process', async () => {
    const accountId = account();
    await alpha.execute(new Add({ accountId, amount: 1 }));
    const local = alpha.get(CommandBus);
    const bumps = Array.from({ length: 60 }, (_, index) =>
      index % 3 === 0 ? local.execute(new Bump({ accountId })) : alpha.execute(new Bump({ accountId })),
    );
    await Promise.all(bumps);
    expect(await totalOf(accountId)).toBe(61);
  });
});

describe('the NATS service API', () => {
  it('shows the service and its endpoints', async () => {
    const { connection } = alpha.broker;
    const ping = (await connection.request('$SRV.PING.alpha', undefined, { timeout: 2_000 })).json<{
      name: string;
      version: string;
    }>();
    expect(ping).toMatchObject({ name: 'alpha', version: '0.0.0' });
    const info = (await connection.request('$SRV.INFO.alpha', undefined, { timeout: 2_000 })).json<{
      endpoints: { subject: string }[];
    }>();
    expect(info.endpoints.map(({ subject }) => subject)).toContain('rpc.alpha.Add.v1');
  });
});
