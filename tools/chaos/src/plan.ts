import { ChaosUsageError } from './chaos.errors.ts';
import type { Draw, Fault } from './faults/fault.ts';

/** Draws from a source of random numbers. */
export function drawFrom(random: () => number): Draw {
  return {
    number: random,
    of: (items) => {
      const item = items[Math.floor(random() * items.length)];
      if (item === undefined) throw new RangeError('There is nothing to draw from');
      return item;
    },
    between: (least, most) => least + random() * (most - least),
  };
}

/** Those of all kinds that are asked for. Throws {@link ChaosUsageError} for a name that there is not. */
export function chosenOf(all: readonly Fault[], names: readonly string[] | undefined): readonly Fault[] {
  if (names === undefined) return all;
  const unknown = names.filter((name) => !all.some((each) => each.name === name));
  if (unknown.length > 0) {
    throw new ChaosUsageError(
      `There is no fault ${unknown.join(', ')}; there are ${all.map(({ name }) => name).join(', ')}`,
    );
  }
  return all.filter(({ name }) => names.includes(name));
}

/** The faults of one world without end: each kind once in an order drawn from the seed, then again in another. */
export function* sequence(
  kinds: readonly Fault[],
  draw: Draw,
): Generator<{ fault: Fault; round: number }, void> {
  if (kinds.length === 0) return;
  for (let round = 1; ; round++) {
    for (const left = [...kinds]; left.length > 0;) {
      const fault = draw.of(left);
      left.splice(left.indexOf(fault), 1);
      yield { fault, round };
    }
  }
}

/** How the time of a run is shared out between the worlds that it needs: by their numbers of kinds. */
export function shareOf(kinds: readonly Fault[], needs: Fault['needs'], forMs: number): number {
  const mine = kinds.filter((each) => each.needs === needs).length;
  return kinds.length === 0 ? 0 : (forMs * mine) / kinds.length;
}
