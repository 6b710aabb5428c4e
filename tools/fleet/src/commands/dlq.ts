import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { connectNats, type DeadLetter } from '@flotilla/messaging';
import { contractsByType } from '../contracts/fleet-contracts.ts';
import { UsageError } from '../fleet.errors.ts';
import { DeadLetterDesk, parsed, textOf, type ReplayJob } from '../operate/dead-letter-desk.ts';
import { describeDryRun, historyRows, letterFacts } from '../operate/dead-letter-pages.ts';
import { maskSecrets } from '../operate/mask-secrets.ts';
import { operatorName } from '../operate/operator-name.ts';
import { readChange } from '../operate/set-path.ts';
import { discoverServices } from '../services.ts';
import type { DataDir } from '../stack/data-dir.ts';
import { findNats } from '../stack/nats-access.ts';
import { discreet, table } from '../terminal.ts';
import { dirOf, withData, withJson, wholeNumber, type CommandContext, type DataOption } from './shared.ts';

interface SomeOptions extends DataOption {
  readonly service?: string;
  readonly group?: string;
  readonly limit: number;
  readonly after?: number;
  readonly all?: boolean;
  readonly reason: string;
  readonly json?: boolean;
}

interface EditOptions extends DataOption {
  readonly set?: readonly string[];
  readonly file?: string;
  readonly body?: string;
  readonly force?: boolean;
  readonly replay?: boolean;
  readonly json?: boolean;
}

interface ReplayOptions extends SomeOptions {
  readonly perSecond: number;
  readonly upTo?: number;
  readonly resume?: string | true;
}

interface HistoryOptions extends DataOption {
  readonly action?: string;
  readonly about?: string;
  readonly by?: string;
  readonly limit: number;
  readonly json?: boolean;
}

const SUMMARY = 80;

