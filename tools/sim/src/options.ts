import { Command, InvalidArgumentError } from 'commander';
import { SimUsageError } from './sim.errors.ts';

/** What the command line asks for. */
export interface SimOptions {
  /** How many seeds. */
  readonly seeds: number;
  /** The first seed. */
  readonly from: number;
  /** Processes that share the seeds. */
  readonly workers: number;
  /** Only this seed. */
  readonly seed: number | undefined;
  /** Prints what happened in the seed. */
  readonly trace: boolean;
  /** The planted bug to look for: it is a success to find it. */
  readonly bug: string | undefined;
  /** Looks for every planted bug, one after another. */
  readonly planted: boolean;
  readonly json: boolean;
  /** Stops beginning further seeds after this, in minutes. */
  readonly minutes: number | undefined;
}

export interface Writers {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
}

const DEFAULT_SEEDS = 10_000;
/** Within so many each planted bug has to be found. */
const PLANTED_SEEDS = 1_000;
const DEFAULT_WORKERS = 2;

interface RawOptions {
  readonly seeds?: number;
  readonly from: number;
  readonly workers: number;
  readonly seed?: number;
  readonly planted?: boolean;
  readonly trace?: boolean;
  readonly bug?: string;
  readonly json?: boolean;
  readonly minutes?: number;
}

/** Reads the command line; `bugs` are the names that `--bug` takes. */
export function parseOptions(
  argv: readonly string[],
  bugs: readonly string[],
  { out, err }: Writers,
): SimOptions {
  const command = new Command('sim')
    .description(
      'Runs the sagas of the fleet in a simulated world, in which each seed decides what goes wrong and when.',
    )
    .option(
      '--seeds <n>',
      `how many seeds (default: ${DEFAULT_SEEDS}; for planted bugs ${PLANTED_SEEDS})`,
      wholeFrom(1),
    )
    .option('--from <seed>', 'the first seed', wholeFrom(0), 1)
    .option('--workers <n>', 'processes that share the seeds', wholeFrom(1), DEFAULT_WORKERS)
    .option('--seed <seed>', 'only this seed', wholeFrom(0))
    .option('--trace', 'print everything that happened in it (with --seed)')
    .option('--bug <name>', `plant a bug and look for it: ${bugs.join(', ')}`)
    .option('--planted', 'look for every planted bug, one after another')
    .option('--minutes <m>', 'begin no further seed after this time', positive)
    .option('--json', 'print the figures as JSON')
    .showHelpAfterError('(--help shows what there is)')
    .configureOutput({ writeOut: out, writeErr: err })
    .exitOverride()
    .parse(['node', 'sim', ...argv]);
  const raw = command.opts<RawOptions>();
  const { from, workers, seed, trace = false, bug, planted = false, json = false, minutes } = raw;
  const seeds = raw.seeds ?? (planted || bug !== undefined ? PLANTED_SEEDS : DEFAULT_SEEDS);
  if (trace && seed === undefined)
    throw new SimUsageError('--trace prints what happened in one seed: say which with --seed');
  if (bug !== undefined && !bugs.includes(bug))
    throw new SimUsageError(`There is no planted bug "${bug}"; there are ${bugs.join(', ')}`);
  return {
    seeds: seed === undefined ? seeds : 1,
    from: seed ?? from,
    workers: seed === undefined ? Math.min(workers, seeds) : 1,
    seed,
    trace,
    bug,
    planted,
    json,
    minutes,
  };
}

const wholeFrom =
  (least: number) =>
  (text: string): number => {
    const value = Number(text);
    if (!Number.isSafeInteger(value) || value < least)
      throw new InvalidArgumentError(`expected a whole number from ${least}, not "${text}"`);
    return value;
  };

function positive(text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new InvalidArgumentError(`expected a number above 0, not "${text}"`);
  return value;
}
