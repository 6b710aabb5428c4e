import {
  backoffDelayMs,
  deterministicId,
  errorMessage,
  FlotillaError,
  formatDurationMs,
  isoTime,
  isUuid,
  newId,
  parseDurationMs,
  partitionOf,
  systemClock,
  timeOfId,
} from './index.ts';
import { simulateIds } from './simulation.ts';

it('writes times in ISO 8601, whichever was asked for before', () => {
  const times = [0, 0, 1_700_000_000_123, 1, 1_700_000_000_123];
  expect(times.map(isoTime)).toEqual(times.map((ms) => new Date(ms).toISOString()));
});

describe('durations', () => {
  it.each([
    ['250ms', 250],
    ['5s', 5_000],
    ['1.5m', 90_000],
    ['2h', 7_200_000],
    ['7d', 604_800_000],
    [40, 40],
  ])('reads %s', (text, ms) => expect(parseDurationMs(text)).toBe(ms));

  it.each(['', 'soon', '-5s', '5 weeks', 'NaN', 'Infinity'])(
    'refuses "%s" and says how to write one',
    (text) => {
      expect(() => parseDurationMs(text)).toThrow(/write a number and a unit/);
    },
  );

  it.each([
    [12, '12ms'],
    [3_400, '3.4s'],
    [125_000, '2m 5s'],
    [12_000_000, '3h 20m'],
  ])('writes %d as %s', (ms, text) => expect(formatDurationMs(ms)).toBe(text));
});

describe('ids', () => {
  it('makes UUIDv7s that sort in the order they were made, also beyond 4096 in one millisecond', () => {
    const at = Date.now() + 1_000;
    const ids = Array.from({ length: 10_000 }, () => newId(at));
    expect(ids.every(isUuid)).toBe(true);
    expect([...ids].sort()).toEqual(ids);
    expect(new Set(ids).size).toBe(ids.length);
    expect(timeOfId(ids[0] ?? '')).toBe(at);
  });

  it('repeats them in a simulation, and draws them at random again after it', () => {
    const simulated = (): string[] => {
      let next = 0;
      simulateIds((bytes) => {
        for (let at = 0; at < bytes.length; at++) bytes[at] = next++;
      });
      return Array.from({ length: 300 }, (_, index) => newId(index));
    };
    const first = simulated();
    expect(simulated()).toEqual(first);
    simulateIds();
    expect(new Set([...first, ...Array.from({ length: 300 }, (_, index) => newId(index))]).size).toBe(600);
  });

  it('derives the same id from the same parts and another from parts cut elsewhere', () => {
    expect(deterministicId('a', 'bc')).toBe(deterministicId('a', 'bc'));
    expect(deterministicId('a', 'bc')).not.toBe(deterministicId('ab', 'c'));
    expect(timeOfId(deterministicId('a'))).toBeUndefined();
  });
});

describe('partitions', () => {
  it('is stable: these values are part of the wire format', () => {
    expect(['', 'a', 'order-1', '85123A', 'ünïcode'].map(partitionOf)).toMatchSnapshot();
  });

  it('spreads ids evenly', () => {
    const counts = new Array<number>(16).fill(0);
    for (let i = 0; i < 16_000; i++) counts[partitionOf(newId())]! += 1;
    expect(Math.min(...counts)).toBeGreaterThan(800);
    expect(Math.max(...counts)).toBeLessThan(1_200);
  });
});

describe('backoff', () => {
  it('grows, is capped, and keeps at least half of the ceiling', () => {
    const options = { initialMs: 100, maxMs: 1_000 };
    expect([1, 2, 3, 4, 9].map((attempt) => backoffDelayMs(attempt, options, () => 1))).toEqual([
      100, 200, 400, 800, 1_000,
    ]);
    expect(backoffDelayMs(9, options, () => 0)).toBe(500);
  });
});

describe('errors', () => {
  it('keeps the code, the advice and the cause', () => {
    const cause = new Error('inner');
    const error = new FlotillaError('BROKEN', 'it broke', { cause, retry: 'never' });
    expect(error).toMatchObject({ name: 'FlotillaError', code: 'BROKEN', retry: 'never', cause });
  });

  it('reads a message out of anything thrown', () => {
    expect(
      [new Error('x'), 'y', { z: 1 }, new AggregateError([new Error('p'), new Error('q')])].map(errorMessage),
    ).toEqual(['x', 'y', '{"z":1}', 'p; q']);
  });
});

describe('the system clock', () => {
  it('ends a sleep at once when the signal aborts', async () => {
    const stop = new AbortController();
    const slept = systemClock.sleep(60_000, stop.signal);
    stop.abort();
    await slept;
    await systemClock.sleep(60_000, stop.signal);
  });

  it('does not run a cancelled timer', async () => {
    let ran = 0;
    systemClock.after(1, () => (ran += 1)).cancel();
    await systemClock.sleep(5);
    expect(ran).toBe(0);
  });
});
