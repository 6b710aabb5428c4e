import { systemClock } from '@flotilla/kernel';
import { until } from '@flotilla/testing';
import { bindSaga, SagaEngine, type OutgoingSagaCommand, type SagaReply } from '../src/engine.ts';
import { command, defineSaga } from '../src/definition.ts';
import { SagaVersionConflictError } from '../src/saga.errors.ts';
import { SagaTimers } from '../src/timers.ts';
import {
  fulfilment,
  ReleaseStock,
  ReserveStock,
  ShipmentDispatched,
  type FulfilmentData,
} from './fixtures/fulfilment.ts';
import { RecordedActions } from './fixtures/recorded-actions.ts';
import { SagaDatabase } from './postgres.ts';

let database: SagaDatabase;
beforeAll(async () => {
  database = await SagaDatabase.create();
});
beforeEach(() => database.clear());
afterAll(() => database.drop());

const order = (orderId: string): FulfilmentData => ({ orderId, total: 900, skus: ['A'] });

const quick = defineSaga<FulfilmentData>({ name: 'quick', version: 1 }, [
  command('reserve', ReserveStock, {
    send: ({ orderId, skus }) => ({ orderId, skus: [...skus] }),
    timeoutMs: 20,
    retries: 1,
    compensate: { command: ReleaseStock, send: ({ orderId }) => ({ orderId }), timeoutMs: 60_000 },
  }),
]);

function setUp() {
  const actions = new RecordedActions();
  const sent: OutgoingSagaCommand[] = [];
  const engine = new SagaEngine({
    store: database.store,
    clock: systemClock,
    transport: { send: (message) => void sent.push(message) },
    sagas: [bindSaga(fulfilment, actions), bindSaga(quick, undefined)],
  });
  const answers: Readonly<Record<string, unknown>> = {
    ScreenOrder: { score: 0 },
    ReserveStock: { reservationId: 'r' },
    AuthorisePayment: { authorisationId: 'a' },
    ShipOrder: { shipmentId: 's' },
  };
  const answerTo = ({ command: message, sagaId, commandId }: OutgoingSagaCommand): SagaReply => ({
    sagaId,
    commandId,
    outcome: 'ok',
    body: answers[message.constructor.name],
  });
  /** Answers what was sent, in units of work of their own, until nothing more is sent. */
  const answerAll = async (): Promise<void> => {
    for (let next = sent.shift(); next !== undefined; next = sent.shift()) {
      const reply = answerTo(next);
      await database.run(() => engine.handleReply(reply));
    }
  };
  return { actions, sent, engine, answerTo, answerAll };
}

describe('the engine on Postgres', () => {
  it('runs a saga to its end: one statement to start, a read and a write for each answer', async () => {
    const { engine, sent, answerTo, answerAll, actions } = setUp();
    database.statements.length = 0;
    await database.run(() => engine.start(fulfilment, 'o-1', order('o-1'), { correlationId: 'c' }));
    expect(database.statements).toHaveLength(1);
    const [first] = sent.splice(0);
    if (first === undefined) throw new Error('nothing was sent');
    await database.run(() => engine.handleReply(answerTo(first)));
    expect(database.statements).toHaveLength(3);
    await answerAll();
    const message = new ShipmentDispatched({ shipmentId: 's', orderId: 'o-1', carrier: 'Post' });
    await database.run(() => engine.handleEvent({ id: 'e-1', message }));
    const shown = await database.run(() => engine.show(fulfilment, 'o-1'));
    expect(shown).toMatchObject({
      status: 'completed',
      data: { carrier: 'Post', confirmed: true },
      correlationId: 'c',
    });
    expect(shown?.history.map(({ kind }) => kind)).toEqual([
      'started',
      'replied',
      'replied',
      'replied',
      'ran',
      'replied',
      'replied',
      'event',
      'completed',
    ]);
    expect(actions.calls).toEqual(['confirm o-1', 'completed o-1']);
  });

  it('lets one of two answers that meet go through; the other is a conflict that a second try resolves', async () => {
    const { engine, sent, answerTo } = setUp();
    await database.run(() => engine.start(fulfilment, 'o-1', order('o-1')));
    const [first] = sent.splice(0);
    if (first === undefined) throw new Error('nothing was sent');
    const unit = () => database.run(() => engine.handleReply(answerTo(first)));
    const outcomes = await Promise.allSettled([unit(), unit(), unit()]);
    const failures = outcomes.flatMap((each) => (each.status === 'rejected' ? [each.reason as unknown] : []));
    for (const failure of failures) expect(failure).toBeInstanceOf(SagaVersionConflictError);
    const applied = outcomes.filter(
      (each) => each.status === 'fulfilled' && each.value.outcome === 'applied',
    );
    expect(applied).toHaveLength(1);
    await expect(unit()).resolves.toMatchObject({ outcome: 'ignored' });
    await expect(database.run(() => engine.show(fulfilment, 'o-1'))).resolves.toMatchObject({
      revision: 2,
      step: 'reserve',
    });
  });

  it('fires each timer once, however many processes look', async () => {
    const { engine, sent } = setUp();
    for (let n = 0; n < 40; n += 1) await database.run(() => engine.start(quick, `o-${n}`, order(`o-${n}`)));
    const errors: unknown[] = [];
    const processes = [1, 2, 3].map(
      () =>
        new SagaTimers({
          engine,
          clock: systemClock,
          runUnit: database.run,
          settleMs: 0,
          onError: (error) => errors.push(error),
        }),
    );
    const count = (of: typeof ReserveStock | typeof ReleaseStock): number =>
      sent.filter(({ command: message }) => message instanceof of).length;
    for (const each of processes) each.start();
    try {
      // 40 first sendings, each repeated once, then 40 compensations, since the time-out leaves the effect unknown.
      await until(() => count(ReleaseStock) >= 40);
    } finally {
      for (const each of processes) await each.stop();
    }
    expect(errors).toEqual([]);
    const ids = sent.map(({ messageId }) => messageId);
    expect(new Set(ids).size).toBe(ids.length);
    expect([count(ReserveStock), count(ReleaseStock)]).toEqual([80, 40]);
  });
});
