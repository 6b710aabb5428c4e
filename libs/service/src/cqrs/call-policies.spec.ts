import {
  BusinessError,
  decodeEnvelope,
  defineCommand,
  defineQuery,
  type AnyMessage,
} from '@flotilla/contracts-protocol';
import { NoRespondersError, OverloadedError, RequestTimeoutError, type Broker } from '@flotilla/messaging';
import { createMetrics, runWithContext } from '@flotilla/observability';
import { PolicyRegistry } from '@flotilla/resilience';
import { ManualClock } from '@flotilla/testing';
import { z } from 'zod';
import { OutgoingMessages, withMessageId } from '../outgoing.ts';
import { RemoteFailureError } from '../service.errors.ts';
import { CallPolicies, isFallback } from './call-policies.ts';
import {
  callPolicy,
  InvalidCallPoliciesError,
  ownerPolicy,
  parseCallOverrides,
  type CallPolicySpec,
} from './call-policies.options.ts';
import { RemoteCalls } from './remote-calls.ts';

class GetStock extends defineQuery({
  owner: 'inventory',
  name: 'GetStock',
  version: 1,
  payload: z.object({ sku: z.string() }),
  reply: z.object({ onHand: z.number() }),
  errors: { SkuNotFound: z.object({}) },
  timeoutMs: 1_000,
}) {}
class ReceiveStock extends defineCommand({
  owner: 'inventory',
  name: 'ReceiveStock',
  version: 1,
  payload: z.object({ sku: z.string() }),
  timeoutMs: 1_000,
}) {}
class GetPayment extends defineQuery({
  owner: 'payments',
  name: 'GetPayment',
  version: 1,
  payload: z.object({}),
  reply: z.object({}),
  timeoutMs: 1_000,
}) {}

type Answer = (attempt: number, timeoutMs: number) => Promise<unknown>;

const ok = (): Promise<unknown> => Promise.resolve({ onHand: 3 });
const fails =
  (error: Error): Answer =>
  () =>
    Promise.reject(error);
const failed = (code: string, retry: 'never' | 'later' = 'later'): RemoteFailureError =>
  new RemoteFailureError('inventory.GetStock.v1', code, 'no', retry);
const nobody = new NoRespondersError('rpc.inventory.GetStock.v1');

/** A service that calls inventory and payments, on a broker that answers as the test says. */
function service(specs: CallPolicySpec[] = [], callPolicies = '') {
  const clock = new ManualClock();
  const metrics = createMetrics({ service: 'shop', process: false, clock });
  const policies = new PolicyRegistry({ clock, metrics, random: () => 0 });
  const calls = [GetStock, ReceiveStock, GetPayment];
  const overrides = callPolicies === '' ? [] : parseCallOverrides(callPolicies);
  const made = new CallPolicies({ name: 'shop', calls }, specs, overrides, policies, clock, metrics);
  const sent: { readonly subject: string; readonly id: string; readonly timeoutMs: number }[] = [];
  const outgoing = new OutgoingMessages('shop', clock);
  const it = {
    clock,
    policies,
    sent,
    metrics,
    answer: ok as Answer,
    remote: undefined as unknown as RemoteCalls,
    /** The outcome of a call, whatever it is. */
    async outcome(message: AnyMessage, stepMs = 0): Promise<unknown> {
      let over = false;
      const outcome = it.remote
        .call(message)
        .catch((error: unknown) => error)
        .finally(() => (over = true));
      // The delays between attempts are none, but are waited for.
      while (!over) await clock.advance(stepMs);
      return outcome;
    },
  };
  const broker = {
    async request(message: { subject: string; id: string }, options: { timeoutMs: number }) {
      sent.push({ subject: message.subject, id: message.id, timeoutMs: options.timeoutMs });
      const body = await it.answer(sent.length, options.timeoutMs);
      const headers = outgoing.reply(
        decodeEnvelope((name) => HEADERS[name]),
        'r',
        'ok',
        body,
      ).headers;
      return { envelope: decodeEnvelope((name) => headers[name]), json: () => body };
    },
  } as unknown as Broker;
  it.remote = new RemoteCalls(broker, outgoing, clock, metrics, made);
  return it;
}
const HEADERS: Record<string, string> = { 'ce-id': 'c', 'ce-type': 'inventory.GetStock.v1' };

