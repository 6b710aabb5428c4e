/** Numbers from 0 (inclusive) to 1 (exclusive), the same ones for the same seed: Mulberry32. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  };
}

/** A value of the standard normal distribution (Box and Muller). */
export function normal(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** Time until the next of `perSecond` events that come independently of each other (a Poisson process), in milliseconds. */
export function arrivalGapMs(perSecond: number, random: () => number): number {
  return (-Math.log(1 - random()) / perSecond) * 1_000;
}
