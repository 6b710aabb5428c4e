import { systemClock } from '@flotilla/kernel';
import type { Command } from 'commander';
import { UsageError } from '../fleet.errors.ts';
import { askService } from '../operate/ask-owner.ts';
import {
  differenceLines,
  endedWell,
  isUnderWay,
  rebuildLine,
  type RebuildFacts,
} from '../operate/rebuilds.ts';
import { findNats, type NatsAccess } from '../stack/nats-access.ts';
import { dirOf, withData, withJson, type CommandContext, type DataOption } from './shared.ts';

interface RebuildCommandOptions extends DataOption {
  readonly dryRun?: boolean;
  readonly keepOld?: boolean;
  readonly accept?: boolean;
  readonly acceptChanges?: boolean;
  readonly status?: boolean;
  readonly abort?: boolean;
  readonly json?: boolean;
}

const SERVICE = 'tracking';
const LOOK_EVERY_MS = 500;
/** Differences that are shown: as text, and as JSON. */
const SHOWN = { text: 20, json: 500 };

/** `fleet tracking` */
export function addTracking(program: Command, { terminal }: CommandContext): void {
  const tracking = program.command('tracking').description('operate the read side');

  withJson(
    withData(
      tracking
        .command('rebuild')
        .description(
          'build views again from all events beside the live ones, compare them, and swap; reads and new events go on',
        )
        .argument('[projections...]', 'which views, for example order-view (default: all)')
        .option('--dry-run', 'compare only')
        .option('--keep-old', 'take over from the live view what no longer has its whole history')
        .option('--accept-changes', 'swap although rows differ or are new: a projection of another version')
        .option('--accept', 'swap whatever differs, also when rows are missing')
        .option('--status', 'only show the latest rebuild of each view')
        .option('--abort', 'end a rebuild, and drop what it has built'),
    ),
  ).action(async (projections: string[], options: RebuildCommandOptions) => {
    if (options.status === true && options.abort === true)
      throw new UsageError('Choose one: --status shows, --abort ends.');
    const access = await findNats(dirOf(options));
    const ask = (action: string, differences = 0): Promise<RebuildFacts[]> =>
      askTracking(access, action, projections, options, differences);

    const action = options.status === true ? 'status' : options.abort === true ? 'abort' : 'rebuild';
    let rebuilds = chosen(await ask(action), projections);
    if (action === 'rebuild') {
      const ids = new Set(rebuilds.map(({ id }) => id));
      // It runs in the service: ended here, it goes on, and the same command follows it again.
      while (rebuilds.some(isUnderWay)) {
        terminal.progress(rebuilds.map((each) => rebuildLine(each).split('\n', 1)[0]).join('   '));
        await systemClock.sleep(LOOK_EVERY_MS);
        rebuilds = (await ask('status')).filter(({ id }) => ids.has(id));
      }
    }
    const shown = options.json === true ? SHOWN.json : SHOWN.text;
    const known = new Set(rebuilds.map(({ id }) => id));
    rebuilds = (await ask('status', shown)).filter(({ id }) => known.has(id));

    if (options.json === true) terminal.print(JSON.stringify(rebuilds, null, 2));
    else if (rebuilds.length === 0) terminal.print('No view has been rebuilt yet.');
    else
      for (const each of rebuilds) terminal.print([rebuildLine(each), ...differenceLines(each)].join('\n'));
    if (action === 'rebuild' && !rebuilds.every(endedWell)) process.exitCode = 1;
  });
}

async function askTracking(
  access: NatsAccess,
  action: string,
  projections: readonly string[],
  { dryRun = false, keepOld = false, accept = false, acceptChanges = false }: RebuildCommandOptions,
  differences: number,
): Promise<RebuildFacts[]> {
  const answer = await askService(access, SERVICE, {
    subject: `ops.${SERVICE}.projections`,
    type: `ops.projections.${action}`,
    about: SERVICE,
    what: `${action} of ${projections.length === 0 ? 'all views' : projections.join(', ')}`,
    body: {
      action,
      projections,
      options: { dryRun, keepOld, accept: accept ? 'all' : acceptChanges ? 'changes' : 'none' },
      differences,
    },
  });
  return (answer as { readonly rebuilds: RebuildFacts[] }).rebuilds;
}

function chosen(rebuilds: RebuildFacts[], projections: readonly string[]): RebuildFacts[] {
  return projections.length === 0
    ? rebuilds
    : rebuilds.filter(({ projection }) => projections.includes(projection));
}