const stock = (): GetStock => new GetStock({ sku: 'LAMP' });

describe('a call that fails', () => {
  it.each([
    ['nobody there', nobody],
    ['overloaded', failed('OVERLOADED')],
    ['a technical failure that may pass', failed('BROKEN')],
  ])('is repeated, the same message: %s', async (_what, error: Error) => {
    const shop = service();
    shop.answer = (attempt) => (attempt < 3 ? Promise.reject(error) : ok());
    expect(await shop.outcome(stock())).toEqual({ onHand: 3 });
    expect(new Set(shop.sent.map(({ id }) => id)).size).toBe(1);
    expect(shop.sent).toHaveLength(3);
  });

  it.each([
    ['a refusal', new BusinessError('inventory.GetStock.v1', 'SkuNotFound', {})],
    ['what never works', failed('INVALID_MESSAGE', 'never')],
    ['a breaker behind the owner', failed('BREAKER_OPEN')],
  ])('is not repeated: %s', async (_what, error) => {
    const shop = service();
    shop.answer = fails(error);
    expect(await shop.outcome(stock())).toBe(error);
    expect(shop.sent).toHaveLength(1);
  });

  it('is repeated as a command only if it has an id of its own, or reached nobody', async () => {
    const shop = service();
    const command = (): ReceiveStock => new ReceiveStock({ sku: 'LAMP' });
    shop.answer = fails(failed('OVERLOADED'));
    await shop.outcome(command());
    expect(shop.sent.splice(0)).toHaveLength(1);
    await shop.outcome(withMessageId(command(), 'order-1'));
    expect(shop.sent.splice(0).map(({ id }) => id)).toEqual(['order-1', 'order-1', 'order-1']);
    shop.answer = fails(nobody);
    await shop.outcome(command());
    expect(shop.sent).toHaveLength(3);
  });

  it('shares the time of the contract among its attempts', async () => {
    const shop = service([callPolicy(GetStock, { attemptTimeoutMs: 400 })]);
    shop.answer = async (_attempt, timeoutMs) => {
      await shop.clock.sleep(timeoutMs);
      throw new RequestTimeoutError('rpc', timeoutMs);
    };
    expect(await shop.outcome(stock(), 100)).toBeInstanceOf(RequestTimeoutError);
    expect(shop.sent.map(({ timeoutMs }) => timeoutMs)).toEqual([400, 400, 200]);
  });

  it('ends with the deadline of our own caller, and says so', async () => {
    const shop = service();
    shop.answer = async (_attempt, timeoutMs) => {
      await shop.clock.sleep(timeoutMs);
      throw new RequestTimeoutError('rpc', timeoutMs);
    };
    const error = await runWithContext({ deadline: shop.clock.now() + 300 }, () =>
      shop.outcome(stock(), 100),
    );
    expect(error).toMatchObject({ code: 'DEADLINE_EXCEEDED', retry: 'never' });
    expect(shop.sent).toMatchObject([{ timeoutMs: 300 }]);
    const late = await runWithContext({ deadline: shop.clock.now() }, () => shop.outcome(stock()));
    expect(late).toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    expect(shop.sent).toHaveLength(1);
  });

  it('spends the retries of its owner, no more', async () => {
    const shop = service([
      ownerPolicy('inventory', { retryRatio: 0, retriesPerSecond: 0.3, breakerCalls: 500 }),
    ]);
    shop.answer = fails(failed('BROKEN'));
    for (let call = 0; call < 10; call += 1) await shop.outcome(stock());
    expect(shop.sent).toHaveLength(10 + 3);
  });
});

