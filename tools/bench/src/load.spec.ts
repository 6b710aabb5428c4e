import type { Clock } from '@flotilla/kernel';
import { closedLoop, MOST_LATENCIES, openLoop, perSecondOf, windowOf } from './load.ts';

/** Time that passes only when somebody sleeps. */
class SleepClock implements Clock {
  #nowMs = 0;

  now(): number {
    return this.#nowMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  after(): never {
    throw new Error('not needed here');
  }

  async sleep(delayMs: number): Promise<void> {
    this.#nowMs += delayMs;
  }
}

describe('closedLoop', () => {
  it('starts the next operation when one ends, until the window is over', async () => {
    const clock = new SleepClock();
    const load = await closedLoop({ inFlight: 1, windowMs: 100, operation: () => clock.sleep(10), clock });
    expect(load).toEqual({
      started: 10,
      failed: 0,
      firstFailure: undefined,
      latenciesMs: Array(10).fill(10),
      windowMs: 100,
      succeededInWindow: 10,
      elapsedMs: 100,
    });
  });

  it('keeps as many under way as asked for', async () => {
    let underWay = 0;
    let most = 0;
    const operation = async (): Promise<void> => {
      most = Math.max(most, ++underWay);
      await Promise.resolve();
      underWay -= 1;
    };
    const load = await closedLoop({ inFlight: 4, windowMs: 60_000, atMost: 40, operation });
    expect([most, load.started]).toEqual([4, 40]);
  });

  it('does not measure the ramp, and counts what ran in it as started', async () => {
    const clock = new SleepClock();
    const load = await closedLoop({
      inFlight: 1,
      rampMs: 50,
      windowMs: 100,
      operation: () => clock.sleep(25),
      clock,
    });
    expect(load).toMatchObject({ started: 6, windowMs: 100, elapsedMs: 150 });
    expect(load.latenciesMs).toHaveLength(4);
  });

  it('stops after a number of operations, and measures no longer than they took', async () => {
    const clock = new SleepClock();
    const operation = (): Promise<void> => clock.sleep(10);
    const load = await closedLoop({ inFlight: 1, windowMs: 1_000, atMost: 3, operation, clock });
    expect(load).toMatchObject({ started: 3, windowMs: 30, succeededInWindow: 3 });
  });

  it('keeps only a part of a great many latencies, and counts all', async () => {
    const atMost = MOST_LATENCIES + 1_000;
    const clock = new SleepClock();
    const operation = (): Promise<void> => clock.sleep(0.001);
    const load = await closedLoop({ inFlight: 1, windowMs: 600_000, atMost, operation, clock });
    expect(load.succeededInWindow).toBe(atMost);
    expect(load.latenciesMs).toHaveLength(MOST_LATENCIES / 2 + 500);
  });

  it('counts failures apart, with the first reason', async () => {
    const load = await closedLoop({
      inFlight: 2,
      windowMs: 60_000,
      atMost: 3,
      operation: async (at) => {
        if (at > 0) throw new Error(`no ${at}`);
      },
    });
    expect(load).toMatchObject({ started: 3, failed: 2, succeededInWindow: 1 });
    expect(load.firstFailure).toContain('no 1');
  });
});

describe('openLoop', () => {
  it('starts operations at random, as many as asked for on average, the same for a seed', async () => {
    const run = async (seed: number): Promise<number> => {
      const clock = new SleepClock();
      const options = { perSecond: 100, windowMs: 20_000, seed, operation: async () => undefined, clock };
      return (await openLoop(options)).started;
    };
    const started = await run(1);
    expect(started).toBeGreaterThan(1_800);
    expect(started).toBeLessThan(2_200);
    expect(await run(1)).toBe(started);
    expect(await run(2)).not.toBe(started);
  });

  it('measures from when an operation was due, not from when it could start', async () => {
    const clock = new SleepClock();
    // The first one holds everything up for a second, as a garbage collection would.
    const operation = (at: number): Promise<void> => clock.sleep(at === 0 ? 1_000 : 0);
    const load = await openLoop({ perSecond: 20, windowMs: 500, seed: 3, operation, clock });
    expect(load.started).toBeGreaterThan(2);
    expect(load.latenciesMs.every((ms) => ms > 500)).toBe(true);
    expect(load.succeededInWindow).toBe(0);
  });

  it('gives up when the system falls far behind', async () => {
    const clock = new SleepClock();
    const never = new Promise<void>(() => undefined);
    const options = {
      perSecond: 100,
      windowMs: 60_000,
      seed: 1,
      mostInFlight: 50,
      operation: () => never,
      clock,
    };
    await expect(openLoop(options)).rejects.toThrow('50 operations are under way at 100.0/s');
  });
});

it('tells operations per second of the window, or of a run that was too short for it', async () => {
  const run = async (tookMs: number): Promise<number> => {
    const clock = new SleepClock();
    return perSecondOf(
      await closedLoop({
        inFlight: 1,
        rampMs: 50,
        windowMs: 100,
        operation: () => clock.sleep(tookMs),
        clock,
      }),
    );
  };
  expect(await run(25)).toBe(40);
  expect(await run(500)).toBe(2);
});

it('gives a window a ramp in proportion', () => {
  expect(windowOf(10)).toEqual({ rampMs: 3_000, windowMs: 10_000 });
});
