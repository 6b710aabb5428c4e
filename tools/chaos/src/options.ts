import { resolve } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { parseDurationMs } from '@flotilla/kernel';
import { ChaosUsageError } from './chaos.errors.ts';

/** What the command line asks for. */
export interface ChaosOptions {
  /** Kinds of faults, by name; undefined: all. */
  readonly faults: readonly string[] | undefined;
  readonly list: boolean;
  /** How long orders arrive and faults are injected, in milliseconds, in all. */
  readonly forMs: number;
  readonly seed: number;
  readonly perSecond: number;
  /** A retail CSV that the orders are taken from; undefined: a synthetic mix. */
  readonly csv: string | undefined;
  readonly ackWaitMs: number;
  readonly duplicateWindowMs: number;
  readonly portBase: number;
  readonly json: boolean;
  readonly markdown: boolean;
  /** Keep data and logs, also when nothing is wrong. */
  readonly keep: boolean;
}

/** A block that neither `npm start` nor the benchmarks use. */
const DEFAULT_PORT_BASE = 24_080;

interface RawOptions {
  readonly faults?: string[];
  readonly list?: boolean;
  readonly minutes: number;
  readonly seed: number;
  readonly rate: number;
  readonly csv?: string;
  readonly ackWait: number;
  readonly duplicateWindow: number;
  readonly portBase?: number;
  readonly json?: boolean;
  readonly markdown?: boolean;
  readonly keep?: boolean;
}

/** Reads the arguments. Throws a CommanderError (usage, `--help`) or {@link ChaosUsageError}. */
export function parseOptions(
  argv: readonly string[],
  write: { readonly out: (text: string) => void; readonly err: (text: string) => void },
  env: NodeJS.ProcessEnv = process.env,
): ChaosOptions {
  const program = new Command('chaos')
    .description(
      'Runs the whole fleet as processes under load, breaks what can break, and shows that no order is lost and nothing happens twice.',
    )
    .option(
      '--faults <names>',
      'only these kinds, for example kill-service,nats-restart (default: all)',
      names,
    )
    .option('--list', 'print the kinds of faults and run nothing')
    .option('--minutes <n>', 'how long orders arrive and faults are injected', between(0.2, 600), 10)
    .option('--seed <n>', 'of the orders and of the faults', whole(0, 2 ** 32 - 1), 1)
    .option('--rate <n>', 'orders per second', between(0.1, 1_000), 5)
    .option('--csv <file>', 'take the orders from a retail CSV (default: a synthetic mix)')
    .option(
      '--ack-wait <duration>',
      'of all consumers; shorter than in production (30s), so that minutes hold more',
      duration,
      5_000,
    )
    .option(
      '--duplicate-window <duration>',
      'of all streams; shorter than in production (2m)',
      duration,
      20_000,
    )
    .option(
      '--port-base <n>',
      `first of 40 ports (or FLOTILLA_PORT_BASE; default: ${DEFAULT_PORT_BASE})`,
      whole(1_024, 65_000),
    )
    .option('--json', 'print the report as JSON')
    .option('--markdown', 'print the report as Markdown')
    .option('--keep', 'keep data and logs although nothing is wrong')
    .showHelpAfterError('(--help shows what there is)')
    .exitOverride()
    .configureOutput({ writeOut: write.out, writeErr: write.err });
  program.parse([...argv], { from: 'user' });
  const raw = program.opts<RawOptions>();
  return {
    faults: raw.faults,
    list: raw.list === true,
    forMs: raw.minutes * 60_000,
    seed: raw.seed,
    perSecond: raw.rate,
    csv: raw.csv === undefined ? undefined : resolve(raw.csv),
    ackWaitMs: raw.ackWait,
    duplicateWindowMs: raw.duplicateWindow,
    portBase: raw.portBase ?? portBaseOf(env),
    json: raw.json === true,
    markdown: raw.markdown === true,
    keep: raw.keep === true,
  };
}

function portBaseOf(env: NodeJS.ProcessEnv): number {
  const text = env['FLOTILLA_PORT_BASE'];
  if (text === undefined || text === '') return DEFAULT_PORT_BASE;
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1_024 || value > 65_000) {
    throw new ChaosUsageError(
      `FLOTILLA_PORT_BASE is "${text}"; it must be a whole number from 1024 to 65000`,
    );
  }
  return value;
}

function names(text: string): string[] {
  return text
    .split(',')
    .map((each) => each.trim())
    .filter((each) => each !== '');
}

function duration(text: string): number {
  try {
    return parseDurationMs(text);
  } catch {
    throw new InvalidArgumentError('Write it as 500ms, 5s or 2m.');
  }
}

function whole(least: number, most: number): (text: string) => number {
  const read = between(least, most);
  return (text) => {
    const value = read(text);
    if (!Number.isInteger(value)) throw new InvalidArgumentError('It must be a whole number.');
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
