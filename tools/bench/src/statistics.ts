/** One figure of several runs: the middle one, and how far the runs lie apart. */
export interface Figure {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  /** Each run's own value, in the order of the runs. */
  readonly runs: readonly number[];
}

/** Median and spread of what each run measured. Throws a RangeError without runs. */
export function figureOf(runs: readonly number[]): Figure {
  const sorted = ascending(runs);
  return {
    median: quantile(sorted, 0.5),
    min: sorted[0] ?? Number.NaN,
    max: sorted.at(-1) ?? Number.NaN,
    runs: [...runs],
  };
}

/** Of the latencies of one run, in milliseconds. */
export interface Latencies {
  readonly medianMs: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

/** Median, 99th percentile and maximum. Throws a RangeError without values. */
export function latenciesOf(valuesMs: readonly number[]): Latencies {
  const sorted = ascending(valuesMs);
  return {
    medianMs: quantile(sorted, 0.5),
    p99Ms: quantile(sorted, 0.99),
    maxMs: sorted.at(-1) ?? Number.NaN,
  };
}

/**
 * The value below which the share `q` of the sorted values lies, interpolated between neighbours (type 7 of Hyndman
 * and Fan 1996, the default of R and NumPy).
 */
export function quantile(sorted: readonly number[], q: number): number {
  if (sorted.length === 0) throw new RangeError('There is no quantile of nothing');
  if (!(q >= 0 && q <= 1)) throw new RangeError(`A quantile lies from 0 to 1, not at ${q}`);
  const at = (sorted.length - 1) * q;
  const below = sorted[Math.floor(at)] ?? Number.NaN;
  const above = sorted[Math.ceil(at)] ?? Number.NaN;
  return below + (above - below) * (at - Math.floor(at));
}

function ascending(values: readonly number[]): number[] {
  if (values.length === 0) throw new RangeError('Nothing was measured');
  const sorted = Float64Array.from(values).sort();
  if (sorted.some((value) => !Number.isFinite(value))) throw new RangeError('A measured value is no number');
  return [...sorted];
}
