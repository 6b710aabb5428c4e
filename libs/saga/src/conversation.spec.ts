import { z } from 'zod';
import { defineCommand } from '@flotilla/contracts-protocol';
import {
  AuthorisePayment,
  CapturePayment,
  fulfilment,
  OrderReviewed,
  RefundPayment,
  ReleaseStock,
  ReserveStock,
  ScreenOrder,
  ShipmentDispatched,
  ShipmentLost,
  ShipOrder,
  VoidAuthorisation,
  type FulfilmentActions,
  type FulfilmentData,
} from '../test/fixtures/fulfilment.ts';
import { RecordedActions } from '../test/fixtures/recorded-actions.ts';
import { command, defineSaga, local, park, waitFor } from './index.ts';
import { simulateSaga, type SagaSimulation } from './testing/index.ts';

const small: FulfilmentData = { orderId: 'o-1', total: 900, skus: ['A'] };
const large: FulfilmentData = { ...small, total: 50_000 };

type Conversation = SagaSimulation<FulfilmentData, FulfilmentActions>;

let actions: RecordedActions;
beforeEach(() => {
  actions = new RecordedActions();
});

const start = (data: FulfilmentData = small): Conversation =>
  simulateSaga(fulfilment, data, { actions, id: 'o-1' });

const untilReserve = (): Conversation => start().expectCommand(ScreenOrder).reply({ score: 0 });
const untilAuthorise = (): Conversation =>
  untilReserve().expectCommand(ReserveStock).reply({ reservationId: 'r-1' });
const untilCapture = (): Conversation =>
  untilAuthorise().expectCommand(AuthorisePayment).reply({ authorisationId: 'a-1' });
const untilShip = (): Conversation => untilCapture().expectCommand(CapturePayment).reply();
const untilDispatch = (): Conversation => untilShip().expectCommand(ShipOrder).reply({ shipmentId: 's-1' });

const dispatched = { shipmentId: 's-1', orderId: 'o-1', carrier: 'Post' };

describe('an order that goes well', () => {
  it('runs every step in order and completes once', async () => {
    const instance = await start()
      .expectCommand(ScreenOrder, { orderId: 'o-1', total: 900 })
      .reply({ score: 0.1 })
      .expectCommand(ReserveStock, { skus: ['A'] })
      .reply({ reservationId: 'r-1' })
      .expectCommand(AuthorisePayment)
      .reply({ authorisationId: 'a-1' })
      .expectData({ confirmed: true, reservationId: 'r-1', authorisationId: 'a-1' })
      .expectCommand(CapturePayment)
      .reply()
      .expectCommand(ShipOrder)
      .reply({ shipmentId: 's-1' })
      .expectWaiting('dispatched')
      .event(ShipmentDispatched, dispatched)
      .expectCompleted();
    expect(instance.data.carrier).toBe('Post');
    expect(instance.endedAt).toBe(0);
    expect(actions.calls).toEqual(['confirm o-1', 'completed o-1']);
  });

  it('writes one short line of history for each step', async () => {
    await untilDispatch()
      .event(ShipmentLost, { shipmentId: 's-1', orderId: 'o-1' })
      .expectCompleted()
      .inspect((_instance, history) => {
        expect(history.map(({ kind, step }) => `${kind} ${step ?? ''}`.trim())).toEqual([
          'started',
          'replied screen',
          'replied reserve',
          'replied authorise',
          'ran confirm',
          'replied capture',
          'replied ship',
          'event dispatched',
          'completed',
        ]);
      });
  });
});

