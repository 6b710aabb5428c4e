import { ManualClock } from '@flotilla/testing';
import { jest } from '@jest/globals';
import {
  AuthorisePayment,
  fulfilment,
  OrderReviewed,
  ReserveStock,
  ScreenOrder,
  ShipmentDispatched,
  type FulfilmentData,
} from '../test/fixtures/fulfilment.ts';
import { RecordedActions } from '../test/fixtures/recorded-actions.ts';

import { command, defineSaga } from './index.ts';
import { bindSaga, SagaEngine, type OutgoingSagaCommand, type SagaChange } from './engine.ts';
import { InMemorySagaStore } from './in-memory-store.ts';
import { sagaCommandId, type SagaInstance } from './instance.ts';
import { SagaAlreadyStartedError, SagaVersionConflictError, UnknownSagaError } from './saga.errors.ts';

const order: FulfilmentData = { orderId: 'o-1', total: 900, skus: ['A'] };

function setUp() {
  const store = new InMemorySagaStore();
  const clock = new ManualClock(1_000_000);
  const actions = new RecordedActions();
  const sent: OutgoingSagaCommand[] = [];
  const changes: SagaChange[] = [];
  const transport = { send: jest.fn((message: OutgoingSagaCommand): void => void sent.push(message)) };
  const engine = new SagaEngine({
    store,
    clock,
    transport,
    sagas: [bindSaga(fulfilment, actions)],
    onChange: (change) => changes.push(change),
  });
  const replyTo = (message: OutgoingSagaCommand | undefined, body: unknown) => {
    if (message === undefined) throw new Error('nothing was sent');
    const { sagaId, commandId } = message;
    return engine.handleReply({ sagaId, commandId, outcome: 'ok', body });
  };
  const load = async (): Promise<SagaInstance> => {
    const instance = await store.load({ saga: 'fulfilment', id: 'o-1' });
    if (instance === undefined) throw new Error('not stored');
    return instance;
  };
  return { store, clock, actions, sent, changes, transport, engine, replyTo, load };
}

describe('starting', () => {
  it('writes the instance and sends its first command with everything that the service needs', async () => {
    const { engine, sent, load } = setUp();
    await expect(engine.start(fulfilment, 'o-1', order, { correlationId: 'corr' })).resolves.toEqual({
      saga: 'fulfilment',
      id: 'o-1',
    });
    const commandId = sagaCommandId({ saga: 'fulfilment', id: 'o-1' }, 'screen', 'forward', 1);
    expect(sent).toEqual([
      {
        command: new ScreenOrder({ orderId: 'o-1', total: 900 }),
        commandId,
        messageId: commandId,
        sagaId: 'fulfilment:o-1',
        key: 'o-1',
        correlationId: 'corr',
        first: true,
      },
    ]);
    await expect(load()).resolves.toMatchObject({
      revision: 1,
      status: 'running',
      step: 'screen',
      dueAt: 1_002_000,
    });
  });

  it('twice is an error', async () => {
    const { engine } = setUp();
    await engine.start(fulfilment, 'o-1', order);
    await expect(engine.start(fulfilment, 'o-1', order)).rejects.toThrow(SagaAlreadyStartedError);
  });

  it('needs a registered definition', async () => {
    const { engine } = setUp();
    const other = defineSaga<FulfilmentData>({ name: 'other', version: 2 }, [
      command('screen', ScreenOrder, { send: ({ orderId, total }) => ({ orderId, total }) }),
    ]);
    await expect(engine.start(other, 'o-1', order)).rejects.toThrow(
      new UnknownSagaError('other v2', ['fulfilment v1']).message,
    );
  });

  it('refuses to register one version twice', () => {
    const { store, clock, transport, actions } = setUp();
    const twice = bindSaga(fulfilment, actions);
    expect(() => new SagaEngine({ store, clock, transport, sagas: [twice, twice] })).toThrow(
      'fulfilment v1 is registered twice',
    );
  });
});

