import { FlotillaError } from '@flotilla/kernel';
import { ManualClock } from '@flotilla/testing';
import { resolveConsumeOptions } from './consume.options.ts';
import { DeliveryRunner, type RawDelivery } from './delivery-runner.ts';
import { noMessagingMetrics } from './messaging-metrics.ts';
import { silentLog } from './testing/silent-log.ts';

class FakeDelivery implements RawDelivery {
  readonly subject = 'cmd.pad.Launch.v1.1.ariane';
  readonly body = Buffer.from('{}');
  readonly stream = 'CMD_pad';
  readonly pending = 0;
  readonly headers: Record<string, string>;
  readonly sequence: number;
  readonly attempt: number;
  readonly said: string[] = [];

  constructor(sequence: number, attempt = 1, key = `key-${sequence}`) {
    this.sequence = sequence;
    this.attempt = attempt;
    this.headers = { 'ce-id': `m-${sequence}`, 'ce-type': 'pad.Launch.v1', 'ce-subject': key };
  }

  ack = (): void => void this.said.push('ack');
  nak = (): void => void this.said.push('nak');
  term = (): void => void this.said.push('term');
  working = (): void => void this.said.push('working');
  released = (): void => void this.said.push('released');
}

describe('the delivery runner', () => {
  let clock: ManualClock;
  let stalled: number;
  let finish: (() => void)[];
  let runner: DeliveryRunner;

  const runnerWith = (suspects: Set<object>): DeliveryRunner =>
    new DeliveryRunner({
      suspects,
      consumer: 'pad',
      options: resolveConsumeOptions('pad', 'pad', { maxInFlight: 2, stalledAfterMs: 60_000 }),
      handler: () => new Promise((resolve) => finish.push(resolve)),
      ackWaitMs: () => 30_000,
      publishDeadLetter: () => Promise.resolve(),
      clock,
      metrics: { ...noMessagingMetrics, stalled: () => stalled++ },
      log: silentLog,
    });

  beforeEach(() => {
    clock = new ManualClock();
    stalled = 0;
    finish = [];
    runner = runnerWith(new Set());
  });

  it('tells the broker of everything it holds, running or waiting, but not more often than needed', async () => {
    const deliveries = [1, 2, 3].map((sequence) => new FakeDelivery(sequence));
    for (const delivery of deliveries) runner.receive(delivery);
    expect(runner.inFlight).toBe(2);
    await clock.advance(9_000);
    runner.heartbeat(10_000);
    expect(deliveries.map(({ said }) => said)).toEqual([[], [], []]);
    await clock.advance(1_000);
    runner.heartbeat(10_000);
    runner.heartbeat(10_000);
    expect(deliveries.map(({ said }) => said)).toEqual([['working'], ['working'], ['working']]);
  });

  it('stops vouching for a handler that is stuck, and says so once', async () => {
    const delivery = new FakeDelivery(1);
    runner.receive(delivery);
    await clock.advance(60_001);
    runner.heartbeat(10_000);
    await clock.advance(20_000);
    runner.heartbeat(10_000);
    expect(delivery.said).toEqual([]);
    expect(stalled).toBe(1);
  });

  it('does not run a message again that is delivered again while it is here, and settles the newest delivery', async () => {
    const [first, second] = [new FakeDelivery(1, 1), new FakeDelivery(1, 2)];
    runner.receive(first);
    runner.receive(second);
    expect(finish).toHaveLength(1);
    finish[0]?.();
    await clock.advance(0);
    expect([first.said, second.said]).toEqual([['released'], ['ack', 'released']]);
  });

  describe('with messages that were in processes which ended', () => {
    it('has each come again at another time, and then runs one of them at a time', async () => {
      const [first, second] = [new FakeDelivery(1, 4), new FakeDelivery(2, 5)];
      runner.receive(first);
      runner.receive(second);
      expect([first.said, second.said]).toEqual([
        ['nak', 'released'],
        ['nak', 'released'],
      ]);
      const [alone, beside] = [new FakeDelivery(1, 5), new FakeDelivery(2, 6)];
      runner.receive(alone);
      runner.receive(beside);
      expect(finish).toHaveLength(1);
      expect(beside.said).toEqual(['nak', 'released']);
      finish[0]?.();
      await clock.advance(0);
      expect(alone.said).toEqual(['ack', 'released']);
      runner.receive(new FakeDelivery(2, 7));
      expect(finish).toHaveLength(2);
    });

    it('does so for all runners of the process', () => {
      const suspects = new Set<object>();
      const [one, other] = [runnerWith(suspects), runnerWith(suspects)];
      for (const each of [one, other]) each.receive(new FakeDelivery(1, 4));
      one.receive(new FakeDelivery(1, 5));
      const beside = new FakeDelivery(1, 5);
      other.receive(beside);
      expect(finish).toHaveLength(1);
      expect(beside.said).toEqual(['nak', 'released']);
    });

    it('does not for those that were delivered again a few times, nor before the last attempt', () => {
      for (const delivery of [new FakeDelivery(1, 3), new FakeDelivery(2, 3)]) runner.receive(delivery);
      expect(finish).toHaveLength(2);
      const last = new FakeDelivery(3, 6);
      runner.receive(last);
      expect(last.said).toEqual([]);
    });

    it('puts none off for ever', async () => {
      runner.receive(new FakeDelivery(1, 4));
      runner.receive(new FakeDelivery(1, 5));
      for (let attempt = 4; attempt < 24; attempt++) {
        const put = new FakeDelivery(2, attempt);
        runner.receive(put);
        expect(put.said).toEqual(['nak', 'released']);
      }
      runner.receive(new FakeDelivery(2, 24));
      expect(finish).toHaveLength(2);
      await clock.advance(0);
    });
  });

  it('gives each place back exactly once, also when it stops in between', async () => {
    const deliveries = [1, 2, 3].map((sequence) => new FakeDelivery(sequence, 1, 'one key'));
    for (const delivery of deliveries) runner.receive(delivery);
    const stopped = runner.stop(1_000);
    const late = new FakeDelivery(4);
    runner.receive(late);
    await clock.advance(1_000);
    await stopped;
    finish[0]?.();
    await clock.advance(0);
    expect(finish).toHaveLength(1);
    expect([...deliveries, late].map(({ said }) => said)).toEqual(
      Array.from({ length: 4 }, () => ['nak', 'released']),
    );
  });

  describe('with a message whose handler says that it is too early', () => {
    let tried: number[];
    let arrived: boolean;
    let letters: string[];
    const notYet = new FlotillaError('NO_PAD_YET', 'the pad is not built', { retry: 'not-yet' });

    beforeEach(() => {
      tried = [];
      arrived = false;
      letters = [];
      runner = new DeliveryRunner({
        consumer: 'pad',
        options: resolveConsumeOptions('pad', 'pad', {
          maxInFlight: 2,
          maxAttempts: 3,
          backoff: { initialMs: 100, maxMs: 30_000 },
          killSwitch: { failures: 2, windowMs: 60_000, probeInitialMs: 1_000, probeMaxMs: 1_000 },
        }),
        handler: ({ message }) => {
          const n = Number(message.envelope.id.slice(2));
          tried.push(n);
          return arrived || n > 10 ? Promise.resolve() : Promise.reject(notYet);
        },
        publishDeadLetter: ({ headers }) => Promise.resolve(void letters.push(headers['ce-id'] ?? '')),
        ackWaitMs: () => 30_000,
        clock,
        metrics: noMessagingMetrics,
        log: silentLog,
      });
    });

    it('keeps it for longer than an ack wait, without an attempt or a pause, and handles it when it can', async () => {
      const delivery = new FakeDelivery(1);
      runner.receive(delivery);
      for (let passedMs = 0; passedMs < 80_000; passedMs += 1_000) {
        await clock.advance(1_000);
        runner.heartbeat(10_000);
      }
      expect(new Set(delivery.said)).toEqual(new Set(['working']));
      expect(tried.length).toBeGreaterThan(8);
      expect(runner.pause).toBeUndefined();
      arrived = true;
      await clock.advance(10_000);
      expect(delivery.said.filter((word) => word !== 'working')).toEqual(['ack', 'released']);
      expect(letters).toEqual([]);
    });

    it('goes on with others meanwhile, also of its key', async () => {
      const early = new FakeDelivery(1, 1, 'one key');
      const others = [11, 12, 13, 14].map((sequence) => new FakeDelivery(sequence, 1, 'one key'));
      for (const each of [early, ...others]) runner.receive(each);
      await clock.advance(0);
      expect(others.map(({ said }) => said)).toEqual(others.map(() => ['ack', 'released']));
      expect(early.said).toEqual([]);
    });

    it('makes a dead letter of it after three ack waits', async () => {
      const delivery = new FakeDelivery(1);
      runner.receive(delivery);
      await clock.advance(89_000);
      expect(letters).toEqual([]);
      await clock.advance(11_000);
      expect(letters).toEqual(['m-1']);
      expect(delivery.said).toEqual(['term', 'released']);
    });

    it('keeps as many as may run, and leaves others with the broker, whose deliveries count for nothing', async () => {
      const kept = [1, 2].map((sequence) => new FakeDelivery(sequence));
      for (const each of kept) runner.receive(each);
      await clock.advance(0);
      for (let attempt = 1; attempt < 9; attempt++) {
        const other = new FakeDelivery(3, attempt);
        runner.receive(other);
        await clock.advance(10_000);
        expect(other.said).toEqual(['nak', 'released']);
      }
      expect(letters).toEqual([]);
      arrived = true;
      const last = new FakeDelivery(3, 9);
      runner.receive(last);
      await clock.advance(10_000);
      expect(last.said).toEqual(['ack', 'released']);
      expect(kept.map(({ said }) => said)).toEqual([
        ['ack', 'released'],
        ['ack', 'released'],
      ]);
    });

    it('gives it back when it stops, once', async () => {
      const delivery = new FakeDelivery(1);
      runner.receive(delivery);
      await clock.advance(50);
      await runner.stop(1_000);
      await clock.advance(60_000);
      expect(delivery.said).toEqual(['nak', 'released']);
      expect(tried).toEqual([1]);
    });

    it('settles the newest delivery of it', async () => {
      const [first, second] = [new FakeDelivery(1, 1), new FakeDelivery(1, 2)];
      runner.receive(first);
      await clock.advance(50);
      runner.receive(second);
      arrived = true;
      await clock.advance(1_000);
      expect([first.said, second.said]).toEqual([['released'], ['ack', 'released']]);
    });
  });

  describe('while what the handler needs is away', () => {
    const outage = new Error('the database is away');
    let away: boolean;
    let runs: number;

    beforeEach(() => {
      away = true;
      runs = 0;
      runner = new DeliveryRunner({
        consumer: 'pad',
        options: resolveConsumeOptions('pad', 'pad', {
          maxAttempts: 2,
          isOutage: (error) => error === outage,
        }),
        handler: () => {
          runs++;
          return away ? Promise.reject(outage) : Promise.resolve();
        },
        ackWaitMs: () => 30_000,
        publishDeadLetter: () => Promise.reject(new Error('no dead letter is expected')),
        clock,
        metrics: { ...noMessagingMetrics, stalled: () => stalled++ },
        log: silentLog,
      });
    });

    it('holds the message, counts no attempt, and handles it when that is back', async () => {
      const delivery = new FakeDelivery(1);
      runner.receive(delivery);
      await clock.advance(600_000);
      runner.heartbeat(10_000);
      expect(runs).toBeGreaterThan(10);
      expect(delivery.said).toEqual(['working']);
      expect(stalled).toBe(0);
      away = false;
      await clock.advance(5_000);
      expect(delivery.said).toEqual(['working', 'ack', 'released']);
    });

    it('gives the message back when it is stopped, also after its last attempt', async () => {
      const delivery = new FakeDelivery(1, 2);
      runner.receive(delivery);
      await clock.advance(1_000);
      await runner.stop(10_000);
      expect(delivery.said).toEqual(['nak', 'released']);
    });
  });
});
