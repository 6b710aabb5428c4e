import { checkpointsOf } from './history.ts';

it.each([
  [100, [0, 100]],
  [1_000, [0, 1_000]],
  [5_000, [0, 1_000, 5_000]],
  [100_000, [0, 1_000, 10_000, 100_000]],
])('measures after fixed histories up to %d orders', (orders, checkpoints) => {
  expect(checkpointsOf({ orders })).toEqual(checkpoints);
});
