import { join } from 'node:path';
import { systemClock } from '@flotilla/kernel';
import type { LoadResult } from './load.ts';
import { BenchCountError } from './bench.errors.ts';
import type { BenchOptions } from './options.ts';
import { cpuBetween, sampleCpu, canMeasureProcesses, type Watched } from './proc.ts';
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

/** Runs `action` and returns with its result how much processor time the processes took meanwhile, in milliseconds. */
export async function withCpu<T>(
  watched: readonly Watched[],
  action: () => Promise<T>,
): Promise<{ readonly result: T; readonly cpuMs: Record<string, number> }> {
  if (!canMeasureProcesses()) return { result: await action(), cpuMs: {} };
  const before = sampleCpu(watched);
  const result = await action();
  return { result, cpuMs: cpuBetween(before, sampleCpu(watched)) };
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