describe('a refusal', () => {
  it('compensates the steps before, and not the refused one', async () => {
    await untilAuthorise()
      .expectCommand(AuthorisePayment)
      .refuse('Declined', { why: 'no funds' })
      .expectCommand(ReleaseStock, { orderId: 'o-1' })
      .reply()
      .expectCompensated('payment_declined');
    expect(actions.calls).toEqual(['rejected o-1 payment_declined']);
  });

  it('without a handler compensates with its own code', async () => {
    await untilReserve()
      .expectCommand(ReserveStock)
      .refuse('Unavailable', {})
      .expectCompensated('Unavailable');
  });

  it('at the first step leaves nothing to undo', async () => {
    await start().expectCommand(ScreenOrder).refuse('Fraudulent', { rule: 'r7' }).expectCompensated('fraud');
  });

  it('with data that the contract does not allow is not given to the handler', async () => {
    await untilReserve()
      .expectCommand(ReserveStock)
      .refuse('OutOfStock', { skus: 'A' as unknown as string[] })
      .expectCompensated('OutOfStock');
  });

  it('after the pivot parks, and a retry asks again under a new command id', async () => {
    let firstId: string | null = null;
    await untilCapture()
      .inspect((instance) => (firstId = instance.commandId))
      .expectCommand(CapturePayment)
      .refuse('Expired', {})
      .expectParked('capture', 'Expired')
      .retry()
      .inspect((instance) => expect(instance.commandId).not.toBe(firstId))
      .expectCommand(CapturePayment)
      .reply()
      .expectCommand(ShipOrder)
      .reply({ shipmentId: 's-1' })
      .expectWaiting('dispatched');
  });
});

describe('no answer', () => {
  it('is asked again under the same command id, and that answer counts', async () => {
    let firstId: string | null = null;
    await start()
      .inspect((instance) => (firstId = instance.commandId))
      .expectCommand(ScreenOrder)
      .timeout()
      .inspect((instance) =>
        expect(instance).toMatchObject({ commandId: firstId, attempt: 2, waiting: 'reply' }),
      )
      .expectCommand(ScreenOrder)
      .reply({ score: 0 })
      .expectCommand(ReserveStock);
  });

  it('takes the fallback: a small order passes, a large one waits for a review', async () => {
    await start()
      .expectCommand(ScreenOrder)
      .timeout()
      .expectCommand(ScreenOrder)
      .timeout()
      .expectCommand(ReserveStock);
    await start(large)
      .expectCommand(ScreenOrder)
      .timeout()
      .expectCommand(ScreenOrder)
      .timeout()
      .expectWaiting('reviewed')
      .event(OrderReviewed, { orderId: 'o-1', approved: true })
      .expectCommand(ReserveStock);
  });

  it('compensates the step whose effect is unknown too, and ignores its late answer', async () => {
    await untilAuthorise()
      .expectCommand(AuthorisePayment)
      .timeout()
      .reply({ authorisationId: 'late' })
      .inspect(({ data }, history) => {
        expect(data.authorisationId).toBeUndefined();
        expect(history.at(-1)).toMatchObject({
          kind: 'reply-ignored',
          step: 'authorise',
          detail: { direction: 'forward', epoch: 3, outcome: 'ok' },
        });
      })
      .expectCommand(VoidAuthorisation)
      .reply()
      .expectCommand(ReleaseStock)
      .reply()
      .expectCompensated('TIMEOUT');
  });

  it('after the pivot parks, and the answer that comes late lets the saga go on by itself', async () => {
    await untilCapture()
      .expectCommand(CapturePayment)
      .timeout()
      .expectCommand(CapturePayment)
      .timeout()
      .expectCommand(CapturePayment)
      .timeout()
      .expectParked('capture', 'TIMEOUT')
      .reply()
      .expectCommand(ShipOrder);
  });

  it('to a compensation is asked for again and again, then parks', async () => {
    let conversation = untilAuthorise().expectCommand(AuthorisePayment).timeout();
    for (let sending = 1; sending <= 6; sending += 1) {
      conversation = conversation.expectCommand(VoidAuthorisation).timeout();
    }
    await conversation
      .expectParked('authorise', 'TIMEOUT')
      .retry()
      .expectCommand(VoidAuthorisation)
      .reply()
      .expectCommand(ReleaseStock)
      .reply()
      .expectCompensated('TIMEOUT');
  });
});