describe('the breaker of an owner', () => {
  const opened = async (error: Error): Promise<ReturnType<typeof service>> => {
    const shop = service([ownerPolicy('inventory', { attempts: 1, breakerCalls: 4, breakerRestMs: 5_000 })]);
    shop.answer = fails(error);
    for (let call = 0; call < 4; call += 1) await shop.outcome(stock());
    return shop;
  };

  it.each([
    ['nobody there', nobody],
    ['time-outs', new RequestTimeoutError('rpc', 1_000)],
    ['OVERLOADED', failed('OVERLOADED')],
  ])('opens on %s, for all its contracts and for nobody else', async (_what, error) => {
    const shop = await opened(error);
    const asked = shop.sent.length;
    expect(await shop.outcome(new ReceiveStock({ sku: 'LAMP' }))).toMatchObject({
      code: 'BREAKER_OPEN',
      policy: 'inventory',
      retryAfterMs: expect.any(Number) as number,
    });
    expect(shop.sent).toHaveLength(asked);
    shop.answer = () => Promise.resolve({});
    expect(await shop.outcome(new GetPayment({}))).toEqual({});
    expect(() => shop.policies.assertClosed()).toThrow('Breakers are open: inventory');
  });

  it.each([
    ['refusals', new BusinessError('inventory.GetStock.v1', 'SkuNotFound', {})],
    ['failures of single messages', failed('BROKEN', 'never')],
  ])('stays closed on %s', async (_what, error) => {
    const shop = await opened(error);
    expect(shop.policies.get('inventory')?.state().breaker).toBe('closed');
  });

  it('learns nothing from an answer that had too little time', async () => {
    const shop = service([ownerPolicy('inventory', { breakerCalls: 2 })]);
    shop.answer = (_attempt, timeoutMs) => Promise.reject(new RequestTimeoutError('rpc', timeoutMs));
    const within = (ms: number): Promise<unknown> =>
      runWithContext({ deadline: shop.clock.now() + ms }, () => shop.outcome(stock()));
    for (let call = 0; call < 5; call += 1) await within(499);
    expect(shop.policies.get('inventory')?.state().breaker).toBe('closed');
    await within(500);
    expect(shop.policies.get('inventory')?.state().breaker).toBe('open');
  });
});

describe('the bulkhead of an owner', () => {
  it('bounds what a dead service holds, and nothing of the others', async () => {
    const shop = service([ownerPolicy('inventory', { maxConcurrent: 2, queue: 1 })]);
    const { promise, resolve } = Promise.withResolvers<unknown>();
    shop.answer = () => promise;
    const held = [stock(), stock(), stock()].map((query) => shop.remote.call(query));
    await shop.clock.advance(0);
    expect(shop.sent).toHaveLength(2);
    expect(await shop.outcome(stock())).toMatchObject({ code: 'BULKHEAD_FULL', policy: 'inventory' });
    void shop.remote.call(new GetPayment({})).catch(() => undefined);
    await shop.clock.advance(0);
    expect(shop.sent.at(-1)?.subject).toBe('rpc.payments.GetPayment.v1');
    resolve({ onHand: 3 });
    expect(await Promise.all(held)).toEqual([{ onHand: 3 }, { onHand: 3 }, { onHand: 3 }]);
  });
});

