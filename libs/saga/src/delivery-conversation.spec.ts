import { ManualClock } from '@flotilla/testing';
import {
  approval,
  CancelShipment,
  delivery,
  RecallParcel,
  ShipByCourier,
  type DeliveryActions,
  type DeliveryData,
} from '../test/fixtures/delivery.ts';
import {
  AuthorisePayment,
  CapturePayment,
  OrderReviewed,
  ReleaseStock,
  ReserveStock,
  ShipmentDispatched,
  ShipOrder,
  VoidAuthorisation,
} from '../test/fixtures/fulfilment.ts';
import {
  bindSaga,
  command,
  defineSaga,
  InMemorySagaStore,
  local,
  parallel,
  park,
  SagaEngine,
  waitFor,
  waitForSignal,
  type OutgoingSagaCommand,
} from './index.ts';
import { simulateSaga, type SagaSimulation } from './testing/index.ts';

let notes: string[];
const actions: DeliveryActions = { note: async (what) => void notes.push(what) };
beforeEach(() => (notes = []));

type Conversation = SagaSimulation<DeliveryData, DeliveryActions>;
const start = (): Conversation => simulateSaga(delivery, { orderId: 'o-1' }, { actions });
const reviewed = { orderId: 'o-1', approved: true };

const prepared = (): Conversation =>
  start()
    .expectCommands(ReserveStock, AuthorisePayment)
    .from(ReserveStock)
    .reply({ reservationId: 'r-1' })
    .from(AuthorisePayment)
    .reply({ authorisationId: 'a-1' })
    .event(OrderReviewed, reviewed);
const confirmed = (): Conversation => prepared().signal(approval, { approved: true });

