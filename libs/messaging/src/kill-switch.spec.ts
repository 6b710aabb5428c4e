import { FlotillaError } from '@flotilla/kernel';
import { ManualClock } from '@flotilla/testing';
import { resolveConsumeOptions } from './consume.options.ts';
import { DeliveryRunner, type RawDelivery } from './delivery-runner.ts';
import type { KillSwitchOptions } from './kill-switch.ts';
import { noMessagingMetrics } from './messaging-metrics.ts';
import { memoryTrials } from './testing/memory-trials.ts';
import { silentLog } from './testing/silent-log.ts';

interface Said {
  readonly sequence: number;
  readonly what: 'ack' | 'nak' | 'term';
  readonly delayMs?: number;
}

const killSwitch: KillSwitchOptions = {
  failures: 3,
  windowMs: 60_000,
  probeInitialMs: 1_000,
  probeMaxMs: 8_000,
};

describe('the kill switch', () => {
  let clock: ManualClock;
  let said: Said[];
  let permits: (0 | 1 | undefined)[];
  let events: string[];
  let letters: number;
  let handle: (sequence: number) => Promise<void>;
  let runner: DeliveryRunner;

  const start = (maxInFlight = 1, maxAttempts = 3): void => {
    runner = new DeliveryRunner({
      trials: memoryTrials(),
      consumer: 'pad',
      options: resolveConsumeOptions('pad', 'pad', {
        maxInFlight,
        maxAttempts,
        killSwitch,
        backoff: { initialMs: 10, maxMs: 10 },
      }),
      handler: ({ sequence }) => handle(sequence),
      ackWaitMs: () => 30_000,
      publishDeadLetter: async () => void letters++,
      onPermit: (permit) => permits.push(permit),
      clock,
      metrics: {
        ...noMessagingMetrics,
        paused: (_consumer, code) => events.push(`paused ${code}`),
        resumed: () => events.push('resumed'),
      },
      log: silentLog,
    });
  };
  const deliver = async (sequence: number, { attempt = 1, pending = 0 } = {}): Promise<void> => {
    const raw: RawDelivery = {
      subject: 'cmd.pad.Launch.v1.1.ariane',
      headers: { 'ce-id': `m-${sequence}`, 'ce-type': 'pad.Launch.v1', 'ce-subject': `key-${sequence}` },
      body: Buffer.from('{}'),
      stream: 'CMD_pad',
      sequence,
      attempt,
      pending,
      ack: () => said.push({ sequence, what: 'ack' }),
      nak: (delayMs) => said.push({ sequence, what: 'nak', delayMs }),
      term: () => said.push({ sequence, what: 'term' }),
      working: () => undefined,
      released: () => undefined,
    };
    runner.receive(raw);
    await clock.advance(0);
  };
  const broken = async (sequence: number): Promise<void> => {
    throw new Error(`engine ${sequence} is cold`);
  };

  beforeEach(() => {
    clock = new ManualClock(1_000_000);
    said = [];
    permits = [];
    events = [];
    letters = 0;
    handle = broken;
    start();
  });

  it('pauses after so many different messages with one fault in a row, and tells once', async () => {
    await deliver(1);
    await deliver(1, { attempt: 2 });
    await deliver(2);
    expect(runner.pause).toBeUndefined();
    await deliver(3);
    expect(runner.pause).toMatchObject({ since: clock.now(), errorCode: 'Error', probes: 0 });
    expect(events).toEqual(['paused Error']);
    expect(permits).toEqual([0]);
    // The failure that paused it is no attempt any more.
    expect(said.at(-1)).toEqual({ sequence: 3, what: 'nak', delayMs: 1_000 });
  });

  it.each([
    ['a success', async () => ((handle = async () => undefined), deliver(9))],
    ['another fault', async () => ((handle = () => Promise.reject(new TypeError('no nozzle'))), deliver(9))],
    ['the end of the window', () => clock.advance(60_001)],
  ])('begins to count again at %s', async (_what, between) => {
    await deliver(1);
    await deliver(2);
    await between();
    handle = broken;
    await deliver(3);
    expect(runner.pause).toBeUndefined();
  });

  it('does not count messages again that have failed while the handler worked for others', async () => {
    start(1, 4);
    for (const sequence of [1, 2, 11, 3, 4, 12]) {
      handle = sequence > 10 ? async () => undefined : broken;
      await deliver(sequence);
    }
    handle = broken;
    for (const attempt of [2, 3, 4])
      for (const sequence of [1, 2, 3, 4]) await deliver(sequence, { attempt });
    expect(runner.pause).toBeUndefined();
    expect(letters).toBe(4);
  });

  it('does not count what the messages are to blame for', async () => {
    handle = () => Promise.reject(new FlotillaError('INVALID', 'no rocket', { retry: 'never' }));
    for (let sequence = 1; sequence <= 5; sequence++) await deliver(sequence);
    expect(runner.pause).toBeUndefined();
    expect(letters).toBe(5);
  });

  const pause = async (): Promise<void> => {
    for (const sequence of [1, 2, 3]) await deliver(sequence);
    said = [];
    permits = [];
  };

  it('gives back what waits, and what still comes, without counting it', async () => {
    start(1, 2);
    let fail: () => void = () => undefined;
    handle = (sequence) =>
      sequence > 1
        ? broken(sequence)
        : new Promise((_resolve, reject) => (fail = () => reject(new Error('engine 1 is cold'))));
    for (const sequence of [1, 2, 3, 4, 5]) await deliver(sequence);
    fail();
    for (let turn = 0; turn < 10; turn++) await clock.advance(0);
    await deliver(6);
    expect(runner.pause).toBeDefined();
    const held = said.filter(({ delayMs }) => delayMs === 1_000).map(({ sequence }) => sequence);
    expect(held.sort()).toEqual([3, 4, 5, 6]);
    await clock.advance(1_000);
    handle = async () => undefined;
    await deliver(7);
    handle = broken;
    // Delivered for the second time, tried for the first: one more attempt is left of two.
    await deliver(4, { attempt: 2 });
    expect(said.at(-1)).toMatchObject({ sequence: 4, what: 'nak' });
    expect(letters).toBe(0);
    await deliver(4, { attempt: 3 });
    expect(letters).toBe(1);
  });

  it('tries one message at growing intervals, and goes on after the first success', async () => {
    await pause();
    await clock.advance(999);
    expect(permits).toEqual([]);
    await clock.advance(1);
    expect(permits).toEqual([1]);
    await deliver(4);
    await deliver(5);
    expect(permits).toEqual([1, 0]);
    expect(runner.pause).toMatchObject({ probes: 1, nextProbeAt: clock.now() + 2_000 });
    expect(said.map(({ sequence }) => sequence)).toEqual([4, 5]);
    await clock.advance(2_000);
    await deliver(6);
    expect(runner.pause).toMatchObject({ probes: 2, nextProbeAt: clock.now() + 4_000 });
    await clock.advance(4_000);
    await deliver(7);
    await clock.advance(8_000);
    await deliver(8);
    // No longer than the longest.
    expect(runner.pause).toMatchObject({ probes: 4, nextProbeAt: clock.now() + 8_000 });
    await clock.advance(8_000);
    handle = async () => undefined;
    await deliver(9);
    expect(runner.pause).toBeUndefined();
    expect(permits.at(-1)).toBeUndefined();
    expect(events).toEqual(['paused Error', 'resumed']);
    await deliver(10);
    expect(said.slice(-2)).toEqual([
      { sequence: 9, what: 'ack' },
      { sequence: 10, what: 'ack' },
    ]);
  });

  it('goes on at once when it is told that the handler is in order, and then it is the messages', async () => {
    start(1, 2);
    handle = broken;
    for (const sequence of [1, 2, 3]) await deliver(sequence);
    expect(runner.pause).toBeDefined();
    runner.resume();
    expect(runner.pause).toBeUndefined();
    expect([permits.at(-1), events.at(-1)]).toEqual([undefined, 'resumed']);
    runner.resume();
    expect(events).toEqual(['paused Error', 'resumed']);
    // The third was given back: its delivery was no attempt.
    for (const [sequence, attempt] of [
      [1, 2],
      [2, 2],
      [3, 2],
      [3, 3],
    ] as const)
      await deliver(sequence, { attempt });
    expect(runner.pause).toBeUndefined();
    expect(letters).toBe(3);
    // Whatever fails next counts anew.
    for (const sequence of [4, 5, 6]) await deliver(sequence);
    expect(runner.pause).toBeDefined();
  });

  it('never counts a failed probe, however often', async () => {
    await pause();
    for (let attempt = 2; attempt <= 12; attempt++) {
      await clock.advance(8_000);
      await deliver(1, { attempt });
    }
    expect(letters).toBe(0);
    expect(runner.pause).toMatchObject({ probes: 11 });
  });

  it('prefers a message that has not failed while there is one', async () => {
    await pause();
    await clock.advance(1_000);
    handle = async (sequence) => {
      if (sequence <= 3) await broken(sequence);
    };
    await deliver(1, { attempt: 2, pending: 4 });
    expect(said).toEqual([{ sequence: 1, what: 'nak', delayMs: 1_000 }]);
    await deliver(4, { pending: 3 });
    expect(runner.pause).toBeUndefined();
  });

  it('puts failed probes behind each other, so that another message has its turn', async () => {
    await pause();
    await clock.advance(1_000);
    await deliver(1, { attempt: 2 });
    // The next probe is in two seconds.
    expect(said).toEqual([{ sequence: 1, what: 'nak', delayMs: 4_000 }]);
  });

  it('takes another message when the probe is to blame itself, or fails for a reason of its own', async () => {
    await pause();
    await clock.advance(1_000);
    handle = () => Promise.reject(new FlotillaError('INVALID', 'no rocket', { retry: 'never' }));
    await deliver(4);
    expect([letters, permits]).toEqual([1, [1, 0, 1]]);
    handle = () => Promise.reject(new TypeError('no nozzle'));
    await deliver(5);
    expect(said.at(-1)).toMatchObject({ sequence: 5, what: 'nak' });
    expect(said.at(-1)?.delayMs).toBeLessThanOrEqual(10);
    expect(runner.pause).toMatchObject({ probes: 0, nextProbeAt: clock.now() + 1_000 });
  });

  it('tries at once when it is told to, and is silent once it is stopped', async () => {
    await pause();
    runner.probeNow();
    expect(permits).toEqual([1]);
    await runner.stop(0);
    await clock.advance(100_000);
    expect(permits).toEqual([1]);
  });

  it.each([
    [{ failures: 1 }, 'killSwitch.failures must be a whole number from 2 to 1000, not 1'],
    [{ windowMs: 0 }, 'killSwitch.windowMs must be above 0, not 0'],
    [{ probeMaxMs: 1 }, 'the pauses of killSwitch must grow from above 0, not from 1000 to 1 ms'],
  ])('refuses %j', (wrong, message) => {
    expect(() => resolveConsumeOptions('pad', 'pad', { killSwitch: { ...killSwitch, ...wrong } })).toThrow(
      message,
    );
  });
});