/** `fleet dlq` */
export function addDlq(program: Command, context: CommandContext): void {
  const terminal = discreet(context.terminal);
  const dlq = program
    .command('dlq')
    .description(
      'look at dead letters (messages that no handler could finish), repair them, and send them back or drop them',
    );

  withJson(
    withData(
      dlq
        .command('groups')
        .description('the faults that messages died of, those with the most dead letters first')
        .option('--service <name>', 'only those of one service'),
    ),
  ).action(async ({ service, json, ...options }: SomeOptions) => {
    const found = await withDesk(dirOf(options), (desk) =>
      desk.groups({ ...(service !== undefined && { service }) }),
    );
    if (json === true) return terminal.print(JSON.stringify(found, null, 2));
    if (found.groups.length === 0) return terminal.print('There are no dead letters.');
    terminal.print(
      table(
        ['group', 'letters', 'consumer', 'type', 'first', 'last', 'look at', 'error'],
        found.groups.map((each) => [
          each.key,
          String(each.count),
          `${each.service}/${each.consumer}`,
          each.type ?? '',
          each.firstAt.slice(0, 19),
          each.lastAt.slice(0, 19),
          String(each.sample),
          `${each.errorCode}: ${each.error}`.slice(0, SUMMARY),
        ]),
      ),
    );
    if (!found.complete) terminal.note(`There are more: only the oldest ${found.letters} were read`);
  });

  withJson(
    withData(
      dlq
        .command('list')
        .description('the dead letters, the oldest first')
        .option('--service <name>', 'only those of one service')
        .option('--group <key>', 'only those of one fault: see "fleet dlq groups"')
        .option(
          '--after <number>',
          'the page behind this one: the last number of the page before',
          wholeNumber(1),
        )
        .option('--limit <n>', 'at most so many', wholeNumber(1), 50),
    ),
  ).action(async ({ service, group, after, limit, json, ...options }: SomeOptions) => {
    const { letters, total } = await withDesk(dirOf(options), (desk) =>
      desk.list({
        limit,
        ...(service !== undefined && { service }),
        ...(group !== undefined && { group }),
        ...(after !== undefined && { after }),
      }),
    );
    if (json === true) {
      terminal.print(JSON.stringify({ total, letters: letters.map(letterFacts) }, null, 2));
      return;
    }
    if (letters.length === 0) {
      terminal.print(group === undefined ? 'There are no dead letters.' : `There is none of group ${group}.`);
      return;
    }
    terminal.print(
      table(
        ['no', 'at', 'consumer', 'type', 'of', 'tries', 'group', 'error'],
        letters.map((each) => [
          String(each.sequence),
          each.at.slice(0, 19),
          `${each.service}/${each.consumer}`,
          each.type ?? '',
          each.subject ?? '',
          String(each.attempts),
          each.group,
          `${each.errorCode}: ${each.errorMessage}`.slice(0, SUMMARY),
        ]),
      ),
    );
    if (letters.length === limit && total > limit)
      terminal.note(`${total} in all: --after ${letters.at(-1)?.sequence ?? 0}, or --limit`);
  });

  withJson(
    withData(
      dlq
        .command('show')
        .description('one dead letter: the error, its attempts, headers and body, and what was done to it')
        .argument('<number>', 'its number in the list', wholeNumber(1)),
    ),
  ).action(async (sequence: number, options: SomeOptions) => {
    await withDesk(dirOf(options), async (desk) => {
      const letter = await desk.show(sequence);
      const acts = await desk.history({ target: letter.messageId ?? 'without id', limit: 20 });
      if (options.json === true) {
        terminal.print(JSON.stringify({ ...letterFacts(letter), acts: acts.map(maskSecrets) }, null, 2));
        return;
      }
      terminal.print(describe(letter));
      if (acts.length > 0) terminal.print(`\n${table(...historyRows(acts))}`);
    });
  });

  withJson(
    withData(
      dlq
        .command('dry-run')
        .description(
          'have the service handle a dead letter in a transaction that is undone: what it would change and send',
        )
        .argument('<number>', 'its number in the list', wholeNumber(1)),
    ),
  ).action(async (sequence: number, options: SomeOptions) => {
    const report = await withDesk(dirOf(options), (desk) => desk.dryRun(sequence));
    if (!report.possible || report.outcome === 'failed') process.exitCode = 1;
    terminal.print(
      options.json === true ? JSON.stringify(maskSecrets(report), null, 2) : describeDryRun(report),
    );
  });

  withJson(
    withData(
      withChoice(
        dlq
          .command('replay')
          .description(
            'send dead letters back to where they came from; who handled a message already does not do it twice',
          ),
      )
        .option('--per-second <n>', 'of many: so many a second, at most', wholeNumber(1), 50)
        .option('--limit <n>', 'of many: at most so many', wholeNumber(1), 10_000)
        .option('--up-to <number>', 'of many: none that has died after this one', wholeNumber(1))
        .option('--resume [job]', 'goes on with a replay of many that was stopped, the latest without a job')
        .option('--reason <text>', 'why; it is kept in the history'),
    ),
  ).action(async (numbers: string[], options: ReplayOptions) => {
    const { reason, service, group, perSecond, limit, upTo } = options;
    if (options.resume === undefined) assertChoice(numbers, options);
    const stop = new AbortController();
    const onSignal = (): void => stop.abort();
    process.on('SIGINT', onSignal);
    try {
      await withDesk(dirOf(options), async (desk) => {
        if (numbers.length > 0 && options.resume === undefined) {
          const sent = [];
          for (const letter of numbers.map(wholeNumber(1)))
            sent.push({ letter, publishedTo: await desk.replay(letter, reason) });
          if (options.json === true) terminal.print(JSON.stringify(sent, null, 2));
          else terminal.print(`${sent.length} sent back; "fleet dlq list" shows those that die again.`);
          return;
        }
        const how = {
          perSecond,
          limit,
          ...(reason !== undefined && { reason }),
          signal: stop.signal,
          onProgress: (replayed: number) => terminal.progress(`${replayed} sent back`),
        };
        const report =
          options.resume === undefined
            ? await desk.replayMany({
                ...how,
                ...(service !== undefined && { service }),
                ...(group !== undefined && { group }),
                ...(upTo !== undefined && { upTo }),
              })
            : await desk.resume(options.resume === true ? undefined : options.resume, how);
        if (report.stopped !== undefined) process.exitCode = 1;
        terminal.print(options.json === true ? JSON.stringify(report, null, 2) : replayLine(report));
      });
    } finally {
      process.off('SIGINT', onSignal);
    }
  });

  withJson(
    withData(
      dlq
        .command('edit')
        .description(
          'change the body of a dead letter, which stays one until it is replayed: with --set, --file or $EDITOR',
        )
        .argument('<number>', 'its number in the list', wholeNumber(1))
        .option('--set <path=value...>', 'change one value, JSON or text: lines[0].quantity=2')
        .option('--file <file>', 'the new body, JSON')
        .option('--body <file>', 'the same as --file')
        .option('--replay', 'send it back at once')
        .option('--force', 'even if it does not fit the contract'),
    ),
  ).action(async (sequence: number, options: EditOptions) => {
    const file = options.file ?? options.body;
    const changes = (options.set ?? []).map(readChange);
    if (changes.length > 0 && file !== undefined) throw new UsageError('Give --set or --file, not both');
    const changed = await withDesk(dirOf(options), async (desk) => {
      const repair =
        changes.length > 0
          ? { changes }
          : { body: file === undefined ? edited(await desk.show(sequence)) : readFileSync(file, 'utf8') };
      const letter = await desk.edit(sequence, repair, options.force === true);
      if (options.replay === true) await desk.replay(letter.sequence);
      return letter;
    });
    if (options.json === true) return terminal.print(JSON.stringify(letterFacts(changed), null, 2));
    terminal.print(
      options.replay === true
        ? `${sequence} was changed and sent back.`
        : `${sequence} was changed: it is ${changed.sequence} now, version ${changed.version}. Next: fleet dlq dry-run ${changed.sequence}, fleet dlq replay ${changed.sequence}`,
    );
  });

  withData(
    withChoice(
      dlq.command('drop').description('remove dead letters for good; what they were is kept in the history'),
    ).requiredOption('--reason <text>', 'why they are not needed'),
  ).action(async (numbers: string[], options: SomeOptions) => {
    const { service, group, reason } = options;
    assertChoice(numbers, options);
    const dropped = await withDesk(dirOf(options), async (desk) => {
      if (numbers.length === 0)
        return desk.dropMany(
          { ...(service !== undefined && { service }), ...(group !== undefined && { group }) },
          reason,
        );
      for (const sequence of numbers.map(wholeNumber(1))) await desk.drop(sequence, reason);
      return numbers.length;
    });
    terminal.print(`${dropped} dropped.`);
  });

  withJson(
    withData(
      dlq
        .command('history')
        .description('what was done to dead letters, by whom and why, the latest first')
        .option('--action <word>', 'only edit, dry-run, replay, replay-begun, replay-ended or drop')
        .option('--about <text>', 'only what was done to this message id, consumer or group')
        .option('--by <name>', 'only what this operator did')
        .option('--limit <n>', 'at most so many', wholeNumber(1), 50),
    ),
  ).action(async ({ action, about, by, limit, json, ...options }: HistoryOptions) => {
    const acts = await withDesk(dirOf(options), (desk) =>
      desk.history({
        limit,
        ...(action !== undefined && { action }),
        ...(about !== undefined && { target: about }),
        ...(by !== undefined && { by }),
      }),
    );
    if (json === true) return terminal.print(JSON.stringify(acts.map(maskSecrets), null, 2));
    terminal.print(acts.length === 0 ? 'Nothing was done.' : table(...historyRows(acts)));
  });
}

