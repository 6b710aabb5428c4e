import { ManualClock } from '@flotilla/testing';
import type { ConsumerInfo } from '@nats-io/jetstream';
import { noMessagingMetrics } from '../messaging-metrics.ts';
import { silentLog } from '../testing/silent-log.ts';
import { StuckDetector } from './stuck-detector.ts';

interface Facts {
  pending: number;
  inFlight: number;
  deliveries: number;
  paused?: boolean;
}

describe('the stuck detector', () => {
  let clock: ManualClock;
  let facts: Facts;
  let waitedMs: number;
  let asked: number;
  let reopened: string[];
  let reasons: (string | undefined)[];
  let detector: StuckDetector;

  beforeEach(() => {
    clock = new ManualClock();
    facts = { pending: 5, inFlight: 0, deliveries: 3 };
    waitedMs = 0;
    asked = 0;
    reopened = [];
    reasons = [];
    detector = new StuckDetector({
      consumer: 'pad',
      loops: [
        {
          get waitedMs() {
            return waitedMs;
          },
          info: async () => {
            asked++;
            return {
              num_pending: facts.pending,
              num_ack_pending: facts.inFlight,
              delivered: { consumer_seq: facts.deliveries },
              config: { max_ack_pending: 10 },
              paused: facts.paused,
            } as ConsumerInfo;
          },
          reopen: (detail) => void reopened.push(detail),
        },
      ],
      afterMs: 1_000,
      clock,
      metrics: { ...noMessagingMetrics, stuck: (_consumer, reason) => reasons.push(reason) },
      log: silentLog,
    });
  });
  const sweepAt = async (waited: number): Promise<void> => {
    waitedMs = waited;
    await clock.advance(500);
    detector.sweep();
    await clock.advance(0);
  };

  it('asks nothing while messages come, and once per time when none does', async () => {
    for (let n = 0; n < 5; n++) await sweepAt(999);
    expect(asked).toBe(0);
    for (let n = 0; n < 5; n++) await sweepAt(1_000);
    expect(asked).toBe(3);
  });

  it('opens the consumer again when nothing was delivered to anybody between two looks', async () => {
    await sweepAt(1_000);
    expect(reopened).toEqual([]);
    for (let n = 0; n < 2; n++) await sweepAt(2_000);
    expect(reopened).toEqual(['5 messages wait and none is delivered']);
    expect(detector.reason).toBe('no-delivery');
    await sweepAt(0);
    expect(reasons).toEqual(['no-delivery', undefined]);
  });

  it.each([
    ['nothing waits', { pending: 0 }],
    ['others get messages', {}],
  ])('finds nothing when %s', async (what, more) => {
    Object.assign(facts, more);
    for (let n = 0; n < 8; n++) {
      if (what === 'others get messages') facts.deliveries++;
      await sweepAt(1_000 + n);
    }
    expect([reopened, detector.reason]).toEqual([[], undefined]);
  });

  it('says when the window is full, and leaves it to the ack wait', async () => {
    facts.inFlight = 10;
    for (let n = 0; n < 3; n++) await sweepAt(2_000);
    expect([reopened, detector.reason]).toEqual([[], 'window-full']);
    expect(detector.line).toMatch(/consumer pad has messages and gets none: as many/);
  });

  it('says at once that somebody has paused it at the server', async () => {
    facts.paused = true;
    await sweepAt(1_000);
    expect([reopened, detector.reason]).toEqual([[], 'paused-at-server']);
  });
});
