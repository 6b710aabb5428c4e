import type { BenchContext, Measured } from '../context.ts';
import type { BenchmarkId } from '../result.ts';

export type Benchmark = (context: BenchContext) => Promise<Measured>;

/** Loads a benchmark when it is asked for. */
export const benchmarks: Readonly<Partial<Record<BenchmarkId, () => Promise<Benchmark>>>> = {
  b: async () => (await import('./events.ts')).benchEvents,
  c: async () => (await import('./sagas.ts')).benchSagas,
  d: async () => (await import('./fleet-load.ts')).benchFleetLoad,
};
