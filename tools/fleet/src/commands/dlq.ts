import { spawnSync } from 'node:child_process';
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { problemsOf } from '@flotilla/contracts-protocol';
import { connectNats, DeadLetters, type DeadLetter } from '@flotilla/messaging';
import { contractsByType } from '../contracts/fleet-contracts.ts';
import { UsageError } from '../fleet.errors.ts';
import { maskSecrets } from '../operate/mask-secrets.ts';
import { discoverServices } from '../services.ts';
import type { DataDir } from '../stack/data-dir.ts';
import { findNats } from '../stack/nats-access.ts';
import { discreet, table } from '../terminal.ts';
import { dirOf, withData, withJson, wholeNumber, type CommandContext, type DataOption } from './shared.ts';

interface SomeOptions extends DataOption {
  readonly service?: string;
  readonly limit: number;
  readonly all?: boolean;
  readonly reason: string;
  readonly body?: string;
  readonly force?: boolean;
  readonly json?: boolean;
}

const SUMMARY = 80;

/** `fleet dlq` */
export function addDlq(program: Command, context: CommandContext): void {
  const terminal = discreet(context.terminal);
  const dlq = program
    .command('dlq')
    .description(
      'look at dead letters (messages that no handler could finish) and send them back or drop them',
    );

  withJson(
    withData(
      dlq
        .command('list')
        .description('the dead letters, the oldest first')
        .option('--service <name>', 'only those of one service')
        .option('--limit <n>', 'at most so many', wholeNumber(1), 50),
    ),
  ).action(async ({ service, limit, json, ...options }: SomeOptions) => {
    const [letters, total] = await withDeadLetters(dirOf(options), async (all) => [
      await all.list({ limit, ...(service !== undefined && { service }) }),
      await all.count(service),
    ]);
    if (json === true) {
      terminal.print(
        JSON.stringify({ total, letters: letters.map((each) => maskSecrets(facts(each))) }, null, 2),
      );
      return;
    }
    if (letters.length === 0) {
      terminal.print('There are no dead letters.');
      return;
    }
    terminal.print(
      table(
        ['no', 'at', 'consumer', 'type', 'of', 'tries', 'error'],
        letters.map((each) => [
          String(each.sequence),
          each.at.slice(0, 19),
          `${each.service}/${each.consumer}`,
          each.type ?? '',
          each.subject ?? '',
          String(each.attempts),
          `${each.errorCode}: ${each.errorMessage}`.slice(0, SUMMARY),
        ]),
      ),
    );
    if (total > letters.length) terminal.note(`${total - letters.length} more: --limit ${total}`);
  });

  withJson(
    withData(
      dlq
        .command('show')
        .description('one dead letter: the error, its attempts, the message')
        .argument('<number>', 'its number in the list', wholeNumber(1)),
    ),
  ).action(async (sequence: number, options: SomeOptions) => {
    const letter = await withDeadLetters(dirOf(options), (all) => all.get(sequence));
    terminal.print(
      options.json === true ? JSON.stringify(maskSecrets(facts(letter)), null, 2) : describe(letter),
    );
  });

  withJson(
    withData(
      dlq
        .command('replay')
        .description(
          'send dead letters back to where they came from; who handled a message already does not do it twice',
        )
        .argument('[numbers...]', 'their numbers in the list')
        .option('--all', 'all of them')
        .option('--service <name>', 'with --all: those of one service'),
    ),
  ).action(async (numbers: string[], options: SomeOptions) => {
    const replayed = await withDeadLetters(dirOf(options), async (all) => {
      const sequences = await chosen(all, numbers, options);
      const receipts = [];
      for (const sequence of sequences)
        receipts.push({ letter: sequence, publishedTo: await all.replay(sequence) });
      return receipts;
    });
    if (options.json === true) terminal.print(JSON.stringify(replayed, null, 2));
    else terminal.print(`${replayed.length} sent back; "fleet dlq list" shows those that die again.`);
  });

  withData(
    dlq
      .command('edit')
      .description("change a dead letter's body, then send it back; with $EDITOR unless --body names a file")
      .argument('<number>', 'its number in the list', wholeNumber(1))
      .option('--body <file>', 'the new body, JSON')
      .option('--force', 'send it even if it does not fit the contract'),
  ).action(async (sequence: number, options: SomeOptions) => {
    await withDeadLetters(dirOf(options), async (all) => {
      const letter = await all.get(sequence);
      const body = options.body === undefined ? edited(letter) : readFileSync(options.body, 'utf8');
      await assertFits(letter, body, options.force === true);
      await all.replay(sequence, { body });
    });
    terminal.print(`${sequence} was changed and sent back.`);
  });

  withData(
    dlq
      .command('drop')
      .description('remove dead letters for good; what they were is kept in dropped-dead-letters.jsonl')
      .argument('[numbers...]', 'their numbers in the list')
      .option('--all', 'all of them')
      .option('--service <name>', 'with --all: those of one service')
      .requiredOption('--reason <text>', 'why they are not needed'),
  ).action(async (numbers: string[], options: SomeOptions) => {
    const dir = dirOf(options);
    const dropped = await withDeadLetters(dir, async (all) => {
      const letters = [];
      for (const sequence of await chosen(all, numbers, options)) {
        const letter = await all.get(sequence);
        record(dir, letter, options.reason);
        letters.push(await all.drop(sequence, options.reason));
      }
      return letters;
    });
    terminal.print(`${dropped.length} dropped.`);
  });
}

