import { systemClock } from '@flotilla/kernel';
import { until } from '@flotilla/testing';
import { bindSaga, SagaEngine, type OutgoingSagaCommand, type SagaReply } from '../src/engine.ts';
import { command, defineSaga } from '../src/index.ts';
import { SagaVersionConflictError } from '../src/saga.errors.ts';
import type { SagaStore } from '../src/store.ts';
import { SagaTimers } from '../src/timers.ts';
import {
  fulfilment,
  ReleaseStock,
  OrderReviewed,
  ReserveStock,
  ShipmentDispatched,
  type FulfilmentData,
} from './fixtures/fulfilment.ts';
import { delivery } from './fixtures/delivery.ts';
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

function setUp(store: SagaStore = database.store) {
  const actions = new RecordedActions();
  const sent: OutgoingSagaCommand[] = [];
  const engine = new SagaEngine({
    store,
    clock: systemClock,
    transport: { send: (message) => void sent.push(message) },
    sagas: [
      bindSaga(fulfilment, actions),
      bindSaga(quick, undefined),
      bindSaga(delivery, { note: async (what) => void actions.calls.push(what) }),
    ],
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

  it('reads an instance once: what this process has committed it remembers', async () => {
    const { engine, sent, answerTo } = setUp(database.recallingStore());
    database.statements.length = 0;
    await database.run(() => engine.start(fulfilment, 'o-1', order('o-1')));
    for (let answers = 1; answers <= 3; answers += 1) {
      const [next] = sent.splice(0);
      if (next === undefined) throw new Error('nothing was sent');
      await expect(database.run(() => engine.handleReply(answerTo(next)))).resolves.toMatchObject({
        outcome: 'applied',
      });
      // Every statement so far has written.
      expect(database.statements).toHaveLength(1 + answers);
    }
    await expect(database.run(() => engine.show(fulfilment, 'o-1'))).resolves.toMatchObject({ revision: 4 });
  });

  it('saves nothing that was decided on what another process has changed since', async () => {
    const [here, there] = [setUp(database.recallingStore()), setUp(database.recallingStore())];
    await database.run(() => here.engine.start(fulfilment, 'o-1', order('o-1')));
    const [first] = here.sent.splice(0);
    if (first === undefined) throw new Error('nothing was sent');
    await database.run(() => there.engine.requestCancel(fulfilment, 'o-1', 'changed my mind'));

    const reply = () => database.run(() => here.engine.handleReply(here.answerTo(first)));
    await expect(reply()).rejects.toThrow(SagaVersionConflictError);
    expect(here.sent).toEqual([]);
    await expect(reply()).resolves.toMatchObject({ outcome: 'applied' });
    await expect(database.run(() => here.engine.show(fulfilment, 'o-1'))).resolves.toMatchObject({
      status: 'compensated',
      revision: 3,
    });
  });

  it('ignores no answer because of what it remembers', async () => {
    const [here, there] = [setUp(database.recallingStore()), setUp(database.recallingStore())];
    await database.run(() => here.engine.start(fulfilment, 'o-1', order('o-1')));
    const [first] = here.sent.splice(0);
    if (first === undefined) throw new Error('nothing was sent');
    await database.run(() => there.engine.handleReply(there.answerTo(first)));
    const [second] = there.sent.splice(0);
    if (second === undefined) throw new Error('nothing was sent');

    // As this process remembers it, the saga has not sent that command.
    await expect(database.run(() => here.engine.handleReply(here.answerTo(second)))).resolves.toMatchObject({
      outcome: 'applied',
    });
  });

  it('forgets what it wrote in a unit of work that is undone', async () => {
    const { engine, sent, answerTo } = setUp(database.recallingStore());
    await database.run(() => engine.start(fulfilment, 'o-1', order('o-1')));
    const [first] = sent.splice(0);
    if (first === undefined) throw new Error('nothing was sent');
    const undone = database.run(async () => {
      await engine.handleReply(answerTo(first));
      throw new Error('undone');
    });
    await expect(undone).rejects.toThrow('undone');
    await expect(database.run(() => engine.handleReply(answerTo(first)))).resolves.toMatchObject({
      outcome: 'applied',
    });
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

  it('runs steps at the same time: one statement sends them all, each answer is one read and one write', async () => {
    const { engine, sent, answerTo } = setUp();
    database.statements.length = 0;
    const trace = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
    await database.run(() => engine.start(delivery, 'o-1', { orderId: 'o-1' }, { traceparent: trace }));
    expect(database.statements).toHaveLength(1);
    const [reserve, authorise] = sent.splice(0);
    if (reserve === undefined || authorise === undefined) throw new Error('not both were sent');
    await expect(database.run(() => engine.nextTimers(1))).resolves.toMatchObject([{ traceparent: trace }]);
    database.statements.length = 0;
    await database.run(() => engine.handleReply(answerTo(authorise)));
    expect(database.statements).toHaveLength(2);

    // Two answers of one saga at the same moment: one of them is a conflict, and goes through when tried again.
    const message = new OrderReviewed({ orderId: 'o-1', approved: true });
    const units = [
      () => database.run(() => engine.handleReply(answerTo(reserve))),
      () => database.run(() => engine.handleEvent({ id: 'e-1', message })),
    ];
    const outcomes = await Promise.allSettled(units.map((unit) => unit()));
    for (const [index, outcome] of outcomes.entries()) {
      if (outcome.status === 'fulfilled') continue;
      expect(outcome.reason).toBeInstanceOf(SagaVersionConflictError);
      await units[index]?.();
    }
    await expect(database.run(() => engine.show(delivery, 'o-1'))).resolves.toMatchObject({
      status: 'running',
      step: 'approved',
      revision: 4,
      branches: [],
      undo: ['authorise', 'reserve'],
      data: { reservationId: 'r', authorisationId: 'a' },
    });
  });

  it('loses nothing when its process is killed in the middle of any transition', async () => {
    const { engine, sent, answerTo } = setUp();
    /** The work, with its connection cut before the commit; then again, as another process does after a restart. */
    const killedThenDone = async (work: () => Promise<unknown>): Promise<void> => {
      const before = sent.length;
      const killed = database.run(async () => {
        await work();
        await database.query('SELECT pg_terminate_backend(pg_backend_pid())');
      });
      await expect(killed).rejects.toThrow();
      sent.length = before;
      await database.run(work);
    };
    await killedThenDone(() => engine.start(delivery, 'o-1', { orderId: 'o-1' }));
    expect(sent).toHaveLength(2);
    for (const message of sent.splice(0)) await killedThenDone(() => engine.handleReply(answerTo(message)));
    const message = new OrderReviewed({ orderId: 'o-1', approved: false });
    await killedThenDone(() => engine.handleEvent({ id: 'e-1', message }));
    for (let next = sent.shift(); next !== undefined; next = sent.shift()) {
      const reply = answerTo(next);
      await killedThenDone(() => engine.handleReply(reply));
    }
    const shown = await database.run(() => engine.show(delivery, 'o-1'));
    expect(shown).toMatchObject({ status: 'compensated', reason: { code: 'fraud' }, revision: 6 });
    expect(shown?.history.map(({ kind, step }) => `${kind} ${step ?? ''}`.trim())).toEqual([
      'started',
      'replied reserve',
      'replied authorise',
      'event reviewed',
      'compensating prepare',
      'undone authorise',
      'undone reserve',
      'compensated',
    ]);
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
