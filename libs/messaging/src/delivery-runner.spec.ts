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
