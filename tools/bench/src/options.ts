import { resolve } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { BenchUsageError } from './bench.errors.ts';
import type { BenchmarkId } from './result.ts';
import { workspaceRoot } from './workspace.ts';

/** What the command line asks for. */
export interface BenchOptions {
  readonly benchmarks: readonly BenchmarkId[];
  /** How often each row is measured. */
  readonly runs: number;
  /** How long one run of one row takes, in seconds; warming up and waiting for the last ones come on top. */
  readonly seconds: number;
  readonly warmupSeconds: number;
  /** Instead of a benchmark's own numbers of operations at a time. */
  readonly inFlight: readonly number[] | undefined;
  /** Orders that benchmark e places at most. */
  readonly orders: number;
  readonly seed: number;
  /** A retail CSV that the orders of d to f are taken from; undefined: the synthetic mix. */
  readonly csv: string | undefined;
  readonly peers: boolean;
  readonly quick: boolean;
  readonly json: boolean;
  /** The folder that the JSON goes to. */
  readonly out: string;
  /** Print the tables of this file instead of running anything. */
  readonly markdown: string | undefined;
  /** The folder for CPU profiles of the service processes. */
  readonly cpuProf: string | undefined;
  readonly pgStat: boolean;
  readonly portBase: number;
}

/** The benchmarks, in their order. */
export const benchmarkTitles: Readonly<Record<BenchmarkId, string>> = {
  a: 'a request to another service',
  b: 'events, from commit to handled',
  c: 'a saga of four steps over two services',
  d: 'the whole fleet: orders per second, time to their end',
  e: 'cost per order as the history grows',
  f: 'replicas of a service',
  g: 'start, idle processor time, memory',
};

const IDS = Object.keys(benchmarkTitles) as BenchmarkId[];
/** A block that `npm start` does not use, so that a fleet may run beside it (and disturb the figures). */
const DEFAULT_PORT_BASE = 23_000;

interface RawOptions {
  readonly runs?: number;
  readonly seconds?: number;
  readonly warmup?: number;
  readonly inFlight?: number[];
  readonly orders?: number;
  readonly seed: number;
  readonly csv?: string;
  readonly peers?: boolean;
  readonly quick?: boolean;
  readonly json?: boolean;
  readonly out: string;
  readonly markdown?: string;
  readonly cpuProf?: string;
  readonly pgStat?: boolean;
  readonly portBase?: number;
}

/** Reads the arguments. Throws a CommanderError (usage, `--help`) or {@link BenchUsageError}. */
export function parseOptions(
  argv: readonly string[],
  write: { readonly out: (text: string) => void; readonly err: (text: string) => void },
  env: NodeJS.ProcessEnv = process.env,
): BenchOptions {
  const program = new Command('bench')
    .description('Measures the chassis and the fleet on this machine, servers and load generator included.')
    .argument('[benchmarks...]', `which: ${IDS.join(' ')} (default: all)`)
    .option('--runs <n>', 'measure each row so often (default: 3; with --quick 1)', whole(1, 100))
    .option(
      '--seconds <n>',
      'length of one run of one row (default: 10; with --quick 1)',
      between(0.2, 3_600),
    )
    .option('--warmup <n>', 'seconds of load before the first run of each row (default: 3)', between(0, 600))
    .option(
      '--in-flight <list>',
      'operations at a time, for example 1,32, where a benchmark varies them',
      list,
    )
    .option('--orders <n>', 'benchmark e stops after so many orders (default: 10000)', whole(100, 10_000_000))
    .option('--seed <n>', 'of arrivals and of the synthetic orders', whole(0, 2 ** 32 - 1), 1)
    .option('--csv <file>', 'take the orders of d to f from a retail CSV (default: a synthetic mix)')
    .option('--peers', 'also measure other frameworks; installs them into a cache folder with npm')
    .option('--quick', 'a smoke run: shows that it works, its figures mean nothing')
    .option('--json', 'print the JSON instead of the tables')
    .option('--out <dir>', 'where the JSON is written', resolve(workspaceRoot, '.cache/bench/results'))
    .option('--markdown <file>', 'print the tables of a JSON file as Markdown and run nothing')
    .option('--cpu-prof <dir>', 'write V8 CPU profiles of all service processes there (slows them)')
    .option('--pg-stat', 'print what Postgres spent its time on (pg_stat_statements; slows it a little)')
    .option(
      '--port-base <n>',
      `ports of the fleet of d to g (or FLOTILLA_PORT_BASE; default: ${DEFAULT_PORT_BASE})`,
      whole(1_024, 65_000),
    )
    .addHelpText(
      'after',
      () => `\nBenchmarks:\n${IDS.map((id) => `  ${id}  ${benchmarkTitles[id]}`).join('\n')}\n`,
    )
    .showHelpAfterError('(--help shows what there is)')
    .exitOverride()
    .configureOutput({ writeOut: write.out, writeErr: write.err });
  program.parse([...argv], { from: 'user' });
  const raw = program.opts<RawOptions>();
  const quick = raw.quick === true;
  return {
    benchmarks: chosen(program.args),
    runs: raw.runs ?? (quick ? 1 : 3),
    seconds: raw.seconds ?? (quick ? 1 : 10),
    warmupSeconds: raw.warmup ?? (quick ? 0 : 3),
    inFlight: raw.inFlight ?? (quick ? [8] : undefined),
    orders: raw.orders ?? (quick ? 200 : 10_000),
    seed: raw.seed,
    csv: raw.csv === undefined ? undefined : resolve(raw.csv),
    peers: raw.peers === true,
    quick,
    json: raw.json === true,
    out: resolve(raw.out),
    markdown: raw.markdown === undefined ? undefined : resolve(raw.markdown),
    cpuProf: raw.cpuProf === undefined ? undefined : resolve(raw.cpuProf),
    pgStat: raw.pgStat === true,
    portBase: raw.portBase ?? portBaseOf(env),
  };
}

function chosen(names: readonly string[]): BenchmarkId[] {
  // `a,c` and `ac` are what people try first.
  const letters = names.flatMap((name) => (/^[a-z]{1,7}$/.test(name) ? [...name] : name.split(',')));
  const unknown = letters.filter((letter) => !IDS.includes(letter as BenchmarkId));
  if (unknown.length > 0) {
    throw new BenchUsageError(`There is no benchmark ${unknown.join(', ')}; there are ${IDS.join(', ')}`);
  }
  return letters.length === 0 ? [...IDS] : IDS.filter((id) => letters.includes(id));
}

function portBaseOf(env: NodeJS.ProcessEnv): number {
  const text = env['FLOTILLA_PORT_BASE'];
  if (text === undefined || text === '') return DEFAULT_PORT_BASE;
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1_024 || value > 65_000) {
    throw new BenchUsageError(
      `FLOTILLA_PORT_BASE is "${text}"; it must be a whole number from 1024 to 65000`,
    );
  }
  return value;
}

function whole(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() === '' || !Number.isInteger(value) || value < least || value > most) {
      throw new InvalidArgumentError(`It must be a whole number from ${least} to ${most}.`);
    }
    return value;
  };
}

function between(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() === '' || !(value >= least && value <= most)) {
      throw new InvalidArgumentError(`It must be a number from ${least} to ${most}.`);
    }
    return value;
  };
}

function list(text: string): number[] {
  return text.split(',').map(whole(1, 4_096));
}
