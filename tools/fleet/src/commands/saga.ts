import { Option, type Command } from 'commander';
import { formatDurationMs, systemClock } from '@flotilla/kernel';
import { waitingFor, type HistoryEntry, type SagaFilter, type SagaInstance } from '@flotilla/saga';
import { askOwner } from '../operate/ask-owner.ts';
import { maskSecrets } from '../operate/mask-secrets.ts';
import { findSaga, withSagaOwners, type OwnedSaga } from '../operate/saga-owners.ts';
import { findNats } from '../stack/nats-access.ts';
import { table } from '../terminal.ts';
import { dirOf, withData, withJson, wholeNumber, type CommandContext, type DataOption } from './shared.ts';

interface ListOptions extends DataOption {
  readonly status: Exclude<SagaFilter['status'], undefined> | 'all';
  readonly saga?: string;
  readonly limit: number;
  readonly json?: boolean;
}

interface OneOptions extends DataOption {
  readonly saga?: string;
  readonly reason?: string;
  readonly json?: boolean;
}

const statuses = ['open', 'running', 'compensating', 'parked', 'completed', 'compensated', 'all'];

/** `fleet saga` */
export function addSaga(program: Command, { terminal }: CommandContext): void {
  const saga = program.command('saga').description('look at sagas, and help those that wait for a person');

  withJson(
    withData(
      saga
        .command('list')
        .description('the sagas that have not ended, the latest first, and what each waits for')
        .addOption(
          new Option('--status <status>', 'only those in this status').choices(statuses).default('open'),
        )
        .option('--saga <name>', 'only those of this saga')
        .option('--limit <n>', 'at most so many of each service', wholeNumber(1), 50),
    ),
  ).action(async ({ status, saga: name, limit, ...options }: ListOptions) => {
    const filter: SagaFilter = {
      limit,
      ...(status !== 'all' && { status }),
      ...(name !== undefined && { saga: name }),
    };
    const found = await withSagaOwners(dirOf(options), async (owners) => {
      const lists = await Promise.all(
        owners.map(async ({ service, store }) =>
          (await store.list(filter)).map((instance): OwnedSaga => ({ service, instance })),
        ),
      );
      return lists.flat();
    });
    if (options.json === true) {
      terminal.print(JSON.stringify(found.map(summaryOf), null, 2));
    } else if (found.length === 0) {
      terminal.print(status === 'open' ? 'No saga is under way.' : 'No saga is in that status.');
    } else {
      terminal.print(
        table(
          ['service', 'saga', 'id', 'status', 'step', 'since', 'waits for'],
          found.map(({ service, instance }) => [
            service,
            `${instance.saga} v${instance.version}`,
            instance.id,
            instance.status,
            instance.step ?? '',
            `${formatDurationMs(systemClock.now() - instance.updatedAt)} ago`,
            waitingFor(undefined, instance, systemClock.now()),
          ]),
        ),
      );
    }
  });

  withOne(saga.command('show').description('one saga: where it is, its data and its history')).action(
    async (id: string, options: OneOptions) => {
      const { service, instance, history } = await withSagaOwners(dirOf(options), async (owners) => {
        const found = await findSaga(owners, id, options.saga);
        const { saga: name } = found.instance;
        return { ...found, history: await found.owner.store.history({ saga: name, id }) };
      });
      if (options.json === true) {
        const facts = { ...summaryOf({ service, instance }), data: maskSecrets(instance.data), history };
        terminal.print(JSON.stringify(facts, null, 2));
        return;
      }
      terminal.print(describe({ service, instance }, history));
    },
  );

  withOne(saga.command('retry').description('have a parked saga try its step again')).action(
    async (id: string, options: OneOptions) => {
      await order('retry', id, options);
    },
  );

  withOne(
    saga
      .command('abort')
      .description('give a saga up: what was done is undone')
      .requiredOption('--reason <text>', 'why; it is kept in the history'),
  ).action(async (id: string, options: OneOptions) => {
    await order('abort', id, options);
  });

  async function order(action: 'retry' | 'abort', id: string, options: OneOptions): Promise<void> {
    const dir = dirOf(options);
    const { service, instance } = await withSagaOwners(dir, (owners) => findSaga(owners, id, options.saga));
    const answer = await askOwner(await findNats(dir), service, {
      action,
      saga: instance.saga,
      id,
      ...(options.reason !== undefined && { reason: options.reason }),
    });
    const outcome = outcomeOf(answer);
    // The engine says why it did not do what was asked.
    if (!done.has(outcome)) process.exitCode = 1;
    if (options.json === true) terminal.print(JSON.stringify(answer, null, 2));
    else terminal.print(`${action} of ${instance.saga} of ${id}: ${outcome}${detailOf(answer)}`);
  }
}

/** Answers of the engine that mean it was done. */
const done: ReadonlySet<string> = new Set(['accepted', 'resumed']);

function withOne(command: Command): Command {
  return withJson(
    withData(
      command
        .argument('<id>', 'the id of the business object, for example of the order')
        .option('--saga <name>', 'the name of the saga, where an object has several'),
    ),
  );
}

function summaryOf({ service, instance }: OwnedSaga): object {
  const { data: _data, buffer: _buffer, ...rest } = instance;
  return { service, ...rest, waitingFor: waitingFor(undefined, instance, systemClock.now()) };
}

function describe({ service, instance }: OwnedSaga, history: readonly HistoryEntry[]): string {
  return [
    `${instance.saga} v${instance.version} of ${instance.id}, run by ${service}`,
    `status    ${instance.status}${instance.step === null ? '' : `, at step ${instance.step}`}, revision ${instance.revision}`,
    `waits for ${waitingFor(undefined, instance, systemClock.now())}`,
    `started   ${time(instance.startedAt)}${instance.endedAt === null ? '' : `, ended ${time(instance.endedAt)}`}`,
    ...reasonLines(instance),
    `data      ${JSON.stringify(maskSecrets(instance.data))}`,
    '',
    table(
      ['at', 'what', 'step', 'detail'],
      history.map(({ at, kind, step, detail }) => [
        time(at),
        kind,
        step ?? '',
        detail === null ? '' : JSON.stringify(maskSecrets(detail)),
      ]),
    ),
  ].join('\n');
}

function reasonLines({ reason, parked, correlationId }: SagaInstance): string[] {
  return [
    ...(reason === null ? [] : [`because   ${reason.code}: ${reason.message}`]),
    ...(parked === null ? [] : [`parked    ${time(parked.at)}, ${parked.code}: ${parked.message}`]),
    ...(correlationId === null ? [] : [`logs      fleet logs --trace ${correlationId}`]),
  ];
}

function time(at: number): string {
  return new Date(at).toISOString();
}

function outcomeOf(answer: unknown): string {
  return typeof answer === 'object' && answer !== null && 'outcome' in answer
    ? String(answer.outcome)
    : 'no outcome';
}

function detailOf(answer: unknown): string {
  if (typeof answer !== 'object' || answer === null) return '';
  const rest = Object.entries(answer).filter(([name]) => name !== 'outcome');
  return rest.length === 0
    ? ''
    : ` (${rest.map(([name, value]) => `${name} ${JSON.stringify(value)}`).join(', ')})`;
}