describe('an answer', () => {
  it('moves the instance by one revision and sends the next command, all or nothing', async () => {
    const { engine, store, sent, replyTo, load, transport } = setUp();
    await engine.start(fulfilment, 'o-1', order);
    transport.send.mockImplementationOnce(() => {
      throw new Error('outbox closed');
    });
    await expect(store.run(() => replyTo(sent[0], { score: 0 }))).rejects.toThrow('outbox closed');
    await expect(load()).resolves.toMatchObject({ revision: 1, step: 'screen' });

    await expect(store.run(() => replyTo(sent[0], { score: 0 }))).resolves.toEqual({ outcome: 'applied' });
    await expect(load()).resolves.toMatchObject({ revision: 2, step: 'reserve' });
    expect(sent[1]?.command).toBeInstanceOf(ReserveStock);
  });

  it('for an instance that is not there is unknown; for an old command, ignored', async () => {
    const { engine, sent, replyTo, load } = setUp();
    const reply = { commandId: 'c', outcome: 'ok', body: {} } as const;
    await expect(engine.handleReply({ ...reply, sagaId: 'fulfilment:o-2' })).resolves.toEqual({
      outcome: 'unknown',
    });
    await expect(engine.handleReply({ ...reply, sagaId: 'nonsense' })).resolves.toEqual({
      outcome: 'unknown',
    });
    await engine.start(fulfilment, 'o-1', order);
    await replyTo(sent[0], { score: 0 });
    await expect(replyTo(sent[0], { score: 0 })).resolves.toEqual({
      outcome: 'ignored',
      why: 'the saga no longer waits for the answer to step "screen" (forward)',
    });
    await expect(engine.handleReply({ ...reply, sagaId: 'fulfilment:o-1' })).resolves.toMatchObject({
      outcome: 'ignored',
      why: `command c is not one of this saga's`,
    });
    await expect(load()).resolves.toMatchObject({ revision: 2 });
    const kinds = (await engine.history(fulfilment, 'o-1')).map(({ kind }) => kind);
    expect(kinds).toEqual(['started', 'replied', 'reply-ignored', 'reply-ignored']);
  });

  it('that meets another change of the instance is a conflict, and nothing is sent', async () => {
    const { engine, store, sent, replyTo, load } = setUp();
    await engine.start(fulfilment, 'o-1', order);
    const before = await load();
    jest.spyOn(store, 'load').mockResolvedValueOnce(before);
    await replyTo(sent[0], { score: 0 });
    jest.spyOn(store, 'load').mockResolvedValueOnce(before);
    await expect(replyTo(sent[0], { score: 0 })).rejects.toThrow(SagaVersionConflictError);
    expect(sent).toHaveLength(2);
  });
});

describe('a timer and an answer at the same time', () => {
  it('the timer first: the command goes out again under a new message id, and the answer still counts', async () => {
    const { engine, clock, sent, replyTo, load } = setUp();
    await engine.start(fulfilment, 'o-1', order);
    await clock.advance(2_000);
    await expect(engine.fireTimer({ saga: 'fulfilment', id: 'o-1' })).resolves.toEqual({
      outcome: 'applied',
    });
    expect(sent[1]).toMatchObject({ commandId: sent[0]?.commandId, messageId: `${sent[0]?.commandId}.2` });
    await replyTo(sent[0], { score: 0 });
    await expect(load()).resolves.toMatchObject({ step: 'reserve' });
  });

  it('the answer first: the timer is not due any more', async () => {
    const { engine, clock, sent, replyTo } = setUp();
    await engine.start(fulfilment, 'o-1', order);
    await clock.advance(2_000);
    await replyTo(sent[0], { score: 0 });
    await expect(engine.fireTimer({ saga: 'fulfilment', id: 'o-1' })).resolves.toMatchObject({
      outcome: 'ignored',
    });
    expect(sent).toHaveLength(2);
  });
});

describe('an event', () => {
  it('finds its instance by the definition; unknown objects are said to be so', async () => {
    const { engine } = setUp();
    await engine.start(fulfilment, 'o-1', order);
    const of = (orderId: string) => new ShipmentDispatched({ shipmentId: 's-1', orderId, carrier: 'Post' });
    await expect(engine.handleEvent({ id: 'e-1', message: of('o-1') })).resolves.toEqual([
      { saga: 'fulfilment', id: 'o-1', outcome: 'buffered' },
    ]);
    await expect(engine.handleEvent({ id: 'e-1', message: of('o-1') })).resolves.toMatchObject([
      { outcome: 'ignored' },
    ]);
    await expect(engine.handleEvent({ id: 'e-2', message: of('o-9') })).resolves.toMatchObject([
      { outcome: 'unknown' },
    ]);
    await expect(
      engine.handleEvent({ id: 'e-3', message: new AuthorisePayment({ orderId: 'o-1', total: 1 }) }),
    ).resolves.toEqual([]);
    expect(engine.awaitedEvents()).toEqual([
      'fraud.OrderReviewed.v1',
      'shipping.ShipmentDispatched.v1',
      'shipping.ShipmentLost.v1',
    ]);
  });
});

