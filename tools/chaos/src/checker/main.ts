import { readFileSync } from 'node:fs';
import { Command, CommanderError, InvalidArgumentError } from 'commander';
import type { CheckAccess, ExpectedOrder, ExpectedPoison } from './access.ts';
import { check } from './check.ts';
import { reportText } from './text.ts';

const out = (text: string): void => void process.stdout.write(text);
const err = (text: string): void => void process.stderr.write(text);

interface CheckOptions {
  readonly nats: string;
  readonly pg: readonly string[];
  readonly expected?: string;
  readonly settle: number;
  readonly json?: boolean;
}

/** What the file of `--expected` holds. */
interface ExpectedFile {
  readonly orders?: readonly ExpectedOrder[];
  readonly poison?: readonly ExpectedPoison[];
}

const collect = (text: string, before: readonly string[]): string[] => [...before, text];

function seconds(text: string): number {
  const value = Number(text);
  if (!Number.isFinite(value) || value < 0) throw new InvalidArgumentError('It must be a number of seconds.');
  return value * 1_000;
}

/** Reads `orders=postgres://...`, once for each service. */
function databasesOf(given: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    given.map((text) => {
      const at = text.indexOf('=');
      if (at <= 0) throw new InvalidArgumentError(`Write --pg <service>=<url> instead of ${text}`);
      return [text.slice(0, at), text.slice(at + 1)];
    }),
  );
}

const program = new Command('check')
  .description(
    'Reads all databases, the streams, the books of the provider and the mailbox of a fleet that rests, and says ' +
      'what is not as it has to be. Changes nothing. Exit code 1 when something is not, 2 for wrong usage.',
  )
  .option(
    '--nats <url>',
    'the broker, as an operator may read it (or NATS_URL)',
    process.env['NATS_URL'] ?? '',
  )
  .option('--pg <service=url>', "a service's database; once for each service", collect, [])
  .option('--expected <file>', 'JSON: {"orders": [{"orderId", "idempotencyKey", ...}], "poison": [{"id"}]}')
  .option('--settle <seconds>', 'how long the fleet may take to come to rest', seconds, 60_000)
  .option('--json', 'print the report as JSON')
  .exitOverride()
  .action(async ({ nats, pg, expected, settle, json }: CheckOptions) => {
    if (nats === '') throw new InvalidArgumentError('Say where the broker is: --nats nats://127.0.0.1:3022');
    const file = expected === undefined ? {} : (JSON.parse(readFileSync(expected, 'utf8')) as ExpectedFile);
    const user = process.env['NATS_USER'];
    const access: CheckAccess = {
      natsUrl: nats,
      ...(user !== undefined &&
        user !== '' && { natsCredentials: { user, password: process.env['NATS_PASSWORD'] ?? '' } }),
      databases: databasesOf(pg),
      expected: { orders: file.orders ?? [], poison: file.poison ?? [] },
      settleMs: settle,
      onProgress: (text) => err(`${text}\n`),
    };
    const report = await check(access);
    out(json === true ? `${JSON.stringify(report, null, 2)}\n` : `${reportText(report)}\n`);
    if (!report.ok) process.exitCode = 1;
  });

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : 2;
  else {
    err(`${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 1;
  }
  if (error instanceof InvalidArgumentError) err(`${error.message}\n`);
}
