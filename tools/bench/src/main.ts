import { readFileSync } from 'node:fs';
import { errorMessage, FlotillaError } from '@flotilla/kernel';
import { CommanderError } from 'commander';
import { BenchUsageError } from './bench.errors.ts';
import { parseOptions, type BenchOptions } from './options.ts';
import { reportMarkdown, reportText, type Report } from './report.ts';

const out = (text: string): void => void process.stdout.write(text);
const err = (text: string): void => void process.stderr.write(text);

// Whoever reads the output may have seen enough (`| head`).
process.stdout.on('error', () => process.exit(1));

const stops = new Set<() => Promise<void>>();
let interrupted = false;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    if (interrupted) process.exit(130);
    interrupted = true;
    err('Stopping; once more to stop at once\n');
    void Promise.allSettled([...stops].map((stop) => stop())).then(() => process.exit(130));
  });
}

try {
  const options = parseOptions(process.argv.slice(2), { out, err });
  if (options.markdown === undefined) await run(options);
  else out(`${reportMarkdown(readReport(options.markdown))}\n`);
} catch (error) {
  process.exitCode = explain(error);
}

async function run(options: BenchOptions): Promise<void> {
  // Loaded when something is to be run: --help and --markdown are quick.
  const { runBench } = await import('./run-bench.ts');
  const { report, file, failures } = await runBench(options, {
    note: (text) => err(`${text}\n`),
    onInterrupt,
  });
  out(options.json ? `${JSON.stringify(report, null, 2)}\n` : `${reportText(report)}\n`);
  err(`Written to ${file}\n`);
  for (const failure of failures) err(`${failure}\n`);
  if (failures.length > 0) process.exitCode = 1;
}

/** Stops what runs when the command is interrupted; a second signal does not wait for that. */
function onInterrupt(stop: () => Promise<void>): () => void {
  stops.add(stop);
  return () => stops.delete(stop);
}

function readReport(file: string): Report {
  let report: Partial<Report>;
  try {
    report = JSON.parse(readFileSync(file, 'utf8')) as Partial<Report>;
  } catch (error) {
    throw new BenchUsageError(`${file} cannot be read as JSON: ${errorMessage(error)}`);
  }
  if (report.format !== 1) throw new BenchUsageError(`${file} was not written by "npm run bench"`);
  return report as Report;
}

/** Says what went wrong and returns the exit code: 2 for wrong usage, 1 for everything else. */
function explain(error: unknown): number {
  // Commander has said what is wrong already, or was asked for --help.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  if (error instanceof FlotillaError) {
    err(`${error.code}: ${error.message}\n`);
    return error instanceof BenchUsageError ? 2 : 1;
  }
  err(`${error instanceof Error ? (error.stack ?? error.message) : errorMessage(error)}\n`);
  return 1;
}
