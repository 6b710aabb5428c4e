import { join } from 'node:path';
import { systemClock } from '@flotilla/kernel';
import type { LoadResult } from './load.ts';
import { BenchCountError } from './bench.errors.ts';
import type { BenchOptions } from './options.ts';
import { canMeasureProcesses, childrenBetween, cpuBetween, sampleCpu, type Watched } from './proc.ts';
import type { BenchmarkId, BenchmarkResult } from './result.ts';
import { BenchStack, type Fixture } from './stack.ts';
import { workspaceRoot } from './workspace.ts';

/** What every benchmark is given. */
export interface BenchContext {
  readonly options: BenchOptions;
  /** A line about what is being done. */
  readonly note: (text: string) => void;
  /** Runs `stop` also when the command is interrupted; returns the function that forgets it. */
  readonly onInterrupt: (stop: () => Promise<void>) => () => void;
  /** Versions of what was started, for the report. */
  readonly versions: Record<string, string>;
}

/** A benchmark's own part of its result. */
export type Measured = Omit<BenchmarkResult, 'id' | 'title' | 'tookMs'>;

/** How long after the end of its window a run may take until its last operation has ended, in milliseconds. */
export const PATIENCE_MS = 120_000;

/** A folder of its own for the data of a benchmark, on the disk that the workspace is on. */
export function dataFolder(id: string): string {
  return join(workspaceRoot, '.cache/bench', `${id}-${process.pid}-${Date.now()}`);
}

/** Runs `action` against a stack that is stopped and removed afterwards, whatever happens. */
export async function withStack<T>(
  { options, note, onInterrupt, versions }: BenchContext,
  id: BenchmarkId,
  fixtures: readonly Fixture[],
  action: (stack: BenchStack) => Promise<T>,
): Promise<T> {
  const { cpuProf, pgStat } = options;
  const stack = await BenchStack.start({ directory: dataFolder(id), fixtures, cpuProf, pgStat, note });
  Object.assign(versions, stack.versions);
  const forget = onInterrupt(() => stack.stop());
  try {
    return await action(stack);
  } finally {
    forget();
    await stack.stop();
  }
}

/**
 * Runs `action` and returns with its result how much processor time the processes took meanwhile, in milliseconds.
 * With `byChild`, that of Postgres is told by database and task.
 */
export async function withCpu<T>(
  watched: readonly Watched[],
  action: () => Promise<T>,
  { byChild = false }: { readonly byChild?: boolean } = {},
): Promise<{ readonly result: T; readonly cpuMs: Record<string, number> }> {
  if (!canMeasureProcesses()) return { result: await action(), cpuMs: {} };
  const before = sampleCpu(watched);
  const result = await action();
  const after = sampleCpu(watched);
  const cpuMs = cpuBetween(before, after);
  const parent = watched.find(({ withChildren }) => withChildren === true)?.name;
  if (!byChild || parent === undefined) return { result, cpuMs };
  const children = childrenBetween(before, after);
  const told = Object.values(children).reduce((sum, ms) => sum + ms, 0);
  // What is left are the parent itself and those that have ended meanwhile.
  return { result, cpuMs: { ...cpuMs, [parent]: Math.max(0, (cpuMs[parent] ?? 0) - told), ...children } };
}

/** Throws when an operation failed, or none was done. */
export function assertAllSucceeded(benchmark: BenchmarkId, load: LoadResult): void {
  if (load.failed > 0) {
    throw new BenchCountError(
      benchmark,
      `${load.failed} of ${load.started} operations failed: ${load.firstFailure}`,
    );
  }
  if (load.latenciesMs.length === 0)
    throw new BenchCountError(benchmark, 'nothing was done in the given time');
}

/** Throws when a count is not what it has to be. */
export function assertCount(benchmark: BenchmarkId, what: string, counted: number, expected: number): void {
  if (counted !== expected)
    throw new BenchCountError(benchmark, `${what}: ${counted} instead of ${expected}`);
}

/** Measures how long something takes, in milliseconds. */
export function timer(): () => number {
  const startMs = systemClock.monotonicMs();
  return () => systemClock.monotonicMs() - startMs;
}