async function withDeadLetters<T>(dir: DataDir, work: (letters: DeadLetters) => Promise<T>): Promise<T> {
  const connection = await connectNats({ ...(await findNats(dir)), name: 'fleet dlq' });
  try {
    return await work(new DeadLetters(connection));
  } finally {
    await connection.close();
  }
}

async function chosen(
  all: DeadLetters,
  numbers: readonly string[],
  { all: everything, service }: SomeOptions,
): Promise<number[]> {
  if (everything === true && numbers.length > 0) throw new UsageError('Give numbers or --all, not both');
  if (everything !== true) {
    if (numbers.length === 0) throw new UsageError('Give the numbers of dead letters, or --all');
    return numbers.map(wholeNumber(1));
  }
  // What dies again while this runs has a later number, and is left for the next time.
  const limit = Math.max(1, await all.count(service));
  return (await all.list({ limit, ...(service !== undefined && { service }) })).map(
    ({ sequence }) => sequence,
  );
}

/** The body as a person left it in their editor. */
function edited(letter: DeadLetter): string {
  const editor = process.env['VISUAL'] ?? process.env['EDITOR'];
  if (editor === undefined || editor === '' || !process.stdin.isTTY) {
    throw new UsageError(
      'No $EDITOR to change it with: write the new body to a file and name it with --body',
    );
  }
  const folder = mkdtempSync(join(tmpdir(), 'flotilla-dead-letter-'));
  const file = join(folder, `${letter.sequence}.json`);
  try {
    writeFileSync(file, pretty(letter), { mode: 0o600 });
    const { status } = spawnSync(`${editor} "$1"`, ['editor', file], { shell: '/bin/sh', stdio: 'inherit' });
    if (status !== 0) throw new UsageError(`${editor} ended with code ${status}: nothing was sent`);
    return readFileSync(file, 'utf8');
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Refuses a body that its handler could not read either. */
async function assertFits({ type }: DeadLetter, body: string, force: boolean): Promise<void> {
  let payload: unknown;
  try {
    payload = JSON.parse(body);
  } catch (cause) {
    throw new UsageError(`The new body is no JSON: ${(cause as Error).message}`);
  }
  if (force) return;
  const contract = type === undefined ? undefined : contractsByType(await discoverServices()).get(type);
  if (contract === undefined)
    throw new UsageError(`No contract is known for ${type ?? 'it'}: --force sends it all the same`);
  const result = contract.payload.safeParse(payload);
  if (result.success) return;
  const problems = problemsOf(result.error).map(({ path, message }) => `  - ${path}: ${message}`);
  throw new UsageError(
    `The new body does not fit ${type}; --force sends it all the same:\n${problems.join('\n')}`,
  );
}

function record(dir: DataDir, letter: DeadLetter, reason: string): void {
  const line = JSON.stringify({ droppedAt: new Date().toISOString(), reason, ...facts(letter) });
  if (existsSync(dir.path)) {
    appendFileSync(join(dir.path, 'dropped-dead-letters.jsonl'), `${line}\n`, { mode: 0o600 });
  }
}

function facts({ body, ...letter }: DeadLetter): object {
  return { ...letter, body: parsed(body) };
}

function describe(letter: DeadLetter): string {
  return [
    `dead letter    ${letter.sequence}, since ${letter.at}`,
    `consumer       ${letter.service}/${letter.consumer}`,
    `message        ${letter.type ?? 'unknown type'} of ${letter.subject ?? 'nothing'}, id ${letter.messageId ?? 'none'}`,
    `from           ${letter.originalSubject}, ${letter.originalStream} ${letter.originalSequence}`,
    `error          ${letter.errorCode}: ${letter.errorMessage}`,
    `attempts       ${letter.attempts}`,
    ...letter.history.map((attempt) => `               ${JSON.stringify(attempt)}`),
    ...(letter.correlationId === undefined
      ? []
      : [`logs           fleet logs --trace ${letter.correlationId}`]),
    ...(letter.errorStack === undefined ? [] : ['', letter.errorStack]),
    '',
    'body:',
    JSON.stringify(maskSecrets(parsed(letter.body)), null, 2),
  ].join('\n');
}

function pretty({ body }: DeadLetter): string {
  const value = parsed(body);
  return typeof value === 'string' ? value : `${JSON.stringify(value, null, 2)}\n`;
}

/** The body as JSON, or as text where it is none. */
function parsed(body: Uint8Array): unknown {
  const text = new TextDecoder().decode(body);
  try {
    return JSON.parse(text);
  } catch {
    return text; // that may be why it is here
  }
}
