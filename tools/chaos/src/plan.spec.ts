import { seededRandom } from '@flotilla/bench/random';
import { faults } from './faults/index.ts';
import { chosenOf, drawFrom, sequence, shareOf } from './plan.ts';

const taken = (seed: number, count: number): string[] => {
  const drawn: string[] = [];
  for (const { fault } of sequence(faults, drawFrom(seededRandom(seed)))) {
    drawn.push(fault.name);
    if (drawn.length === count) break;
  }
  return drawn;
};
const all = faults.map(({ name }) => name).sort();

it('takes each kind once before any comes again, in an order that the seed decides', () => {
  expect(taken(1, all.length).sort()).toEqual(all);
  expect(
    taken(1, all.length * 2)
      .slice(all.length)
      .sort(),
  ).toEqual(all);
  expect(taken(1, 40)).toEqual(taken(1, 40));
  expect(taken(1, 40)).not.toEqual(taken(2, 40));
});

it('chooses by name, in the order of the list, and refuses what there is not', () => {
  expect(chosenOf(faults, ['poison', 'kill-service']).map(({ name }) => name)).toEqual([
    'kill-service',
    'poison',
  ]);
  expect(() => chosenOf(faults, ['meteor'])).toThrow('There is no fault meteor; there are kill-service');
  expect(chosenOf(faults, undefined)).toBe(faults);
});

it('shares the time by the number of kinds', () => {
  const shares = (['single', 'cluster'] as const).map((kind) => shareOf(faults, kind, 600_000));
  expect(shares.reduce((sum, share) => sum + share, 0)).toBeCloseTo(600_000);
  expect(shareOf(chosenOf(faults, ['poison']), 'cluster', 600_000)).toBe(0);
});

it('names each kind once, with what holds and where it is seen', () => {
  expect(new Set(all).size).toBe(all.length);
  for (const { name, what, holds, seen } of faults) {
    expect(name).toMatch(/^[a-z]+(-[a-z]+)*$/);
    for (const text of [what, holds, seen]) expect(text.length).toBeGreaterThan(20);
  }
});
