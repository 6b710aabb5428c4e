import { FlotillaError } from '@flotilla/kernel';
import { ManualClock } from '@flotilla/testing';
import { resolveConsumeOptions } from './consume.options.ts';
import { DeliveryRunner, type RawDelivery } from './delivery-runner.ts';
import { noMessagingMetrics } from './messaging-metrics.ts';
import { memoryTrials } from './testing/memory-trials.ts';
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

  beforeEach(() => {
    clock = new ManualClock();
    stalled = 0;
    finish = [];
    runner = new DeliveryRunner({
      trials: memoryTrials(),
      consumer: 'pad',
      options: resolveConsumeOptions('pad', 'pad', { maxInFlight: 2, stalledAfterMs: 60_000 }),
      handler: () => new Promise((resolve) => finish.push(resolve)),
      ackWaitMs: () => 30_000,
      publishDeadLetter: () => Promise.resolve(),
      clock,
      metrics: { ...noMessagingMetrics, stalled: () => stalled++ },
      log: silentLog,
    });
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

  describe('with messages that came again and again without an error', () => {
    const cold = new FlotillaError('ENGINE_FAILURE', 'cold');
    const away = new Error('the database is away');
    let records: Map<string, string>;
    let letters: string[];

    /** One more process of the service: a handler that waits for `finish`, or does what `handle` does. */
    const processWith = (handle?: () => Promise<void>): (() => DeliveryRunner) => {
      const trials = memoryTrials(records);
      return () =>
        new DeliveryRunner({
          trials,
          consumer: 'pad',
          options: resolveConsumeOptions('pad', 'pad', {
            maxInFlight: 2,
            stalledAfterMs: 60_000,
            isOutage: (error) => error === away,
          }),
          handler: handle ?? (() => new Promise((resolve) => finish.push(resolve))),
          publishDeadLetter: async ({ headers }) =>
            void letters.push(`${headers['ce-id']} ${headers['flotilla-error-code']}`),
          ackWaitMs: () => 30_000,
          clock,
          metrics: { ...noMessagingMetrics, stalled: () => stalled++ },
          log: silentLog,
        });
    };
    const recordOf = (sequence: number): unknown =>
      JSON.parse(records.get(`trial.pad.pad.m-${sequence}`) ?? 'null');

    beforeEach(() => {
      records = new Map();
      letters = [];
    });

    it('tries them one at a time in all runners of the process, beside those that are not under suspicion', async () => {
      const runnerOf = processWith();
      const [one, other] = [runnerOf(), runnerOf()];
      const [first, second, third] = [1, 2, 3].map((sequence) => new FakeDelivery(sequence, 4));
      one.receive(first!);
      one.receive(second!);
      other.receive(third!);
      one.receive(new FakeDelivery(4, 3));
      await clock.advance(20_000);
      expect(finish).toHaveLength(2);
      one.heartbeat(10_000);
      expect([first, second].map((each) => each?.said)).toEqual([['working'], ['working']]);
      for (let ended = 0; ended < 4; ended++) {
        expect(finish[ended]).toBeDefined();
        finish[ended]?.();
        await clock.advance(0);
      }
      expect([first, second, third].map((each) => each?.said.slice(-2))).toEqual(
        Array.from({ length: 3 }, () => ['ack', 'released']),
      );
    });

    it('writes down that one is tried before it is, and that it ended before it is settled', async () => {
      const seen: unknown[] = [];
      const delivery = new FakeDelivery(1, 4);
      delivery.ack = () => void seen.push(recordOf(1));
      processWith(async () => void seen.push(recordOf(1)))().receive(delivery);
      await clock.advance(0);
      expect(seen).toEqual([
        { unended: 1, failed: 0 },
        { unended: 0, failed: 0 },
      ]);
    });

    it('makes a dead letter of the one that ended its process each time, and of none beside it', async () => {
      const beside = [2, 3, 4];
      let attempt = 3;
      for (let ended = 0; ended < 3; ended++) {
        const doomed = processWith()();
        attempt++;
        for (const sequence of [1, ...beside]) doomed.receive(new FakeDelivery(sequence, attempt));
        await clock.advance(0);
        // The process is gone: only one handler had begun.
        expect(finish).toHaveLength(ended + 1);
      }
      // Any number of further deliveries, for whatever reason, is no reason.
      const handled: string[] = [];
      const last = processWith(async () => void handled.push('one'))();
      const killer = new FakeDelivery(1, 7);
      const innocents = beside.map((sequence) => new FakeDelivery(sequence, 40));
      for (const each of [killer, ...innocents]) last.receive(each);
      await clock.advance(0);
      expect(letters).toEqual(['m-1 DELIVERY_COUNT_EXCEEDED']);
      expect(killer.said).toEqual(['term', 'released']);
      expect(innocents.map(({ said }) => said)).toEqual(beside.map(() => ['ack', 'released']));
      expect(handled).toHaveLength(3);
    });

    it('counts failures in whatever process, but none of the deliveries before', async () => {
      for (const attempt of [21, 22, 23]) {
        expect(letters).toEqual([]);
        processWith(() => Promise.reject(cold))().receive(new FakeDelivery(1, attempt));
        await clock.advance(0);
      }
      expect(recordOf(1)).toEqual({ unended: 0, failed: 3 });
      expect(letters).toEqual(['m-1 ENGINE_FAILURE']);
    });

    it('is not tried alone again where its failure is known', async () => {
      let failures = 0;
      const runner = processWith(() => (++failures < 3 ? Promise.reject(cold) : Promise.resolve()))();
      runner.receive(new FakeDelivery(1, 21));
      await clock.advance(0);
      const before = recordOf(1);
      const again = [22, 23].map((attempt) => new FakeDelivery(1, attempt));
      for (const each of again) {
        runner.receive(each);
        await clock.advance(0);
      }
      expect(again.map(({ said }) => said)).toEqual([
        ['nak', 'released'],
        ['ack', 'released'],
      ]);
      expect(recordOf(1)).toEqual(before);
    });

    it('does not hold it against one that its process is stopped, unless it was stuck', async () => {
      for (let stops = 0; stops < 4; stops++) {
        const runner = processWith()();
        runner.receive(new FakeDelivery(1, 4 + stops));
        await clock.advance(0);
        const stopped = runner.stop(100);
        await clock.advance(100);
        await stopped;
        expect(recordOf(1)).toEqual({ unended: 0, failed: 0 });
      }
      const runner = processWith()();
      runner.receive(new FakeDelivery(1, 8));
      await clock.advance(61_000);
      runner.heartbeat(10_000);
      const stopped = runner.stop(100);
      await clock.advance(100);
      await stopped;
      expect(recordOf(1)).toEqual({ unended: 1, failed: 0 });
    });

    it('goes on with the next when one is stuck', async () => {
      const runner = processWith()();
      runner.receive(new FakeDelivery(1, 4));
      runner.receive(new FakeDelivery(2, 4));
      await clock.advance(61_000);
      expect(finish).toHaveLength(1);
      runner.heartbeat(10_000);
      await clock.advance(0);
      expect(finish).toHaveLength(2);
      expect(stalled).toBe(1);
    });

    it('gives one back while what its handler needs is away, and holds it against nobody', async () => {
      for (let deliveries = 0; deliveries < 4; deliveries++) {
        const delivery = new FakeDelivery(1, 4 + deliveries);
        processWith(() => Promise.reject(away))().receive(delivery);
        await clock.advance(0);
        expect(delivery.said).toEqual(['nak', 'released']);
        expect(recordOf(1)).toEqual({ unended: 0, failed: 0 });
      }
    });

    it('gives one back, untried, when that cannot be written down', async () => {
      records.set = () => {
        throw new Error('no stream');
      };
      const delivery = new FakeDelivery(1, 4);
      processWith()().receive(delivery);
      await clock.advance(0);
      expect(delivery.said).toEqual(['nak', 'released']);
      expect(finish).toEqual([]);
    });

    it('does not count a trial that was written down, and not begun because nobody knew that', async () => {
      const set = records.set.bind(records);
      records.set = (subject, text) => {
        records.set = set;
        set(subject, text);
        throw new Error('no acknowledgement');
      };
      const delivery = new FakeDelivery(1, 4);
      processWith()().receive(delivery);
      await clock.advance(0);
      expect(delivery.said).toEqual(['nak', 'released']);
      expect(recordOf(1)).toEqual({ unended: 0, failed: 0 });
      expect(finish).toEqual([]);
    });

    it('knows a message wherever in the stream it comes again', async () => {
      records.set('trial.pad.pad.m-1', JSON.stringify({ unended: 3, failed: 0 }));
      const copy = new FakeDelivery(2, 4);
      copy.headers['ce-id'] = 'm-1';
      processWith()().receive(copy);
      await clock.advance(0);
      expect(copy.said).toEqual(['term', 'released']);
      expect(letters).toEqual(['m-1 DELIVERY_COUNT_EXCEEDED']);
      expect(finish).toEqual([]);
    });

    it('gives back those that wait for their turn when it stops', async () => {
      const runner = processWith()();
      const deliveries = [1, 2, 3].map((sequence) => new FakeDelivery(sequence, 4));
      for (const each of deliveries) runner.receive(each);
      await clock.advance(0);
      const stopped = runner.stop(1_000);
      finish[0]?.();
      await clock.advance(0);
      await stopped;
      expect(deliveries.map(({ said }) => said)).toEqual([
        ['ack', 'released'],
        ['nak', 'released'],
        ['nak', 'released'],
      ]);
      expect(finish).toHaveLength(1);
      expect(records.size).toBe(1);
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
        trials: memoryTrials(),
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
        trials: memoryTrials(),
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
