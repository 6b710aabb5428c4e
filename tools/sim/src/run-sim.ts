import { fork, type ChildProcess, type ForkOptions } from 'node:child_process';
import { join } from 'node:path';
import { formatTraceLine } from '@flotilla/testing/simulation';
import { FigureCount, type Figures } from './figures.ts';
import type { SimOptions } from './options.ts';
import type { SeedRequest, WorkerAnswer } from './process/protocol.ts';
import type { SeedResult } from './run-seed.ts';
import { WorkerFailedError } from './sim.errors.ts';
import { workspaceRoot } from './workspace.ts';

const PROCESS_DIR = join(import.meta.dirname, 'process');
/** How a process that simulates is started. */
export const processOptions = {
  program: join(PROCESS_DIR, 'main.ts'),
  how: {
    cwd: workspaceRoot,
    execArgv: [
      '--conditions=@flotilla/source',
      '--disable-warning=ExperimentalWarning',
      '--max-old-space-size=1024',
      // A seed leaves little behind and makes much: collecting it young costs a third of what it does by default.
      '--max-semi-space-size=64',
      '--import',
      join(PROCESS_DIR, 'loader.mjs'),
    ],
    serialization: 'advanced',
  },
} as const satisfies { readonly program: string; readonly how: ForkOptions };
const PROGRESS_EVERY_MS = 5_000;
/** Several at a time, so that a process never waits for the next seed. */
const SEEDS_AHEAD = 2;

/** What a run came to. */
export interface SimReport {
  readonly figures: Figures;
  /** The failing seed with the smallest number, with its trace; undefined when all passed. */
  readonly failure: SeedResult | undefined;
}

export interface RunHooks {
  /** Progress, for people. */
  readonly note: (text: string) => void;
  /** Every result, as it comes. */
  readonly onResult?: (result: SeedResult) => void;
}

/** Runs seeds in processes of their own; stops at the first that fails. */
export async function runSim(options: SimOptions, { note, onResult }: RunHooks): Promise<SimReport> {
  const { from, seeds, workers, bug, trace, minutes } = options;
  const startedMs = performance.now();
  const seconds = (): number => (performance.now() - startedMs) / 1_000;
  const count = new FigureCount();
  const failures: SeedResult[] = [];
  let next = from;
  const endMs = minutes === undefined ? Infinity : startedMs + minutes * 60_000;
  const take = (): number | undefined =>
    next < from + seeds && failures.length === 0 && performance.now() < endMs ? next++ : undefined;
  const progress = setInterval(
    () => note(`${count.seeds} of ${seeds} seeds, ${(count.seeds / seconds()).toFixed(1)} a second`),
    PROGRESS_EVERY_MS,
  );
  try {
    await Promise.all(
      Array.from({ length: workers }, () =>
        workThrough(take, { trace, ...(bug !== undefined && { bug }) }, (result) => {
          count.add(result);
          onResult?.(result);
          if (result.violations.length > 0) failures.push(result);
        }),
      ),
    );
  } finally {
    clearInterval(progress);
  }
  const first = failures.sort((a, b) => a.seed - b.seed)[0];
  return {
    figures: count.figures(seconds()),
    failure: first === undefined || trace ? first : await replay(first.seed, bug),
  };
}

/** The same seed once more, with everything that happens written down. */
async function replay(seed: number, bug: string | undefined): Promise<SeedResult> {
  const results: SeedResult[] = [];
  let left: number | undefined = seed;
  const take = (): number | undefined => {
    const taken = left;
    left = undefined;
    return taken;
  };
  await workThrough(take, { trace: true, ...(bug !== undefined && { bug }) }, (result) =>
    results.push(result),
  );
  return results[0] as SeedResult;
}

/** One process that takes seeds until there are none. */
function workThrough(
  take: () => number | undefined,
  request: Omit<SeedRequest, 'seed'>,
  onResult: (result: SeedResult) => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const worker = fork(processOptions.program, [], processOptions.how);
    const running = new Set<number>();
    const feed = (): void => {
      while (running.size < SEEDS_AHEAD) {
        const seed = take();
        if (seed === undefined) break;
        running.add(seed);
        ask(worker, { ...request, seed });
      }
      if (running.size === 0) worker.disconnect();
    };
    worker.on('message', (message: WorkerAnswer) => {
      if (message.type === 'result') {
        running.delete(message.result.seed);
        onResult(message.result);
      }
      feed();
    });
    worker.on('error', reject);
    worker.on('exit', (code, signal) => {
      if (running.size === 0 && code === 0) resolve();
      else
        reject(
          new WorkerFailedError([...running][0], signal === null ? `with code ${code}` : `by ${signal}`),
        );
    });
  });
}

function ask(worker: ChildProcess, request: SeedRequest): void {
  worker.send(request);
}

/** What a failing seed says: what is wrong, how to see it again, and what happened. */
export function failureText(failure: SeedResult, options: Pick<SimOptions, 'bug'>): string {
  const bug = options.bug === undefined ? '' : ` --bug ${options.bug}`;
  return [
    ...failure.trace.map(formatTraceLine),
    '',
    `seed ${failure.seed} fails:`,
    ...failure.violations.map((violation) => `  - ${violation}`),
    '',
    `replay: npm run sim -- --seed ${failure.seed} --trace${bug}`,
  ].join('\n');
}