describe('a technical failure', () => {
  it('before the pivot compensates, the failed step included', async () => {
    await untilReserve()
      .expectCommand(ReserveStock)
      .fail('HANDLER_FAILED')
      .expectCommand(ReleaseStock)
      .refuse('NeverReserved', {})
      .expectCompensated('HANDLER_FAILED');
  });

  it('after the pivot is tried again with growing delays, under new ids, then parks', async () => {
    const ids = new Set<string | null>();
    const note = ({ commandId }: { commandId: string | null }): unknown => ids.add(commandId);
    await untilCapture()
      .inspect(note)
      .expectCommand(CapturePayment)
      .fail()
      .expectWaiting('capture')
      .inspect((instance) =>
        expect(instance).toMatchObject({ waiting: 'retry', dueAt: 1_000, commandId: null }),
      )
      .timeout()
      .inspect(note)
      .expectCommand(CapturePayment)
      .fail()
      .inspect((instance) => expect(instance.dueAt).toBe(3_000))
      .timeout()
      .inspect(note)
      .expectCommand(CapturePayment)
      .fail()
      .expectParked('capture', 'HANDLER_FAILED');
    expect(ids.size).toBe(3);
  });

  it('that no retry can help parks at once after the pivot', async () => {
    await untilCapture()
      .expectCommand(CapturePayment)
      .fail('BAD', { retry: 'never' })
      .expectParked('capture', 'BAD');
  });

  it('is what an answer amounts to that the contract does not allow', async () => {
    await untilReserve()
      .expectCommand(ReserveStock)
      .reply({ reservationId: 7 as unknown as string })
      .expectCommand(ReleaseStock)
      .reply()
      .expectCompensated('INVALID_REPLY');
  });

  it('of a compensation is tried again, then parked; an abort leaves that one and undoes the rest', async () => {
    await untilAuthorise()
      .expectCommand(AuthorisePayment)
      .timeout()
      .expectCommand(VoidAuthorisation)
      .fail()
      .timeout()
      .expectCommand(VoidAuthorisation)
      .fail('GONE', { retry: 'never' })
      .expectParked('authorise', 'GONE')
      .abort()
      .expectCommand(ReleaseStock)
      .reply()
      .expectCompensated('TIMEOUT')
      .inspect((_instance, history) =>
        expect(history).toContainEqual(expect.objectContaining({ kind: 'undo-skipped', step: 'authorise' })),
      );
  });
});

describe('a refused compensation', () => {
  it('is done if the refusal is tolerated, and parks if not', async () => {
    const declined = untilAuthorise().expectCommand(AuthorisePayment).refuse('Declined', { why: '' });
    await declined.expectCommand(ReleaseStock).refuse('Shipped', {}).expectParked('reserve', 'Shipped');
  });
});

describe('a cancellation', () => {
  it('waits for the step in flight, then undoes it with the others', async () => {
    await untilAuthorise()
      .expectCommand(AuthorisePayment)
      .cancel()
      .cancel()
      .reply({ authorisationId: 'a-1' })
      .expectCommand(VoidAuthorisation)
      .reply()
      .expectCommand(ReleaseStock)
      .reply()
      .expectCompensated('cancelled');
    expect(actions.calls).toEqual(['rejected o-1 cancelled']);
  });

  it.each(['timeout', 'fail'] as const)('takes a %s of the step in flight as reason enough', async (how) => {
    await untilAuthorise()
      .expectCommand(AuthorisePayment)
      .cancel()
      [how]()
      .expectCommand(VoidAuthorisation)
      .reply()
      .expectCommand(ReleaseStock)
      .reply()
      .expectCompensated('cancelled');
  });

  it('does not undo a step in flight that is then refused', async () => {
    await untilReserve()
      .expectCommand(ReserveStock)
      .cancel()
      .refuse('OutOfStock', { skus: ['A'] })
      .expectCompensated('cancelled');
  });

  it('is possible after the pivot, until the step that the definition names', async () => {
    await untilCapture()
      .expectCommand(CapturePayment)
      .cancel()
      .reply()
      .expectCommand(RefundPayment)
      .reply()
      .expectCommand(VoidAuthorisation)
      .reply()
      .expectCommand(ReleaseStock)
      .reply()
      .expectCompensated('cancelled');
    expect(actions.calls).toEqual(['confirm o-1', 'withdraw o-1', 'rejected o-1 cancelled']);
  });

  it('comes too late from then on, where an abort by an operator does not', async () => {
    await untilShip().expectCommand(ShipOrder).cancel('late', 'tooLate').reply({ shipmentId: 's-1' });
    await untilDispatch().cancel('late', 'tooLate').abort().expectCommand(RefundPayment);
  });

  it('while it waits for an event takes effect at once', async () => {
    await start(large)
      .expectCommand(ScreenOrder)
      .timeout()
      .expectCommand(ScreenOrder)
      .timeout()
      .cancel()
      .expectCompensated('cancelled');
  });

  it('is answered by what has become of the saga', async () => {
    await untilReserve()
      .expectCommand(ReserveStock)
      .fail()
      .cancel('again', 'alreadyCompensating')
      .expectCommand(ReleaseStock)
      .reply()
      .expectCompensated('HANDLER_FAILED')
      .cancel('again', 'alreadyEnded')
      .abort('again', 'alreadyEnded')
      .retry('notParked');
  });

  it('of a parked saga undoes the parked step too', async () => {
    await untilCapture()
      .expectCommand(CapturePayment)
      .refuse('Expired', {})
      .expectParked('capture')
      .cancel()
      .expectCommand(RefundPayment)
      .reply()
      .expectCommand(VoidAuthorisation);
  });
});