describe('steps at the same time', () => {
  it('are all sent at once; the saga goes on when all have ended, in whatever order', async () => {
    await start()
      .expectCommands(ReserveStock, AuthorisePayment)
      .event(OrderReviewed, reviewed)
      .from(AuthorisePayment)
      .reply({ authorisationId: 'a-1' })
      .expectWaiting('prepare')
      .inspect(({ branches }) => expect(branches.map(({ step }) => step)).toEqual(['reserve']))
      .from(ReserveStock)
      .reply({ reservationId: 'r-1' })
      .expectWaiting('approved')
      .expectData({ reservationId: 'r-1', authorisationId: 'a-1' })
      .inspect(({ undo, branches }) => {
        expect(undo).toEqual(['authorise', 'reserve']);
        expect(branches).toEqual([]);
      });
  });

  it('each have a command id, an attempt and a timer of their own', async () => {
    await start()
      .expectCommands(ReserveStock, AuthorisePayment)
      .inspect(({ branches, dueAt, commandId }) => {
        expect(branches).toMatchObject([
          { step: 'reserve', waiting: 'reply', attempt: 1, dueAt: 5_000 },
          { step: 'authorise', waiting: 'reply', attempt: 1, dueAt: 10_000 },
          { step: 'reviewed', waiting: 'event', dueAt: 60_000 },
        ]);
        expect(new Set(branches.map((branch) => branch.commandId)).size).toBe(3);
        expect([dueAt, commandId]).toEqual([5_000, null]);
      })
      .timeout()
      .expectCommand(ReserveStock)
      .inspect(({ branches }) => expect(branches[0]).toMatchObject({ attempt: 2, dueAt: 10_000 }));
  });

  it('one refused: answers in flight are awaited, then all that was done is undone', async () => {
    await start()
      .expectCommands(ReserveStock, AuthorisePayment)
      .from(ReserveStock)
      .refuse('OutOfStock', { skus: ['A'] })
      .expectWaiting('prepare')
      .inspect(({ failing, branches }) => {
        expect(failing).toMatchObject({ code: 'out_of_stock' });
        expect(branches.map(({ step }) => step)).toEqual(['authorise']);
      })
      .cancel('never mind', 'alreadyCompensating')
      .from(AuthorisePayment)
      .reply({ authorisationId: 'a-1' })
      .expectCommand(VoidAuthorisation)
      .reply()
      .expectCompensated('out_of_stock');
  });

  it('one refused, another silent: it is not asked again, and undone because it may have been done', async () => {
    await start()
      .expectCommands(ReserveStock, AuthorisePayment)
      .from(AuthorisePayment)
      .refuse('Declined', { why: '' })
      .timeout()
      .expectCommand(ReleaseStock)
      .reply()
      .expectCompensated('Declined');
  });

  it('several done: they are undone one after another, the latest first', async () => {
    await start()
      .expectCommands(ReserveStock, AuthorisePayment)
      .from(ReserveStock)
      .reply({ reservationId: 'r-1' })
      .from(AuthorisePayment)
      .reply({ authorisationId: 'a-1' })
      .event(OrderReviewed, { orderId: 'o-1', approved: false })
      .expectCommand(VoidAuthorisation)
      .reply()
      .expectCommand(ReleaseStock)
      .reply()
      .expectCompensated('fraud');
  });

  it('a cancellation awaits the answers in flight', async () => {
    await start()
      .expectCommands(ReserveStock, AuthorisePayment)
      .from(AuthorisePayment)
      .reply({ authorisationId: 'a-1' })
      .cancel()
      .from(ReserveStock)
      .refuse('Unavailable', {})
      .expectCancelDecided(true)
      .expectCommand(VoidAuthorisation)
      .reply()
      .expectCompensated('cancelled');
  });

  it('an event that came before its branch counts', async () => {
    const saga = defineSaga<{ n: number }>({ name: 'early', version: 1 }, [
      command('first', CapturePayment, { send: () => ({ orderId: 'o' }) }),
      parallel('both', [
        waitFor('reviewed', OrderReviewed, { timeoutMs: 1_000 }),
        command('ship', ShipOrder, { send: () => ({ orderId: 'o' }) }),
      ]),
    ]);
    await simulateSaga(saga, { n: 1 })
      .event(OrderReviewed, reviewed)
      .expectCommand(CapturePayment)
      .reply()
      .expectCommand(ShipOrder)
      .reply({ shipmentId: 's' })
      .expectCompleted();
  });

  it('none wanted: the group is passed over', async () => {
    const saga = defineSaga<{ n: number }>({ name: 'none', version: 1 }, [
      parallel('both', [
        command('a', CapturePayment, { when: () => false, send: () => ({ orderId: 'o' }) }),
        command('b', CapturePayment, { when: () => false, send: () => ({ orderId: 'o' }) }),
      ]),
    ]);
    await simulateSaga(saga, { n: 1 }).expectCompleted();
  });

  it('one to be parked: the others go on, and a retry does only that one again', async () => {
    const saga = defineSaga<{ n: number }>({ name: 'after', version: 1 }, [
      local('confirm', { pivot: true, run: async (data) => data }),
      parallel('both', [
        command('capture', CapturePayment, { send: () => ({ orderId: 'o' }), retries: 0 }),
        command('ship', ShipOrder, { send: () => ({ orderId: 'o' }), onReply: () => park('look') }),
      ]),
    ]);
    await simulateSaga(saga, { n: 1 })
      .expectCommands(CapturePayment, ShipOrder)
      .timeout()
      .expectCommand(ShipOrder)
      .inspect(({ status, branches }) => {
        expect(status).toBe('running');
        expect(branches[0]).toMatchObject({ step: 'capture', waiting: null, parked: { code: 'TIMEOUT' } });
      })
      .from(CapturePayment)
      .reply() // late, and good all the same
      .from(ShipOrder)
      .reply({ shipmentId: 's' })
      .expectParked('both', 'look')
      .retry()
      .expectCommand(ShipOrder)
      .inspect(({ branches }) => expect(branches).toHaveLength(1));
  });

  it('through the engine: each answer is one transition, and all go out in one unit of work', async () => {
    const store = new InMemorySagaStore();
    const sent: OutgoingSagaCommand[] = [];
    const engine = new SagaEngine({
      store,
      clock: new ManualClock(0),
      transport: { send: (message) => void sent.push(message) },
      sagas: [bindSaga(delivery, actions)],
    });
    await engine.start(delivery, 'o-1', { orderId: 'o-1' });
    expect(sent.map((message) => message.command.constructor)).toEqual([ReserveStock, AuthorisePayment]);
    expect(new Set(sent.map(({ messageId }) => messageId)).size).toBe(2);
    const [reserve] = sent;
    if (reserve === undefined) throw new Error('nothing was sent');
    const { sagaId, commandId } = reserve;
    const body = { reservationId: 'r-1' };
    await engine.handleReply({ sagaId, commandId, outcome: 'ok', body });
    await expect(engine.show(delivery, 'o-1')).resolves.toMatchObject({
      revision: 2,
      waitingFor:
        'The answer to payments.AuthorisePayment.v1 (branch "authorise", sending 1 of 1, for 10.0s more); The event fraud.OrderReviewed.v1 (branch "reviewed", for 1m 0s more) (step "prepare").',
    });
  });
});

