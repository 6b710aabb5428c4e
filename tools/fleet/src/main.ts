import { errorMessage, FlotillaError } from '@flotilla/kernel';
import { CommanderError } from 'commander';
import { buildProgram } from './program.ts';
import { processTerminal } from './terminal.ts';

try {
  await buildProgram({ terminal: processTerminal() }).parseAsync();
} catch (error) {
  process.exitCode = report(error);
}

/** Says what went wrong and returns the exit code: 2 for wrong usage, 1 for everything else. */
function report(error: unknown): number {
  // Commander has said what is wrong already, or was asked for --help.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  const all = error instanceof AggregateError ? (error.errors as unknown[]) : [error];
  for (const each of all) {
    const known = each instanceof FlotillaError;
    process.stderr.write(`${known ? `${each.code}: ${each.message}` : unexpected(each)}\n`);
  }
  return all.some((each) => each instanceof FlotillaError && each.code === 'FLEET_USAGE') ? 2 : 1;
}

function unexpected(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : errorMessage(error);
}