describe('the fallback of a query', () => {
  it('answers in its place, marked and counted', async () => {
    const shop = service([
      callPolicy(GetStock, {
        attempts: 1,
        fallback: { answer: ({ payload }) => ({ onHand: payload.sku.length }) },
      }),
    ]);
    shop.answer = fails(nobody);
    const answer = await shop.outcome(stock());
    expect([answer, isFallback(answer)]).toEqual([{ onHand: 4 }, true]);
    const page = await shop.metrics.scrape();
    expect(page).toContain(
      'flotilla_policy_fallbacks_total{policy="inventory.GetStock.v1",service="shop"} 1',
    );
    expect(page).toMatch(/flotilla_request_duration_seconds_count\{.*outcome="fallback"\} 1/);
    shop.answer = fails(new BusinessError('inventory.GetStock.v1', 'SkuNotFound', {}));
    expect(await shop.outcome(stock())).toMatchObject({ code: 'SkuNotFound' });
  });

  it('answers after a time-out too, but no caller that has left', async () => {
    const shop = service([callPolicy(GetStock, { fallback: { answer: () => ({ onHand: 0 }) } })]);
    shop.answer = async (_attempt, timeoutMs) => {
      await shop.clock.sleep(timeoutMs);
      throw new RequestTimeoutError('rpc', timeoutMs);
    };
    expect(await shop.outcome(stock(), 100)).toEqual({ onHand: 0 });
    const within = (ms: number): Promise<unknown> =>
      runWithContext({ deadline: shop.clock.now() + ms }, () => shop.outcome(stock(), 100));
    expect(await within(2_000)).toEqual({ onHand: 0 });
    expect(await within(1_000)).toMatchObject({ code: 'DEADLINE_EXCEEDED' });
  });

  it('may be the last answer to the same question', async () => {
    const shop = service([callPolicy(GetStock, { attempts: 1, fallback: { lastAnswersMs: 60_000 } })]);
    const first = await shop.outcome(stock());
    expect([first, isFallback(first)]).toEqual([{ onHand: 3 }, false]);
    shop.answer = fails(nobody);
    const again = await shop.outcome(stock());
    expect([again, isFallback(again)]).toEqual([{ onHand: 3 }, true]);
    expect(await shop.outcome(new GetStock({ sku: 'CHAIR' }))).toBe(nobody);
    await shop.clock.advance(60_001);
    expect(await shop.outcome(stock())).toBe(nobody);
  });
});

describe('what is said of calls', () => {
  it('is overridden by the operator, the most specific last', async () => {
    const shop = service(
      [callPolicy(GetStock, { attempts: 5 }), ownerPolicy('inventory', { maxConcurrent: 7 })],
      '*.attempts=4, inventory.maxConcurrent=9 ,inventory.GetStock.v1.attempts=2',
    );
    expect(shop.policies.get('inventory')?.options.bulkhead?.maxConcurrent).toBe(9);
    const attempts = (name: string): unknown => shop.policies.get(name)?.options.retry?.attempts;
    expect([attempts('inventory.GetStock.v1'), attempts('payments.GetPayment.v1')]).toEqual([2, 4]);
    shop.answer = fails(failed('BROKEN'));
    await shop.outcome(stock());
    expect(shop.sent).toHaveLength(2);
  });

  it('has to fit the manifest; everything that does not is said at once', () => {
    class Unknown extends defineQuery({
      owner: 'fraud',
      name: 'Unknown',
      version: 1,
      payload: z.object({}),
      reply: z.object({}),
    }) {}
    const made = (): unknown =>
      service(
        [
          callPolicy(Unknown, {}),
          callPolicy(GetStock, { attempts: 0 }),
          callPolicy(ReceiveStock, { fallback: { answer: () => undefined as never } }),
          ownerPolicy('payments', {}),
          ownerPolicy('payments', { queue: -1 }),
        ],
        'catalog.attempts=2',
      );
    expect(made).toThrow(InvalidCallPoliciesError);
    for (const problem of [
      'fraud.Unknown.v1 is not among the calls in src/shop.service.ts',
      'retry.attempts is 0',
      'inventory.ReceiveStock.v1 is a command, which has no fallback',
      'payments is there twice',
      'catalog.attempts: "shop" calls inventory, payments',
    ]) {
      expect(made).toThrow(problem);
    }
  });

  it.each([
    ['maxConcurrent=5', 'is not <contract, owner or *>.<option>=<number>'],
    ['inventory.speed=5', 'an owner has attempts, attemptTimeoutMs, maxConcurrent'],
    ['inventory.GetStock.v1.queue=5', 'a contract has attempts, attemptTimeoutMs'],
    ['inventory.queue=many', 'many is not a number'],
  ])('%s is refused', (text, problem) => {
    expect(() => parseCallOverrides(text)).toThrow(problem);
  });
});

it('an overload that the broker itself reports is repeated too', async () => {
  const shop = service();
  shop.answer = (attempt) => (attempt < 2 ? Promise.reject(new OverloadedError('rpc', 1)) : ok());
  expect(await shop.outcome(stock())).toEqual({ onHand: 3 });
});