describe('the end', () => {
  it('calls the hook in the unit of work, which fails with it', async () => {
    const { engine, store, sent, actions, load } = setUp();
    await engine.start(fulfilment, 'o-1', order);
    actions.failWith.rejected = new Error('database gone');
    const refusal = {
      sagaId: 'fulfilment:o-1',
      commandId: sent[0]?.commandId ?? '',
      outcome: 'refused',
      body: { code: 'Fraudulent', message: 'no', data: { rule: 'r1' }, retry: 'never' },
    } as const;
    await expect(store.run(() => engine.handleReply(refusal))).rejects.toThrow('database gone');
    await expect(load()).resolves.toMatchObject({ status: 'running' });
    delete actions.failWith.rejected;
    await store.run(() => engine.handleReply(refusal));
    expect(actions.calls).toEqual(['rejected o-1 fraud']);
    await expect(load()).resolves.toMatchObject({ status: 'compensated', reason: { code: 'fraud' } });
  });
});

describe('versions', () => {
  const v2 = defineSaga<FulfilmentData, RecordedActions>({ name: 'fulfilment', version: 2 }, [
    command('screen', ScreenOrder, { send: ({ orderId, total }) => ({ orderId, total }) }),
  ]);

  it('an instance finishes on the version that it started with', async () => {
    const { engine, store, clock, transport, actions, sent, load } = setUp();
    await engine.start(fulfilment, 'o-1', order);
    const both = new SagaEngine({
      store,
      clock,
      transport,
      sagas: [bindSaga(v2, actions), bindSaga(fulfilment, actions)],
    });
    await both.handleReply({
      sagaId: 'fulfilment:o-1',
      commandId: sent[0]?.commandId ?? '',
      outcome: 'ok',
      body: { score: 0 },
    });
    await expect(load()).resolves.toMatchObject({ version: 1, step: 'reserve' });
    await expect(both.missingDefinitions()).resolves.toEqual([]);
  });

  it('an instance whose version is gone is parked, keeps its events, and goes on when the version is back', async () => {
    const { engine, store, clock, transport, actions, sent, load } = setUp();
    await engine.start(fulfilment, 'o-1', order);
    const without = new SagaEngine({ store, clock, transport, sagas: [bindSaga(v2, actions)] });
    await expect(without.missingDefinitions()).resolves.toEqual([
      { saga: 'fulfilment', version: 1, status: 'running', count: 1 },
    ]);
    await clock.advance(2_000);
    await without.fireTimer({ saga: 'fulfilment', id: 'o-1' });
    await expect(load()).resolves.toMatchObject({
      status: 'parked',
      parked: { code: 'DEFINITION_MISSING' },
      dueAt: null,
    });
    await expect(without.retry('fulfilment', 'o-1')).resolves.toEqual({
      outcome: 'definitionMissing',
      version: 1,
    });
    await expect(without.requestCancel('fulfilment', 'o-1', 'x')).resolves.toMatchObject({
      outcome: 'definitionMissing',
    });
    await expect(without.show('fulfilment', 'o-1')).resolves.toMatchObject({
      waitingFor: expect.stringContaining('Version 1 of saga fulfilment is not registered') as string,
    });

    await expect(engine.retry('fulfilment', 'o-1')).resolves.toEqual({ outcome: 'resumed' });
    expect(sent.at(-1)?.command).toBeInstanceOf(ScreenOrder);
    await expect(load()).resolves.toMatchObject({ status: 'running', step: 'screen', epoch: 2 });
  });

  it('keeps an event for an instance whose version is gone', async () => {
    const { engine, store, clock, transport, actions, load } = setUp();
    await engine.start(fulfilment, 'o-1', order);
    const listening = defineSaga<FulfilmentData, RecordedActions>({ name: 'fulfilment', version: 2 }, [
      ...fulfilment.steps,
    ]);
    const without = new SagaEngine({ store, clock, transport, sagas: [bindSaga(listening, actions)] });
    const message = new OrderReviewed({ orderId: 'o-1', approved: true });
    await expect(without.handleEvent({ id: 'e-1', message })).resolves.toMatchObject([
      { outcome: 'buffered' },
    ]);
    await expect(load()).resolves.toMatchObject({
      status: 'parked',
      buffer: [{ id: 'e-1', payload: { approved: true } }],
    });
  });
});