describe('a signal', () => {
  it('lets the saga go on, or give up', async () => {
    await confirmed().expectCommand(ShipOrder).expectData({ approved: true });
    await prepared()
      .signal(approval, { approved: false })
      .expectCommand(VoidAuthorisation)
      .reply()
      .expectCommand(ReleaseStock)
      .reply()
      .expectCompensated('disapproved');
  });

  it('that comes early is kept, once', async () => {
    await start()
      .signal(approval, { approved: true }, 'm-1')
      .signal(approval, { approved: true }, 'm-1')
      .inspect(({ buffer }) => expect(buffer).toMatchObject([{ id: 'm-1', type: 'signal:approval' }]))
      .expectCommands(ReserveStock, AuthorisePayment)
      .event(OrderReviewed, reviewed)
      .from(ReserveStock)
      .reply({ reservationId: 'r-1' })
      .from(AuthorisePayment)
      .reply({ authorisationId: 'a-1' })
      .expectCommand(ShipOrder);
  });

  it('does not count for two steps', async () => {
    const twoPersons = defineSaga<{ by: number }>({ name: 'two-persons', version: 1 }, [
      waitForSignal('first', approval, { onSignal: ({ by }) => ({ by: by + 1 }), timeoutMs: 1_000 }),
      waitForSignal('second', approval, { onSignal: ({ by }) => ({ by: by + 1 }), timeoutMs: 1_000 }),
    ]);
    await simulateSaga(twoPersons, { by: 0 })
      .signal(approval, { approved: true }, 'm-1')
      .signal(approval, { approved: true }, 'm-1')
      .expectWaiting('second')
      .signal(approval, { approved: true }, 'm-2')
      .expectCompleted()
      .expectData({ by: 2 });
  });

  it('that does not come is a time-out; one that is too late is ignored, in the history', async () => {
    await prepared().timeout().expectCommand(VoidAuthorisation);
    await confirmed()
      .expectCommand(ShipOrder)
      .signal(approval, { approved: false })
      .inspect((_instance, history) => expect(history.at(-1)?.kind).toBe('signal-ignored'));
  });
});

describe('a fallback command', () => {
  it('is sent when the step is refused, and its answer counts', async () => {
    const saga = defineSaga<DeliveryData>({ name: 'courier-first', version: 1 }, [
      command('ship', ShipByCourier, {
        send: ({ orderId }) => ({ orderId }),
        compensate: { command: RecallParcel, send: ({ orderId }) => ({ orderId }) },
        fallback: { command: ShipOrder, send: ({ orderId }) => ({ orderId }) },
      }),
    ]);
    await simulateSaga(saga, { orderId: 'o-1' })
      .expectCommand(ShipByCourier)
      .refuse('NoRoute', {})
      .expectCommand(ShipOrder)
      .reply({ shipmentId: 's' })
      .expectCompleted();
  });

  it('comes after the step is taken back, where that may have been done', async () => {
    await confirmed()
      .expectCommand(ShipOrder)
      .timeout()
      .expectCommand(CancelShipment)
      .expectWaiting('ship/withdraw')
      .reply()
      .expectCommand(ShipByCourier)
      .reply({ parcel: 'p' })
      .expectWaiting('dispatched')
      .expectData({ carrier: 'courier' })
      .inspect(({ undo }) => expect(undo).toEqual(['reserve', 'authorise', 'ship/fallback']));
  });

  it('is undone by its own compensation', async () => {
    await confirmed()
      .expectCommand(ShipOrder)
      .timeout()
      .expectCommand(CancelShipment)
      .reply()
      .expectCommand(ShipByCourier)
      .reply({ parcel: 'p' })
      .abort()
      .expectCommand(RecallParcel)
      .reply()
      .expectCommand(VoidAuthorisation);
  });

  it('does not come while taking back the step is refused: that is for a person', async () => {
    await confirmed()
      .expectCommand(ShipOrder)
      .fail()
      .expectCommand(CancelShipment)
      .refuse('AlreadyDispatched', {})
      .expectParked('ship/withdraw', 'AlreadyDispatched')
      .retry()
      .expectCommand(CancelShipment)
      .reply()
      .expectCommand(ShipByCourier)
      .timeout()
      .expectCommand(ShipByCourier);
  });
});

