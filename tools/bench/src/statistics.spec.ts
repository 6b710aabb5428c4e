import { arrivalGapMs, seededRandom } from './random.ts';
import { figureOf, latenciesOf, quantile } from './statistics.ts';

describe('quantile', () => {
  it('interpolates between neighbours', () => {
    expect(quantile([1, 2, 3, 4], 0.5)).toBe(2.5);
    expect(quantile([10, 20], 0.25)).toBe(12.5);
    expect(quantile([7], 0.99)).toBe(7);
    expect([0, 1].map((q) => quantile([3, 5, 9], q))).toEqual([3, 9]);
  });

  it('refuses what has no answer', () => {
    expect(() => quantile([], 0.5)).toThrow(RangeError);
    expect(() => quantile([1], 1.1)).toThrow('A quantile lies from 0 to 1, not at 1.1');
  });
});

it('tells the middle run, and keeps the order of all', () => {
  expect(figureOf([30, 10, 20])).toEqual({ median: 20, min: 10, max: 30, runs: [30, 10, 20] });
  expect(() => figureOf([])).toThrow('Nothing was measured');
  expect(() => figureOf([1, Number.NaN])).toThrow('A measured value is no number');
});

it('tells latencies, whatever their order', () => {
  const values = Array.from({ length: 101 }, (_, at) => 100 - at);
  expect(latenciesOf(values)).toEqual({ medianMs: 50, p99Ms: 99, maxMs: 100 });
});

it('draws the same numbers for the same seed, evenly', () => {
  const draw = (seed: number): number[] => {
    const random = seededRandom(seed);
    return Array.from({ length: 10_000 }, () => random());
  };
  expect(draw(7)).toEqual(draw(7));
  expect(draw(7)).not.toEqual(draw(8));
  expect(draw(7).every((value) => value >= 0 && value < 1)).toBe(true);
  expect(draw(7).reduce((sum, value) => sum + value, 0) / 10_000).toBeCloseTo(0.5, 1);
});

it('lets as many arrive as asked for, on average', () => {
  const random = seededRandom(1);
  const gaps = Array.from({ length: 20_000 }, () => arrivalGapMs(50, random));
  expect(gaps.every((gap) => gap >= 0)).toBe(true);
  expect(gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length).toBeCloseTo(20, 0);
});