describe('an event', () => {
  it('that comes early is kept and used when its step is reached', async () => {
    await untilCapture()
      .event(ShipmentDispatched, dispatched)
      .expectCommand(CapturePayment)
      .reply()
      .expectCommand(ShipOrder)
      .reply({ shipmentId: 's-1' })
      .expectCompleted()
      .inspect(({ data, buffer }) => {
        expect(data.carrier).toBe('Post');
        expect(buffer).toEqual([]);
      });
  });

  it('that no step waits for any more is ignored, in the history', async () => {
    await untilReserve()
      .event(OrderReviewed, { orderId: 'o-1', approved: false })
      .inspect((_instance, history) => expect(history.at(-1)?.kind).toBe('event-ignored'))
      .expectCommand(ReserveStock);
  });

  it('can refuse', async () => {
    await start(large)
      .expectCommand(ScreenOrder)
      .timeout()
      .expectCommand(ScreenOrder)
      .timeout()
      .event(OrderReviewed, { orderId: 'o-1', approved: false })
      .expectCompensated('fraud');
  });

  it('that does not come compensates before the pivot and parks after it; coming late, it lets the saga go on', async () => {
    await start(large)
      .expectCommand(ScreenOrder)
      .after(4_000)
      .expectCommand(ScreenOrder)
      .after(86_400_000)
      .expectCompensated('TIMEOUT');
    await untilDispatch()
      .timeout()
      .expectParked('dispatched', 'TIMEOUT')
      .event(ShipmentDispatched, dispatched)
      .expectCompleted();
  });
});

describe('a duplicate answer', () => {
  it('changes nothing', async () => {
    await untilReserve()
      .expectCommand(ReserveStock)
      .reply({ reservationId: 'r-1' })
      .reply({ reservationId: 'r-2' })
      .inspect(({ data }) => expect(data.reservationId).toBe('r-1'))
      .expectCommand(AuthorisePayment);
  });
});

describe('a local action', () => {
  it('that refuses compensates', async () => {
    actions.failWith.confirm = CapturePayment.failure('Expired', {});
    await untilCapture()
      .expectCommand(VoidAuthorisation)
      .reply()
      .expectCommand(ReleaseStock)
      .reply()
      .expectCompensated('Expired');
  });

  it('that fails otherwise fails the unit of work', async () => {
    actions.failWith.confirm = new Error('database gone');
    await expect(untilCapture()).rejects.toThrow('database gone');
  });

  it('that refuses as a compensation parks', async () => {
    actions.failWith.withdraw = CapturePayment.failure('Expired', {});
    await untilCapture()
      .expectCommand(CapturePayment)
      .cancel()
      .reply()
      .expectCommand(RefundPayment)
      .reply()
      .expectParked('confirm', 'Expired');
  });
});

