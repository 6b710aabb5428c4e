import { errorMessage, FlotillaError } from '@flotilla/kernel';
import { CommanderError } from 'commander';
import { ChaosUsageError } from './chaos.errors.ts';
import { parseOptions, type ChaosOptions } from './options.ts';

const out = (text: string): void => void process.stdout.write(text);
const err = (text: string): void => void process.stderr.write(text);

const stop = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    if (stop.signal.aborted) process.exit(130);
    err('Stopping; once more to stop at once\n');
    stop.abort();
  });
}

try {
  process.exitCode = await run(parseOptions(process.argv.slice(2), { out, err }));
} catch (error) {
  process.exitCode = explain(error);
}
// Everything is stopped; connections kept for another request would hold the process for some more time.
process.stdout.write('', () => process.exit());

async function run(options: ChaosOptions): Promise<number> {
  // Loaded when needed: --help is quick.
  const { failuresOf, listText, reportMarkdown, reportText } = await import('./report.ts');
  if (options.list) {
    const { faults } = await import('./faults/index.ts');
    const { chosenOf } = await import('./plan.ts');
    out(`${listText(chosenOf(faults, options.faults))}\n`);
    return 0;
  }
  const { runChaos } = await import('./run-chaos.ts');
  const report = await runChaos(options, {
    note: (text) => err(`${new Date().toISOString().slice(11, 23)} ${text}\n`),
    signal: stop.signal,
  });
  if (options.json) out(`${JSON.stringify(report, null, 2)}\n`);
  else if (options.markdown) out(`${reportMarkdown(report)}\n`);
  else out(`${reportText(report)}\n`);
  return failuresOf(report).length === 0 ? 0 : 1;
}

/** Says what went wrong and returns the exit code: 2 for wrong usage, 130 after Ctrl-C, 1 for everything else. */
function explain(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  if (stop.signal.aborted) return 130;
  if (error instanceof FlotillaError) {
    err(`${error.code}: ${error.message}\n`);
    return error instanceof ChaosUsageError ? 2 : 1;
  }
  err(`${error instanceof Error ? (error.stack ?? error.message) : errorMessage(error)}\n`);
  return 1;
}
