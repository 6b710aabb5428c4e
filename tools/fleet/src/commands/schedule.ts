import type { Command } from 'commander';
import { formatDurationMs, systemClock } from '@flotilla/kernel';
import { isFailing, type ScheduleState } from '@flotilla/service/schedules';
import { askService } from '../operate/ask-owner.ts';
import { readSchedules, type OwnedSchedule } from '../operate/schedules.ts';
import { operatorName } from '../operate/operator-name.ts';
import { findNats } from '../stack/nats-access.ts';
import { table } from '../terminal.ts';
import { dirOf, withData, withJson, type CommandContext, type DataOption } from './shared.ts';

interface ScheduleOptions extends DataOption {
  readonly by: string;
  readonly json?: boolean;
}

/** `fleet schedule` */
export function addSchedule(program: Command, { terminal }: CommandContext): void {
  const schedule = program
    .command('schedule')
    .description('look at what services do at certain times, and have it done now');

  withJson(
    withData(
      schedule
        .command('list')
        .description('the schedules, their last run and their next')
        .argument('[service]', 'only those of one service'),
    ),
  ).action(async (name: string | undefined, options: ScheduleOptions) => {
    const found = await readSchedules(dirOf(options), name);
    if (options.json === true) {
      terminal.print(
        JSON.stringify(
          found.map(({ service, state }) => ({ service, ...state, failing: isFailing(state) })),
          null,
          2,
        ),
      );
    } else if (found.length === 0) {
      terminal.print('There are no schedules.');
    } else {
      terminal.print(
        table(
          ['service', 'schedule', 'when', 'status', 'last run', 'next due', 'runs', 'missed'],
          found.map(row),
        ),
      );
    }
    for (const { service, state } of found) {
      if (isFailing(state)) terminal.note(`${service} ${state.name}: ${state.lastError}`);
    }
  });

  withJson(
    withData(
      schedule
        .command('run')
        .description('have a schedule run now, beside its times; it is not tried again when it fails')
        .argument('<service>', 'the service')
        .argument('<name>', 'the schedule')
        .option('--by <name>', 'who asks for it; it is logged', operatorName()),
    ),
  ).action(async (service: string, name: string, options: ScheduleOptions) => {
    const answer = await askService(await findNats(dirOf(options)), service, {
      subject: `ops.${service}.schedule`,
      type: 'ops.schedule.run',
      about: name,
      what: `run of schedule ${name}`,
      body: { action: 'run', name, by: options.by },
    });
    if (options.json === true) terminal.print(JSON.stringify(answer, null, 2));
    else
      terminal.print(`${name} of ${service} runs now: "fleet schedule list ${service}" shows how it ended`);
  });
}

function row({ service, state }: OwnedSchedule): string[] {
  const { name, cron, timeZone, lastStartedAt, lastDurationMs, dueAt, runs, missed } = state;
  return [
    service,
    name,
    `${cron} ${timeZone}`,
    statusOf(state),
    lastStartedAt === undefined
      ? 'never'
      : `${lastStartedAt.toISOString()}${lastDurationMs === undefined ? '' : `, ${formatDurationMs(lastDurationMs)}`}`,
    dueAt?.toISOString() ?? 'never',
    String(runs),
    String(missed),
  ];
}

function statusOf(state: ScheduleState): string {
  if (state.leaseUntil !== undefined && state.leaseUntil.getTime() > systemClock.now()) return 'running';
  if (state.requestedAt !== undefined) return 'asked for';
  if (isFailing(state)) return 'FAILING';
  return state.lastSucceededAt === undefined ? 'new' : 'ok';
}
