import { InvalidArgumentError, type Command } from 'commander';
import { resolve } from 'node:path';
import { parseDurationMs } from '@flotilla/kernel';
import { dataDirAt, type DataDir } from '../stack/data-dir.ts';
import { defaultDataDir } from '../workspace.ts';
import type { Terminal } from '../terminal.ts';

/** What every command is given. */
export interface CommandContext {
  readonly terminal: Terminal;
}

export interface DataOption {
  readonly data: string;
}

/** `--data DIR`. */
export function withData(command: Command): Command {
  return command.option(
    '--data <dir>',
    'the data directory of the fleet (or FLOTILLA_DATA)',
    defaultDataDir(),
  );
}

/** `--json`. */
export function withJson(command: Command): Command {
  return command.option('--json', 'print the facts as JSON');
}

export function dirOf({ data }: DataOption): DataDir {
  return dataDirAt(resolve(data));
}

/** Reads `a,b`. */
export function names(text: string): string[] {
  return text
    .split(',')
    .map((each) => each.trim())
    .filter((each) => each !== '');
}

/** Reads a whole number of at least `least`. */
export function wholeNumber(least: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!Number.isInteger(value) || value < least) {
      throw new InvalidArgumentError(`It must be a whole number from ${least} on.`);
    }
    return value;
  };
}

/** Reads `30s`, in milliseconds. */
export function duration(text: string): number {
  try {
    return parseDurationMs(text);
  } catch {
    throw new InvalidArgumentError('Write a number and a unit, for example 30s or 5m.');
  }
}
