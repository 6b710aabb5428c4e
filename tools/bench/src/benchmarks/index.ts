import type { BenchContext, Measured } from '../context.ts';
import type { BenchmarkId } from '../result.ts';

export type Benchmark = (context: BenchContext) => Promise<Measured>;

/** Loads a benchmark when it is asked for. */
export const benchmarks: Readonly<Record<BenchmarkId, () => Promise<Benchmark>>> = {
  a: async () => (await import('./requests.ts')).benchRequests,
  b: async () => (await import('./events.ts')).benchEvents,
  c: async () => (await import('./sagas.ts')).benchSagas,
  d: async () => (await import('./fleet-load.ts')).benchFleetLoad,
  e: async () => (await import('./history.ts')).benchHistory,
  f: async () => (await import('./replicas.ts')).benchReplicas,
  g: async () => (await import('./footprint.ts')).benchFootprint,
};