describe('other shapes', () => {
  class Ping extends defineCommand({
    owner: 'a',
    name: 'Ping',
    version: 1,
    payload: z.object({ n: z.int() }),
  }) {}

  it('a faulty function of the definition parks the saga at its step, and a retry tries again', async () => {
    let broken = true;
    const saga = defineSaga<{ n: number }>({ name: 'faulty', version: 1 }, [
      command('first', Ping, {
        send: ({ n }) => ({ n }),
        onReply: (data) => {
          if (broken) throw new RangeError('not again');
          return data;
        },
      }),
    ]);
    await simulateSaga(saga, { n: 1 })
      .expectCommand(Ping)
      .reply()
      .expectParked('first', 'SAGA_DEFINITION_FAULT')
      .inspect(({ parked }) => {
        expect(parked?.message).toBe('Step "first": onReply threw RangeError: not again');
        broken = false;
      })
      .retry()
      .expectCommand(Ping)
      .reply()
      .expectCompleted();
  });

  it('a fault at the start is thrown to whoever starts it', async () => {
    const saga = defineSaga<{ n: number }>({ name: 'faulty', version: 1 }, [
      command('first', Ping, { send: ({ n }) => ({ n }) }),
    ]);
    await expect(simulateSaga(saga, { n: 0.5 })).rejects.toThrow(
      'Step "first": send threw InvalidMessageError',
    );
  });

  it('parks where a function says so; an abort then compensates', async () => {
    const saga = defineSaga<{ n: number }>({ name: 'parking', version: 1 }, [
      command('first', Ping, {
        send: ({ n }) => ({ n }),
        onReply: () => park('look', 'Somebody must look'),
        compensate: { command: Ping, send: ({ n }) => ({ n: -n }) },
      }),
    ]);
    await simulateSaga(saga, { n: 1 })
      .expectCommand(Ping)
      .reply()
      .expectParked('first', 'look')
      .abort()
      .expectCommand(Ping, { n: -1 })
      .reply()
      .expectCompensated('aborted');
  });

  it('local steps only: it is over when it is started', async () => {
    const saga = defineSaga<{ n: number }, { add(n: number): Promise<number> }>(
      { name: 'sums', version: 1 },
      [
        local('one', { run: async ({ n }, { add }) => ({ n: await add(n) }) }),
        local('two', { run: async ({ n }, { add }) => ({ n: await add(n) }) }),
      ],
    );
    await simulateSaga(saga, { n: 1 }, { actions: { add: async (n) => n + 1 } })
      .expectCompleted()
      .expectData({ n: 3 });
  });

  it('an undo that has nothing to do is passed over', async () => {
    const saga = defineSaga<{ n: number }>({ name: 'nothing', version: 1 }, [
      command('first', Ping, {
        send: ({ n }) => ({ n }),
        compensate: { command: Ping, send: () => undefined },
      }),
      waitFor('forever', OrderReviewed, { timeoutMs: 1_000 }),
    ]);
    await simulateSaga(saga, { n: 1 }).expectCommand(Ping).reply().timeout().expectCompensated('TIMEOUT');
  });

  it('notices data that does not survive JSON', async () => {
    const saga = defineSaga<{ at: Date }>({ name: 'dates', version: 1 }, [
      waitFor('forever', OrderReviewed, { timeoutMs: 1_000 }),
    ]);
    await expect(simulateSaga(saga, { at: new Date(0) })).rejects.toThrow('does not survive it');
  });
});

describe('an expectation that fails', () => {
  it('says where the saga is, and points at its own line', async () => {
    const failure = await simulateSaga(fulfilment, small, { actions })
      .expectCommand(ReserveStock)
      .then(
        () => undefined,
        (error: unknown) => error as Error,
      );
    expect(failure?.message).toContain(
      'Expected inventory.ReserveStock.v1, but fraud.ScreenOrder.v1 was sent',
    );
    expect(failure?.message).toContain(
      'The answer to fraud.ScreenOrder.v1 (step "screen", sending 1 of 2, for 2.0s more)',
    );
    expect(failure?.stack).toContain('conversation.spec.ts');
  });
});