/** Numbers, or which of all. */
function withChoice(command: Command): Command {
  return command
    .argument('[numbers...]', 'their numbers in the list')
    .option('--group <key>', 'all of one fault: see "fleet dlq groups"')
    .option('--all', 'all of them')
    .option('--service <name>', 'with --all or --group: those of one service');
}

function assertChoice(numbers: readonly string[], { all, group }: SomeOptions): void {
  const many = all === true || group !== undefined;
  if (many && numbers.length > 0) throw new UsageError('Give numbers, or --group or --all, not both');
  if (!many && numbers.length === 0)
    throw new UsageError('Give the numbers of dead letters, or --group, or --all');
}

async function withDesk<T>(dir: DataDir, work: (desk: DeadLetterDesk) => Promise<T>): Promise<T> {
  const connection = await connectNats({ ...(await findNats(dir)), name: 'fleet dlq' });
  try {
    const operator = { by: operatorName(), via: 'cli' } as const;
    return await work(
      new DeadLetterDesk(connection, operator, async () => contractsByType(await discoverServices())),
    );
  } finally {
    await connection.close();
  }
}

/** The body as a person left it in their editor. */
function edited(letter: DeadLetter): string {
  const editor = process.env['VISUAL'] ?? process.env['EDITOR'];
  if (editor === undefined || editor === '' || !process.stdin.isTTY) {
    throw new UsageError(
      'No $EDITOR to change it with: change single values with --set path=value, or write the new body to a file and name it with --file',
    );
  }
  const folder = mkdtempSync(join(tmpdir(), 'flotilla-dead-letter-'));
  const file = join(folder, `${letter.sequence}.json`);
  try {
    writeFileSync(file, pretty(letter), { mode: 0o600 });
    const { status } = spawnSync(`${editor} "$1"`, ['editor', file], { shell: '/bin/sh', stdio: 'inherit' });
    if (status !== 0) throw new UsageError(`${editor} ended with code ${status}: nothing was changed`);
    return readFileSync(file, 'utf8');
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function replayLine({ replayed, stopped, job }: ReplayJob): string {
  if (stopped === undefined)
    return `${replayed} sent back; "fleet dlq groups" shows what of them dies again.`;
  const why = stopped === 'limit' ? 'that is the limit' : 'stopped';
  return `${replayed} sent back, ${why}. Go on with: fleet dlq replay --resume ${job}`;
}

function describe(letter: DeadLetter): string {
  const { headers } = letter;
  return [
    `dead letter    ${letter.sequence}, since ${letter.at}${letter.version > 1 ? `, version ${letter.version}, changed from ${letter.editedFrom ?? '?'}` : ''}`,
    `group          ${letter.group}`,
    `consumer       ${letter.service}/${letter.consumer}`,
    `message        ${letter.type ?? 'unknown type'} of ${letter.subject ?? 'nothing'}, id ${letter.messageId ?? 'none'}`,
    `from           ${letter.originalSubject}, ${letter.originalStream} ${letter.originalSequence}`,
    `error          ${letter.errorCode}: ${letter.errorMessage}`,
    `attempts       ${letter.attempts}`,
    ...letter.history.map(
      ({ attempt, at, code, message }) => `  ${String(attempt).padStart(2)} ${at}  ${code}: ${message}`,
    ),
    ...(letter.correlationId === undefined
      ? []
      : [`logs           fleet logs --trace ${letter.correlationId}`]),
    ...(letter.errorStack === undefined ? [] : ['', letter.errorStack]),
    '',
    'headers:',
    ...Object.entries(maskSecrets(headers) as Record<string, string>).map(
      ([name, value]) => `  ${name}: ${value}`,
    ),
    '',
    'body:',
    JSON.stringify(maskSecrets(parsed(textOf(letter))), null, 2),
  ].join('\n');
}

function pretty(letter: DeadLetter): string {
  const value = parsed(textOf(letter));
  return typeof value === 'string' ? value : `${JSON.stringify(value, null, 2)}\n`;
}