describe('a cancellation that has to wait', () => {
  it('is pending while the step is in flight, and carried out when the owner agrees', async () => {
    await confirmed()
      .expectCommand(ShipOrder)
      .cancel('changed my mind', 'pending')
      .cancel('really', 'pending')
      .reply({ shipmentId: 's-1' })
      .expectCommand(CancelShipment)
      .expectWaiting('dispatched/cancel')
      .cancel('still', 'pending')
      .reply()
      .expectCancelDecided(true, 'changed my mind')
      .expectCommand(VoidAuthorisation)
      .reply()
      .expectCommand(ReleaseStock)
      .reply()
      .expectCompensated('cancelled');
    expect(notes).toEqual(['confirmed', 'cancel accepted: changed my mind', 'compensated: cancelled']);
  });

  it('is refused when the owner refuses, and the saga goes on; asked again, it is answered the same', async () => {
    await confirmed()
      .expectCommand(ShipOrder)
      .reply({ shipmentId: 's-1' })
      .cancel('changed my mind', 'pending')
      .expectCommand(CancelShipment)
      .refuse('AlreadyDispatched', {}, 'It has left')
      .expectCancelDecided(false, 'It has left')
      .expectWaiting('dispatched')
      .cancel('please', 'refused')
      .event(ShipmentDispatched, { shipmentId: 's-1', orderId: 'o-1', carrier: 'Post' })
      .expectCompleted();
    expect(notes).toEqual(['confirmed', 'cancel refused: It has left', 'completed']);
  });

  it('takes the event that comes while the owner is asked', async () => {
    await confirmed()
      .expectCommand(ShipOrder)
      .reply({ shipmentId: 's-1' })
      .cancel('changed my mind', 'pending')
      .event(ShipmentDispatched, { shipmentId: 's-1', orderId: 'o-1', carrier: 'Post' })
      .expectCommand(CancelShipment)
      .refuse('AlreadyDispatched', {})
      .expectCompleted()
      .expectData({ carrier: 'Post' });
  });

  it('asks again when the owner is silent, then leaves it to a person', async () => {
    let conversation = confirmed()
      .expectCommand(ShipOrder)
      .reply({ shipmentId: 's-1' })
      .cancel('changed my mind', 'pending')
      .expectCommand(CancelShipment);
    for (let n = 0; n < 5; n += 1) conversation = conversation.timeout().expectCommand(CancelShipment);
    await conversation
      .timeout()
      .expectParked('dispatched/cancel', 'TIMEOUT')
      .reply() // late
      .expectCancelDecided(true)
      .expectCommand(VoidAuthorisation);
  });

  it('undoes a step that failed at the end of its tries', async () => {
    const saga = defineSaga<DeliveryData>({ name: 'failing', version: 1 }, [
      local('confirm', { pivot: true, run: async (data) => data }),
      command('ship', ShipOrder, {
        send: ({ orderId }) => ({ orderId }),
        retries: 1,
        cancel: 'wait',
        compensate: { command: CancelShipment, send: ({ orderId }) => ({ orderId }) },
      }),
    ]);
    await simulateSaga(saga, { orderId: 'o-1' })
      .cancel('no more', 'pending')
      .expectCommand(ShipOrder)
      .timeout()
      .expectCommand(ShipOrder) // the cancellation does not cut its tries short
      .timeout()
      .expectCancelDecided(true)
      .expectCommand(CancelShipment)
      .reply()
      .expectCompensated('cancelled');
    await simulateSaga(saga, { orderId: 'o-1' })
      .expectCommand(ShipOrder)
      .cancel('no more', 'pending')
      .reply({ shipmentId: 's' })
      .expectCancelDecided(false, 'it has completed')
      .expectCompleted();
  });

  it('gives way to an operator’s abort, and is told so', async () => {
    await confirmed()
      .expectCommand(ShipOrder)
      .cancel('changed my mind', 'pending')
      .abort()
      .expectCancelDecided(true, 'changed my mind')
      .reply({ shipmentId: 's-1' })
      .expectCommand(CancelShipment)
      .reply()
      .expectCommand(VoidAuthorisation);
  });
});
