import type { Command } from 'commander';
import { connectNats } from '@flotilla/messaging';
import { formatDurationMs } from '@flotilla/kernel';
import { discoverServices } from '../services.ts';
import { findDatabases } from '../stack/migrations.ts';
import { findNats } from '../stack/nats-access.ts';
import { discreet } from '../terminal.ts';
import { verifyFleet, type VerifyResult } from '../verify/verify.ts';
import {
  dirOf,
  duration,
  wholeNumber,
  withData,
  withJson,
  type CommandContext,
  type DataOption,
} from './shared.ts';
import { watchFleet } from './watch-fleet.ts';

interface VerifyOptions extends DataOption {
  readonly timeout: number;
  readonly watch?: boolean;
  readonly interval: number;
  readonly grace: number;
  readonly rounds?: number;
  readonly json?: boolean;
}

/** Differences of one check that are shown; all are in the JSON. */
const SHOWN = 10;

/** `fleet verify`: exit code 0 only when every check holds. */
export function addVerify(program: Command, context: CommandContext): void {
  const terminal = discreet(context.terminal);
  withJson(
    withData(
      program
        .command('verify')
        .description(
          "reconcile the whole fleet: orders, sagas, money, stock, messages; reads every service's database " +
            '(<SERVICE>_DATABASE_URL, else the running fleet) and the broker (NATS_URL, else the running fleet)',
        )
        .option('--timeout <duration>', 'how long to wait for what is under way', duration, 60_000)
        .option(
          '--watch',
          'go on comparing outboxes, streams, inboxes, views and timers, and tell what diverges, until Ctrl-C',
        )
        .option('--interval <duration>', 'with --watch: from one round to the next', duration, 5_000)
        .option(
          '--grace <duration>',
          'with --watch: what is gone by then was only on its way',
          duration,
          30_000,
        )
        .option(
          '--rounds <n>',
          'with --watch: end after so many rounds in which all was looked at; exit code 1 when something diverges then',
          wholeNumber(1),
        ),
    ),
  ).action(async (options: VerifyOptions) => {
    if (options.watch === true) return watchFleet(options, terminal);
    const dir = dirOf(options);
    const databases = await findDatabases(await discoverServices(), dir);
    const connection = await connectNats({ ...(await findNats(dir)), name: 'fleet verify' });
    let result: VerifyResult;
    try {
      result = await verifyFleet(databases, connection, options.timeout, (text) => terminal.progress(text));
    } finally {
      await connection.close();
    }
    if (!result.ok) process.exitCode = 1;
    terminal.print(options.json === true ? JSON.stringify(result, null, 2) : describe(result));
  });
}

function describe({ ok, checks, waitedMs }: VerifyResult): string {
  const width = Math.max(...checks.map(({ name }) => name.length));
  const lines = checks.flatMap(({ name, ok: holds, numbers, differences }) => [
    `${holds ? 'ok    ' : 'FAILED'}  ${name.padEnd(width)}  ${Object.entries(numbers)
      .map(([what, count]) => `${what} ${count}`)
      .join(', ')}`,
    ...differences.slice(0, SHOWN).map((difference) => `          - ${difference}`),
    ...(differences.length > SHOWN
      ? [`          - and ${differences.length - SHOWN} more (--json shows all)`]
      : []),
  ]);
  const failed = checks.filter((each) => !each.ok).length;
  const waited = waitedMs > 2_000 ? ` after ${formatDurationMs(waitedMs)}` : '';
  return [
    ...lines,
    ok
      ? `All ${checks.length} checks hold${waited}.`
      : `${failed} of ${checks.length} checks failed${waited}.`,
  ].join('\n');
}
