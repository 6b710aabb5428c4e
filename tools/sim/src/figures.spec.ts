import { FigureCount, figuresText } from './figures.ts';
import type { SeedResult } from './run-seed.ts';

const result = (changes: Partial<SeedResult>): SeedResult => ({
  seed: 1,
  violations: [],
  hash: '0',
  events: 100,
  simulatedMs: 1_800_000,
  orders: 2,
  returns: 1,
  endings: { 'order completed': 2 },
  faults: { crash: 1 },
  trace: [],
  ...changes,
});

it('adds seeds up, and says it in lines', () => {
  const count = new FigureCount();
  count.add(result({}));
  count.add(
    result({
      violations: ['wrong'],
      endings: { 'order cancelled': 2 },
      faults: { crash: 2, requestLost: 1 },
    }),
  );
  const figures = count.figures(4);
  expect(figures).toEqual({
    seeds: 2,
    failed: 1,
    seconds: 4,
    seedsPerSecond: 0.5,
    orders: 4,
    returns: 2,
    events: 200,
    simulatedHours: 1,
    endings: { 'order cancelled': 2, 'order completed': 2 },
    faults: { crash: 3, requestLost: 1 },
  });
  expect(figuresText(figures)).toContain('2 seeds in 4.0 s (0.5 a second), 1 failed');
});
