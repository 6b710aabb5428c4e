import { errorMessage, FlotillaError } from '@flotilla/kernel';
import { formatTraceLine } from '@flotilla/testing/simulation';
import { CommanderError } from 'commander';
import { bugNames } from './bugs/names.ts';
import { figuresText } from './figures.ts';
import { parseOptions, type SimOptions } from './options.ts';
import { failureText, runSim } from './run-sim.ts';
import { SimUsageError } from './sim.errors.ts';

const out = (text: string): void => void process.stdout.write(text);
const err = (text: string): void => void process.stderr.write(text);

// Whoever reads the output may have seen enough (`| head`).
process.stdout.on('error', () => process.exit(1));

try {
  const options = parseOptions(process.argv.slice(2), bugNames, { out, err });
  await (options.planted ? lookForPlanted(options) : run(options));
} catch (error) {
  process.exitCode = explain(error);
}

async function run(options: SimOptions): Promise<void> {
  const { figures, failure } = await runSim(options, {
    note: (text) => err(`${text}\n`),
    onResult: (result) => {
      if (options.trace && result.violations.length === 0)
        out(`${result.trace.map(formatTraceLine).join('\n')}\n`);
    },
  });
  if (failure !== undefined) (options.json ? err : out)(`${failureText(failure, options)}\n\n`);
  if (options.json) {
    const { trace: _trace, ...facts } = failure ?? { trace: undefined };
    out(`${JSON.stringify({ figures, ...(failure && { failure: facts }) }, null, 2)}\n`);
  } else {
    out(`${figuresText(figures)}\n`);
  }
  if (options.bug === undefined) {
    if (failure !== undefined) process.exitCode = 1;
    return;
  }
  // Whoever plants a bug wants it to be found.
  if (failure === undefined) {
    err(`${options.bug} was not found within ${figures.seeds} seeds\n`);
    process.exitCode = 1;
  } else {
    err(`${options.bug} was found in seed ${failure.seed}\n`);
  }
}

/** Each planted bug has to be found; the table says in which seed each was. */
async function lookForPlanted(options: SimOptions): Promise<void> {
  const found: { bug: string; seed: number | undefined; what: string | undefined }[] = [];
  for (const bug of bugNames) {
    const { failure } = await runSim({ ...options, bug }, { note: (text) => err(`${bug}: ${text}\n`) });
    found.push({ bug, seed: failure?.seed, what: failure?.violations[0] });
    err(`${bug}: ${failure === undefined ? 'not found' : `found in seed ${failure.seed}`}\n`);
  }
  if (options.json) out(`${JSON.stringify({ planted: found }, null, 2)}\n`);
  else
    for (const { bug, seed, what } of found)
      out(`${bug.padEnd(28)} ${String(seed ?? 'not found').padStart(9)}  ${what?.split('\n')[0] ?? ''}\n`);
  if (found.some(({ seed }) => seed === undefined)) process.exitCode = 1;
}

/** Says what went wrong and returns the exit code: 2 for wrong usage, 1 for everything else. */
function explain(error: unknown): number {
  // Commander has said what is wrong already, or was asked for --help.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  if (error instanceof FlotillaError) {
    err(`${error.code}: ${error.message}\n`);
    return error instanceof SimUsageError ? 2 : 1;
  }
  err(`${error instanceof Error ? (error.stack ?? error.message) : errorMessage(error)}\n`);
  return 1;
}
