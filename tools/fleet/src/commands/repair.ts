import { createInterface } from 'node:readline/promises';
import type { Command } from 'commander';
import { errorMessage, systemClock } from '@flotilla/kernel';
import { Client } from 'pg';
import { UsageError } from '../fleet.errors.ts';
import { operatorName } from '../operate/operator-name.ts';
import { adviceOn, type Divergence } from '../reconcile/divergence.ts';
import { withSurvey } from '../reconcile/open-survey.ts';
import { findDivergences, planRepair, type Repaired } from '../reconcile/repair.ts';
import { discoverServices } from '../services.ts';
import { findDatabases } from '../stack/migrations.ts';
import { table } from '../terminal.ts';
import {
  dirOf,
  duration,
  wholeNumber,
  withData,
  withJson,
  type CommandContext,
  type DataOption,
} from './shared.ts';

interface RepairOptions extends DataOption {
  readonly aggregate?: string;
  readonly all?: boolean;
  readonly dryRun?: boolean;
  readonly yes?: boolean;
  readonly history?: boolean;
  readonly grace: number;
  readonly limit: number;
  readonly json?: boolean;
}

/** A repair that was asked for at some time. */
interface PastRepair extends Repaired {
  readonly at: Date;
  readonly service: string;
  readonly operator: string;
  readonly action: string;
}

const HISTORY = `
  SELECT at, operator, action, about, target, outcome, detail FROM repairs
   WHERE $1::text IS NULL OR about = $1 ORDER BY id DESC LIMIT $2`;

/** `fleet repair`: exit code 0 when nothing is left that diverges. */
export function addRepair(program: Command, context: CommandContext): void {
  withJson(
    withData(
      program
        .command('repair')
        .description(
          'mend what outboxes, streams, inboxes, views and timers do not say alike: the services that own it do it, ' +
            'look again before, and write it down',
        )
        .option('--aggregate <id>', 'only what is about one aggregate: an order, a SKU')
        .option('--all', 'everything')
        .option('--dry-run', 'only say what would be done')
        .option('--yes', 'do not ask; needed where nobody can be asked')
        .option('--grace <duration>', 'what is gone by then was only on its way', duration, 5_000)
        .option('--history', 'the repairs so far: who, when, what, and what became of it')
        .option('--limit <n>', 'with --history: at most so many of each service', wholeNumber(1), 50),
    ),
  ).action(async (options: RepairOptions) => {
    if (options.history === true) return showHistory(options, context);
    if ((options.aggregate === undefined) === (options.all !== true))
      throw new UsageError('Choose one: --aggregate ID, or --all.');
    await repair(options, context);
  });
}

async function repair(options: RepairOptions, { terminal }: CommandContext): Promise<void> {
  const { aggregate, grace, dryRun = false, json = false } = options;
  await withSurvey(dirOf(options), async (survey, ask) => {
    const divergences = await findDivergences(survey, {
      aggregate,
      graceMs: grace,
      clock: systemClock,
      onProgress: (text) => terminal.progress(text),
    });
    const requests = planRepair(divergences, operatorName());
    const repaired: Repaired[] = [];
    const left = divergences.filter((each) => each.repair === undefined);
    if (!json) for (const line of planLines(divergences)) terminal.print(line);
    const goesOn =
      !dryRun &&
      requests.length > 0 &&
      (options.yes === true || (await isConfirmed(divergences.length - left.length)));
    if (goesOn) {
      for (const { service, about, body, divergences: those } of requests) {
        try {
          const answer = (await ask(service, about, body)) as { readonly repaired: readonly Repaired[] };
          repaired.push(...answer.repaired);
        } catch (error) {
          // The others are repaired none the less.
          for (const each of those)
            repaired.push({
              about: each.aggregate,
              target: each.kind,
              outcome: 'refused',
              detail: errorMessage(error),
            });
        }
      }
    }
    const refused = repaired.filter(({ outcome }) => outcome === 'refused');
    if (json) terminal.print(JSON.stringify({ dryRun, divergences, repaired }, null, 2));
    else {
      for (const each of repaired)
        terminal.print(`${each.outcome.padEnd(13)}  ${each.about}  ${each.target}: ${each.detail}`);
      if (goesOn)
        terminal.print(`${repaired.length - refused.length} done, ${refused.length + left.length} left.`);
    }
    if (refused.length + left.length > 0 || (divergences.length > 0 && !goesOn)) process.exitCode = 1;
  });
}

function planLines(divergences: readonly Divergence[]): string[] {
  if (divergences.length === 0) return ['Nothing diverges.'];
  return divergences.map((each) => {
    const does = each.repair === undefined ? `cannot be repaired: ${adviceOn(each)}` : sentenceOf(each);
    return `${each.kind.padEnd(12)}  ${each.aggregate}: ${each.what}\n              -> ${does}`;
  });
}

function sentenceOf({ repair: step, service }: Divergence): string {
  switch (step?.action) {
    case 'republish':
      return `${service} publishes it again under its id`;
    case 'redeliver':
      return `${service} sends it again, for ${step.consumer} alone`;
    case 'fire':
      return `${service} fires the timer now`;
    case 'mend':
      return `${service} writes the rows again as the events say`;
    case undefined:
      return '';
  }
}

/** Asks whoever sits there. Throws {@link UsageError} when nobody does. */
async function isConfirmed(count: number): Promise<boolean> {
  if (!process.stdin.isTTY)
    throw new UsageError('Nobody can be asked whether to go on: add --yes to repair, or --dry-run to look.');
  const asking = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return /^y(?:es)?$/i.test(await asking.question(`Repair ${count}? [y/N] `));
  } finally {
    asking.close();
  }
}

async function showHistory(options: RepairOptions, { terminal }: CommandContext): Promise<void> {
  const { aggregate, limit, json = false } = options;
  const services = (await discoverServices()).filter(({ manifest }) => manifest.database);
  const databases = await findDatabases(services, dirOf(options));
  const past: PastRepair[] = [];
  for (const { name: service } of services) {
    const client = new Client({
      connectionString: databases[service],
      application_name: 'fleet repair',
      connectionTimeoutMillis: 10_000,
    });
    await client.connect();
    try {
      const { rows } = await client.query<Omit<PastRepair, 'service'>>(HISTORY, [aggregate ?? null, limit]);
      past.push(...rows.map((row) => ({ service, ...row })));
    } finally {
      await client.end();
    }
  }
  past.sort((a, b) => b.at.getTime() - a.at.getTime());
  if (json) terminal.print(JSON.stringify(past, null, 2));
  else if (past.length === 0) terminal.print('Nothing has been repaired yet.');
  else {
    terminal.print(
      table(
        ['at', 'by', 'service', 'action', 'about', 'what', 'outcome', 'detail'],
        past.map((each) => [
          each.at.toISOString(),
          each.operator,
          each.service,
          each.action,
          each.about,
          each.target,
          each.outcome,
          each.detail,
        ]),
      ),
    );
  }
}
