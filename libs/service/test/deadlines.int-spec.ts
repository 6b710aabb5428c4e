import { readFailure, rpcSubject, type AnyMessage } from '@flotilla/contracts-protocol';
import { newId, systemClock } from '@flotilla/kernel';
import type { IncomingMessage } from '@flotilla/messaging';
import { until } from '@flotilla/testing';
import { startTestService, type TestService } from '../src/testing/index.ts';
import { OutgoingMessages } from '../src/outgoing.ts';
import { AlphaConfig } from './fixtures/alpha/alpha.config.ts';
import { AlphaModule } from './fixtures/alpha/alpha.module.ts';
import { Add, AskBalance, GetBalance, GetTotal, Sleep, Wait } from './fixtures/contracts.ts';

let alpha: TestService;
beforeAll(async () => {
  alpha = await startTestService({
    module: AlphaModule,
    config: AlphaConfig,
    env: {
      UNIT_OF_WORK_LANES: '1',
      CALL_POLICIES: 'beta.breakerCalls=4,beta.attempts=1,beta.breakerRestMs=300',
    },
  });
});
afterAll(() => alpha.stop());

/** A request of a caller that says when it stops waiting, but stays to hear the answer. */
async function ask(message: AnyMessage, withinMs: number): Promise<{ outcome: string; code?: string }> {
  const request = new OutgoingMessages('patient', systemClock).request(message, Date.now() + withinMs);
  const answer: IncomingMessage = await alpha.broker.request(request, { timeoutMs: 10_000 });
  const { outcome = 'ok' } = answer.envelope;
  return outcome === 'failed' ? { outcome, code: readFailure(answer.json()).code } : { outcome };
}
const sleeping = async (): Promise<number> =>
  (
    await alpha.sql<{ n: number }>(
      `SELECT count(*)::int AS n FROM pg_stat_activity
       WHERE datname = current_database() AND state = 'active' AND wait_event = 'PgSleep'`,
    )
  )[0]?.n ?? 0;
const exceeded = { outcome: 'failed', code: 'DEADLINE_EXCEEDED' };

describe('a request whose caller stops waiting', () => {
  it('ends in the database too, and the connection serves the next', async () => {
    const answer = ask(new Sleep({ seconds: 30 }), 1_500);
    await until(async () => (await sleeping()) === 1, { describe: 'the statement runs' });
    expect(await answer).toEqual(exceeded);
    expect(await sleeping()).toBe(0);
    expect(await alpha.query(new Sleep({ seconds: 0 }))).toEqual({});
  });

  it('is cut as a command in a commit group without harm to the others, and is done when it comes again', async () => {
    const accounts = [newId(), newId(), newId()];
    const add = (accountId = '', takesMs = 0): Add => new Add({ accountId, amount: 1, takesMs });
    const [first, cut, third] = await Promise.all([
      ask(add(accounts[0]), 5_000),
      ask(add(accounts[1], 30_000), 400),
      ask(add(accounts[2]), 5_000),
    ]);
    expect([first, cut, third]).toEqual([{ outcome: 'ok' }, exceeded, { outcome: 'ok' }]);
    await expect(alpha.query(new GetTotal({ accountId: accounts[1] ?? '' }))).rejects.toMatchObject({
      code: 'UnknownAccount',
    });
    expect(await ask(add(accounts[1]), 5_000)).toEqual({ outcome: 'ok' });
  });

  it('ends what heeds the signal of its context', async () => {
    expect(await ask(new Wait({}), 300)).toEqual(exceeded);
  });

  it('ends the calls that are made for it, which get no more time than it has', async () => {
    const deadlines: number[] = [];
    const beta = await alpha.broker.serve(
      rpcSubject(GetBalance.contract),
      { queue: 'beta', maxInFlight: 10 },
      ({ envelope }) => {
        deadlines.push(envelope.deadline ?? Infinity);
        return new Promise<never>(() => undefined);
      },
    );
    const before = Date.now();
    // GetBalance alone could wait for 10 seconds.
    expect(await ask(new AskBalance({ accountId: 'a' }), 1_000)).toEqual(exceeded);
    expect(deadlines).toHaveLength(1);
    expect((deadlines[0] ?? 0) - before).toBeLessThan(3_000);
    await beta.stop({ drainMs: 0 });
  });
});

describe('a service that is called and is not there', () => {
  const ready = async (): Promise<{ status: string; policies: { status: string; message?: string } }> => {
    const response = await fetch(`${alpha.url}/health/ready`, { headers: { connection: 'close' } });
    const { status, details } = (await response.json()) as {
      status: string;
      details: { policies: { status: string; message?: string } };
    };
    return { status, policies: details.policies };
  };

  it('opens its breaker, which health and metrics show, and closes it by coming back', async () => {
    for (let call = 0; call < 4; call += 1) await ask(new AskBalance({ accountId: 'a' }), 2_000);
    await expect(alpha.query(new AskBalance({ accountId: 'a' }))).rejects.toMatchObject({
      remoteCode: 'BREAKER_OPEN',
      retry: 'later',
    });
    await until(async () => (await ready()).policies.status === 'degraded', {
      describe: 'health tells of it',
    });
    expect((await ready()).policies.message).toContain('Breakers are open: beta');
    const page = await (await fetch(`${alpha.url}/metrics`)).text();
    expect(page).toContain('flotilla_breaker_state{policy="beta",state="closed",service="alpha"} 0');
    expect(page).toContain('flotilla_policy_retries_left{policy="beta.GetBalance.v1",service="alpha"}');
    expect(page).not.toContain('flotilla_breaker_state{policy="beta.GetBalance.v1"');
    expect(page).toMatch(
      /flotilla_policy_call_duration_seconds_count\{.*policy="beta",outcome="breaker-open"\} \d/,
    );

    const outgoing = alpha.get(OutgoingMessages);
    await alpha.broker.serve(rpcSubject(GetBalance.contract), { queue: 'beta', maxInFlight: 10 }, (message) =>
      Promise.resolve(outgoing.reply(message.envelope, newId(), 'ok', { balance: 7 })),
    );
    await until(() => alpha.query(new AskBalance({ accountId: 'a' })), {
      describe: 'the trial call succeeds',
    });
    await until(async () => (await ready()).policies.status === 'up', { describe: 'health is well again' });
  });
});
