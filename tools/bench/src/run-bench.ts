import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildAll, findBuildableProjects } from '@flotilla/nx-flotilla/build';
import { errorMessage, FlotillaError, formatDurationMs } from '@flotilla/kernel';
import { benchmarks } from './benchmarks/index.ts';
import { timer, type BenchContext } from './context.ts';
import { describeMachine } from './machine.ts';
import { benchmarkTitles, type BenchOptions } from './options.ts';
import type { Report } from './report.ts';
import type { BenchmarkResult, Scalar } from './result.ts';
import { workspaceRoot } from './workspace.ts';

export interface BenchOutcome {
  readonly report: Report;
  /** Where it was written. */
  readonly file: string;
  /** One sentence for each benchmark that failed. */
  readonly failures: readonly string[];
}

/**
 * Runs the benchmarks one after another and writes what they measured. One that fails leaves no figures and does not
 * keep the others from running.
 */
export async function runBench(
  options: BenchOptions,
  { note, onInterrupt }: Pick<BenchContext, 'note' | 'onInterrupt'>,
): Promise<BenchOutcome> {
  const startedAt = new Date().toISOString();
  const versions: Record<string, string> = {};
  const before = describeMachine({});
  await build(note);
  if (options.cpuProf !== undefined) mkdirSync(options.cpuProf, { recursive: true });
  const results: BenchmarkResult[] = [];
  const failures: string[] = [];
  const context: BenchContext = { options, note, onInterrupt, versions };
  for (const id of options.benchmarks) {
    const took = timer();
    try {
      const benchmark = await benchmarks[id]();
      const measured = await benchmark(context);
      results.push({ id, title: benchmarkTitles[id], ...measured, tookMs: took() });
      note(`${id}: done in ${formatDurationMs(took())}`);
    } catch (error) {
      failures.push(`${id}: ${describe(error)}`);
      note(`${id}: failed after ${formatDurationMs(took())}`);
    }
  }
  const machine = { ...describeMachine(versions), loadBefore: before.loadBefore };
  const report: Report = {
    format: 1,
    startedAt,
    machine,
    settings: settingsOf(options),
    benchmarks: results,
  };
  mkdirSync(options.out, { recursive: true });
  const file = join(options.out, `bench-${startedAt.replaceAll(/[:.]/g, '-')}.json`);
  writeFileSync(file, `${JSON.stringify(report, null, 2)}\n`);
  return { report, file, failures };
}

/** Libraries, services and fixtures, compiled as they are deployed; only what changed. */
async function build(note: (text: string) => void): Promise<void> {
  const took = timer();
  const built = await buildAll(findBuildableProjects(workspaceRoot));
  const written = built.reduce((sum, { written: files }) => sum + files.length, 0);
  note(`Built ${built.length} projects (${written} files changed) in ${formatDurationMs(took())}`);
}

function settingsOf(options: BenchOptions): Record<string, Scalar> {
  return {
    runs: options.runs,
    'seconds per run': options.seconds,
    'seconds of warming up': options.warmupSeconds,
    seed: options.seed,
    'NATS sync_interval': 'always',
    'Postgres fsync': 'on',
    ...(options.cpuProf !== undefined && { 'CPU profiles': 'on (slower)' }),
    ...(options.pgStat && { pg_stat_statements: 'on' }),
    ...(options.quick && { quick: 'the figures mean nothing' }),
  };
}

function describe(error: unknown): string {
  if (error instanceof FlotillaError) return `${error.code}: ${error.message}`;
  return error instanceof Error ? (error.stack ?? error.message) : errorMessage(error);
}
