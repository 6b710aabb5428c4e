import { retryDelayMs, type Jitter } from './jitter.ts';

const options = { initialMs: 100, maxMs: 1_000 };
const delays = (jitter: Jitter, random: number): number[] => {
  const made: number[] = [];
  for (let attempt = 1; attempt <= 5; attempt += 1) {
    made.push(retryDelayMs(attempt, { ...options, jitter }, made.at(-1), () => random));
  }
  return made;
};

it.each([
  ['equal', 0, [50, 100, 200, 400, 500]],
  ['equal', 1, [100, 200, 400, 800, 1_000]],
  ['full', 0, [0, 0, 0, 0, 0]],
  ['full', 1, [100, 200, 400, 800, 1_000]],
  ['decorrelated', 0, [100, 100, 100, 100, 100]],
  ['decorrelated', 0.5, [200, 350, 575, 913, 1_000]],
  ['decorrelated', 1, [300, 900, 1_000, 1_000, 1_000]],
] as const)('%s with %s', (jitter, random, expected) => {
  expect(delays(jitter, random)).toEqual(expected);
});
