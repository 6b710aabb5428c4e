import { ManualClock, until } from '@flotilla/testing';
import { jest } from '@jest/globals';
import { fulfilment, ScreenOrder, type FulfilmentData } from '../test/fixtures/fulfilment.ts';
import { RecordedActions } from '../test/fixtures/recorded-actions.ts';
import { bindSaga, SagaEngine, type OutgoingSagaCommand } from './engine.ts';
import { InMemorySagaStore } from './in-memory-store.ts';
import { SagaTimers } from './timers.ts';

const order = (orderId: string): FulfilmentData => ({ orderId, total: 900, skus: ['A'] });

function setUp({ batch = 100, maxFailures = 3, settleMs = 0, ready = (): boolean => true } = {}) {
  const store = new InMemorySagaStore();
  const clock = new ManualClock(0);
  const sent: OutgoingSagaCommand[] = [];
  const send = jest.fn((message: OutgoingSagaCommand): void => void sent.push(message));
  const engine = new SagaEngine({
    store,
    clock,
    transport: { send },
    sagas: [bindSaga(fulfilment, new RecordedActions())],
  });
  const errors: unknown[] = [];
  const reads = jest.spyOn(store, 'nextTimers');
  const timers = new SagaTimers({
    engine,
    clock,
    runUnit: (work) => store.run(work),
    batch,
    maxFailures,
    maxSleepMs: 10_000,
    settleMs,
    ready,
    onError: (error) => errors.push(error),
  });
  const start = (id: string) => store.run(() => engine.start(fulfilment, id, order(id)));
  const load = (id: string) => store.load({ saga: 'fulfilment', id });
  return { store, clock, sent, send, engine, errors, reads, timers, start, load };
}

describe('the timers of a process', () => {
  it('sleep until the next is due, and not less', async () => {
    const { timers, clock, start, sent, reads } = setUp();
    await start('o-1');
    timers.start();
    await until(() => clock.nextInMs === 2_000);
    expect(reads).toHaveBeenCalledTimes(1);
    await clock.advance(1_999);
    expect(sent).toHaveLength(1);
    await clock.advance(1);
    await until(() => sent.length === 2);
    expect(sent[1]?.command).toBeInstanceOf(ScreenOrder);
    await timers.stop();
    expect(clock.pending).toBe(0);
  });

  it('wake earlier for a shorter one that is set while they sleep', async () => {
    const { timers, clock, start, sent } = setUp();
    timers.start();
    await until(() => clock.nextInMs === 10_000);
    await start('o-1');
    await until(() => clock.nextInMs === 2_000);
    await clock.advance(2_000);
    await until(() => sent.length === 2);
    await timers.stop();
  });

  it('idle, ask once per longest sleep', async () => {
    const { timers, clock, reads } = setUp();
    timers.start();
    await until(() => clock.pending === 1);
    for (let minute = 0; minute < 6; minute += 1) {
      await clock.advance(10_000);
      await until(() => clock.pending === 1);
    }
    expect(reads).toHaveBeenCalledTimes(7);
    await timers.stop();
  });

  it('fire more than a batch of them without a pause', async () => {
    const { timers, clock, start, sent } = setUp({ batch: 3 });
    for (let n = 0; n < 10; n += 1) await start(`o-${n}`);
    await clock.advance(2_000);
    timers.start();
    await until(() => sent.length === 20);
    await timers.stop();
    expect(new Set(sent.map(({ messageId }) => messageId)).size).toBe(20);
  });

  it('try one that fails again, later each time, and park its instance in the end; the others go on', async () => {
    const { timers, clock, start, sent, send, errors, load } = setUp();
    await start('bad');
    await start('good');
    send.mockImplementation((message) => {
      if (message.sagaId === 'fulfilment:bad') throw new Error('outbox closed');
      sent.push(message);
    });
    timers.start();
    await clock.advance(2_000);
    await until(() => errors.length === 1 && sent.length === 3);
    for (let failures = 1; failures < 3; failures += 1) {
      await until(() => clock.pending === 1);
      await clock.advance(2_000);
      await until(() => errors.length > failures);
    }
    await until(async () => (await load('bad'))?.status === 'parked');
    expect((await load('bad'))?.parked).toMatchObject({
      code: 'TIMER_FAILED',
      message: 'Its timer failed 3 times, last with Error: outbox closed',
    });
    await timers.stop();
  });

  it('wait at the start, so that answers that are already there come first', async () => {
    const { timers, clock, start, sent, reads } = setUp({ settleMs: 3_000 });
    await start('o-1');
    await clock.advance(60_000);
    timers.start();
    await clock.advance(2_999);
    expect(reads).not.toHaveBeenCalled();
    await clock.advance(1);
    await until(() => sent.length === 2);
    await timers.stop();
  });

  it('do not fire while no answer could arrive, and settle afterwards', async () => {
    let connected = false;
    const { timers, clock, start, sent, reads } = setUp({ settleMs: 1_000, ready: () => connected });
    await start('o-1');
    timers.start();
    await clock.advance(120_000);
    expect(reads).not.toHaveBeenCalled();
    connected = true;
    await clock.advance(1_400);
    expect(reads).not.toHaveBeenCalled();
    await clock.advance(100);
    await until(() => sent.length === 2);
    await timers.stop();
  });

  it('go on when they could not be read', async () => {
    const { timers, clock, start, sent, errors, reads } = setUp();
    await start('o-1');
    reads.mockRejectedValueOnce(new Error('database gone'));
    timers.start();
    await until(() => errors.length === 1);
    await clock.advance(2_000);
    await until(() => sent.length === 2);
    await timers.stop();
  });
});
