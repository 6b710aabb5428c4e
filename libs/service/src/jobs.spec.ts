import { AsyncLocalStorage } from 'node:async_hooks';
import { noMetrics, type MetricsRecorder } from '@flotilla/observability';
import { ManualClock } from '@flotilla/testing';
import { Logger } from '@nestjs/common';
import { Jobs } from './jobs.ts';

Logger.overrideLogger(false);
afterAll(() => void Logger.overrideLogger(true));

function setUp() {
  const clock = new ManualClock();
  const outcomes: string[] = [];
  const metrics: MetricsRecorder = {
    ...noMetrics,
    handled: (_type, name, outcome) => void outcomes.push(`${name} ${outcome}`),
  };
  const jobs = new Jobs(clock, metrics);
  return { clock, jobs, outcomes };
}

describe('a job', () => {
  it('starts with the service, goes on while there is more, then rests', async () => {
    const { clock, jobs } = setUp();
    const answers = [true, true, false];
    let runs = 0;
    jobs.register('sweep', {
      intervalMs: 1_000,
      run: () => {
        runs += 1;
        return Promise.resolve(answers.shift() ?? false);
      },
    });
    await clock.advance(5_000);
    expect(runs).toBe(0);
    jobs.start();
    await clock.advance(0);
    expect(runs).toBe(3);
    await clock.advance(999);
    expect(runs).toBe(3);
    await clock.advance(1);
    expect(runs).toBe(4);
    await jobs.stop();
  });

  it('never overlaps itself; woken while it runs, it runs once more', async () => {
    const { clock, jobs } = setUp();
    let runs = 0;
    let release: () => void = () => undefined;
    jobs.register('slow', {
      intervalMs: 60_000,
      run: () => {
        runs += 1;
        return new Promise((resolve) => (release = () => resolve(false)));
      },
    });
    jobs.start();
    await clock.advance(0);
    jobs.wake('slow');
    jobs.wake('slow');
    await clock.advance(10_000);
    expect(runs).toBe(1);
    release();
    await clock.advance(0);
    expect(runs).toBe(2);
    release();
    await clock.advance(59_999);
    expect(runs).toBe(2);
    await jobs.stop();
  });

  it('is woken earlier, never later', async () => {
    const { clock, jobs } = setUp();
    const ranAt: number[] = [];
    jobs.register('mail', {
      intervalMs: 1_000,
      run: () => {
        ranAt.push(clock.monotonicMs());
        return Promise.resolve(false);
      },
    });
    jobs.start();
    await clock.advance(0);
    jobs.wake('mail', 5_000);
    jobs.wake('mail', 200);
    await clock.advance(1_200);
    expect(ranAt).toEqual([0, 200, 1_200]);
    await jobs.stop();
  });

  it('that fails is tried again with growing delays, and no wake shortens them', async () => {
    const { clock, jobs, outcomes } = setUp();
    const ranAt: number[] = [];
    jobs.register('carrier', {
      intervalMs: 10,
      run: () => {
        ranAt.push(clock.monotonicMs());
        return ranAt.length <= 6 ? Promise.reject(new Error('no network')) : Promise.resolve(false);
      },
    });
    jobs.start();
    await clock.advance(0);
    jobs.wake('carrier');
    await clock.advance(50);
    expect(ranAt).toEqual([0]);
    await clock.advance(60_000);
    const rests = ranAt.slice(1, 7).map((at, index) => at - (ranAt[index] as number));
    expect(rests[5]).toBeGreaterThan(2 * (rests[0] as number));
    // Well again, it rests as it should.
    const last = ranAt.length;
    await clock.advance(100);
    expect(ranAt.length).toBe(last + 10);
    expect(outcomes.slice(5, 7)).toEqual(['carrier failed', 'carrier ok']);
    await jobs.stop();
  });

  it('that is stopped ends its run and starts no other', async () => {
    const { clock, jobs } = setUp();
    let runs = 0;
    let release: () => void = () => undefined;
    jobs.register('slow', {
      intervalMs: 10,
      run: () => {
        runs += 1;
        return new Promise((resolve) => (release = () => resolve(true)));
      },
    });
    jobs.start();
    await clock.advance(0);
    let stopped = false;
    const stopping = jobs.stop().then(() => (stopped = true));
    await clock.advance(1_000);
    expect(stopped).toBe(false);
    release();
    await stopping;
    jobs.wake('slow');
    await clock.advance(1_000);
    expect(runs).toBe(1);
    expect(clock.pending).toBe(0);
  });

  it('runs in no context but its own, whoever wakes it', async () => {
    const { clock, jobs } = setUp();
    const context = new AsyncLocalStorage<string>();
    const seen: (string | undefined)[] = [];
    jobs.register('sweep', {
      intervalMs: 1_000,
      run: () => {
        seen.push(context.getStore());
        return Promise.resolve(false);
      },
    });
    jobs.start();
    await clock.advance(0);
    context.run('the message of somebody', () => jobs.wake('sweep'));
    await clock.advance(0);
    expect(seen).toEqual([undefined, undefined]);
    await jobs.stop();
  });

  it('has a name of its own, and only registered ones are woken', () => {
    const { jobs } = setUp();
    const options = { intervalMs: 1, run: () => Promise.resolve(false) };
    jobs.register('sweep', options);
    expect(() => jobs.register('sweep', options)).toThrow('There is a job "sweep" already');
    expect(() => jobs.wake('swep')).toThrow('There is no job "swep": register it first');
  });
});