describe('operating', () => {
  it('lists and shows what each instance waits for, in plain sentences', async () => {
    const { engine, clock, sent, replyTo } = setUp();
    await engine.start(fulfilment, 'o-1', order);
    await engine.start(fulfilment, 'o-2', { ...order, orderId: 'o-2' });
    await clock.advance(500);
    await replyTo(sent[0], { score: 0 });
    await engine.requestCancel(fulfilment, 'o-1', 'changed my mind');
    const list = await engine.list({ status: 'open' });
    expect(list.map(({ id, waitingFor }) => `${id} ${waitingFor}`)).toEqual([
      'o-2 The answer to fraud.ScreenOrder.v1 (step "screen", sending 1 of 2, for 1.5s more).',
      'o-1 The answer to inventory.ReserveStock.v1 (step "reserve", sending 1 of 3, for 5.0s more); then it compensates (cancelled).',
    ]);
    expect(list[0]).not.toHaveProperty('data');
    await engine.park(fulfilment, 'o-2', { code: 'LOOK', message: 'Odd totals' });
    await clock.advance(60_000);
    const shown = await engine.show(fulfilment, 'o-2');
    expect(shown?.waitingFor).toBe(
      'A person: step "screen" was parked 1m 0s ago because of LOOK: Odd totals; retry goes on with the step, abort undoes what was done.',
    );
    expect(shown?.history.map(({ kind }) => kind)).toEqual(['started', 'parked']);
    await expect(engine.show(fulfilment, 'o-9')).resolves.toBeUndefined();
    await expect(engine.abort(fulfilment, 'o-2', 'odd')).resolves.toEqual({
      outcome: 'accepted',
      when: 'now',
    });
    await expect(engine.show(fulfilment, 'o-2')).resolves.toMatchObject({
      waitingFor: 'Nothing: it was compensated 0ms ago (aborted).',
    });
    await expect(engine.countOpen()).resolves.toEqual([
      { saga: 'fulfilment', version: 1, status: 'running', count: 1 },
    ]);
    await clock.advance(1);
    await expect(engine.purge(clock.now(), 10)).resolves.toBe(1);
    await expect(engine.retry(fulfilment, 'o-2')).resolves.toEqual({ outcome: 'unknown' });
  });

  it('reports every change', async () => {
    const { engine, sent, changes } = setUp();
    await engine.start(fulfilment, 'o-1', order);
    const body = { code: 'Fraudulent', message: 'no', data: { rule: 'r1' }, retry: 'never' };
    await engine.handleReply({
      sagaId: 'fulfilment:o-1',
      commandId: sent[0]?.commandId ?? '',
      outcome: 'refused',
      body,
    });
    expect(changes.map(({ from, to }) => [from, to])).toEqual([
      [null, 'running'],
      ['running', 'compensated'],
    ]);
  });
});

describe('a command that may overtake an earlier one', () => {
  it.each<[string, (parts: ReturnType<typeof setUp>) => Promise<unknown>]>([
    [
      'after its own time-out',
      async ({ engine, clock }) => {
        await clock.advance(5_000);
        await engine.fireTimer({ saga: 'fulfilment', id: 'o-1' });
      },
    ],
    ['on the way back', ({ engine }) => engine.abort('fulfilment', 'o-1', 'a test')],
  ])('says so: %s', async (_, disturb) => {
    const parts = setUp();
    const { engine, sent, replyTo, load } = parts;
    await engine.start(fulfilment, 'o-1', order);
    await replyTo(sent[0], { score: 0 });
    expect(sent.map(({ first }) => first)).toEqual([true, true]);
    const before = sent.length;
    await disturb(parts);
    await expect(load()).resolves.toMatchObject({ inDoubt: true });
    await parts.clock.advance(120_000);
    await engine.fireTimer({ saga: 'fulfilment', id: 'o-1' });
    await replyTo(sent.at(-1), { reservationId: 'r-1' });
    expect(sent.slice(before).map(({ first }) => first)).toEqual(sent.slice(before).map(() => undefined));
    expect(sent.length).toBeGreaterThan(before);
  });
});
