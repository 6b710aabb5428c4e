import type { Command } from 'commander';
import { formatDurationMs, systemClock } from '@flotilla/kernel';
import { AuditTrail, connectNats } from '@flotilla/messaging';
import type { NatsConnection } from '@nats-io/nats-core';
import { Consumers, type ConsumerAct, type ObservedConsumer } from '../operate/consumers.ts';
import { historyRows } from '../operate/dead-letter-pages.ts';
import { operatorName } from '../operate/operator-name.ts';
import { discoverServices, selectServices } from '../services.ts';
import type { DataDir } from '../stack/data-dir.ts';
import { findNats } from '../stack/nats-access.ts';
import { table } from '../terminal.ts';
import { dirOf, withData, withJson, wholeNumber, type CommandContext, type DataOption } from './shared.ts';

interface ListOptions extends DataOption {
  readonly all?: boolean;
  readonly json?: boolean;
}

interface ActOptions extends DataOption {
  readonly by: string;
  readonly reason?: string;
  readonly json?: boolean;
}

interface HistoryOptions extends DataOption {
  readonly limit: number;
  readonly json?: boolean;
}

/** `fleet consumer` */
export function addConsumer(program: Command, { terminal }: CommandContext): void {
  const consumer = program
    .command('consumer')
    .description('look at consumers that have paused themselves, have them try a message, or go on');

  withJson(
    withData(
      consumer
        .command('list')
        .description('the consumers that take no messages, why, and when they try the next one')
        .argument('[service]', 'only those of one service')
        .option('--all', 'those that work, too'),
    ),
  ).action(async (service: string | undefined, options: ListOptions) => {
    const services = selectServices(await discoverServices(), service === undefined ? undefined : [service]);
    const consumers = await withNats(dirOf(options), (connection) =>
      new Consumers(connection).list(services.map(({ name }) => name)),
    );
    const shown = options.all === true ? consumers : consumers.filter(inTrouble);
    if (options.json === true) terminal.print(JSON.stringify(shown, null, 2));
    else if (shown.length === 0)
      terminal.print(`All ${consumers.length} consumers of the services that run take messages.`);
    else
      terminal.print(
        table(
          ['service', 'process', 'consumer', 'stream', 'waiting', 'state', 'next try', 'why'],
          shown.map(row),
        ),
      );
  });

  const act = (action: ConsumerAct, description: string, done: (count: number) => string): Command =>
    withJson(
      withData(
        consumer
          .command(action)
          .description(description)
          .argument('<service>', 'the service')
          .argument('[consumer]', 'one of its consumers, default all that are paused')
          .option('--by <name>', 'who asks for it; it is recorded', operatorName()),
      ),
    ).action(async (service: string, name: string | undefined, options: ActOptions) => {
      selectServices(await discoverServices(), [service]);
      const { by, reason } = options;
      const count = await withNats(dirOf(options), (connection) =>
        new Consumers(connection).act(action, {
          service,
          by,
          ...(name !== undefined && { consumer: name }),
          ...(reason !== undefined && { reason }),
        }),
      );
      if (options.json === true)
        terminal.print(JSON.stringify({ service, consumer: name, [`${action}d`]: count }));
      else terminal.print(count === 0 ? 'None of them is paused.' : done(count));
    });

  act(
    'probe',
    'have a paused consumer try one message now: the first that can be handled has it go on',
    (count) => `${count} try a message now: "fleet consumer list" shows whether they go on.`,
  ).option('--reason <text>', 'why; it is recorded');
  act(
    'resume',
    'have a paused consumer go on without a try: messages that have failed are then ordinary failures, and become ' +
      'dead letters if they go on failing. For bad messages in a consumer that gets no others',
    (count) => `${count} go on.`,
  ).requiredOption('--reason <text>', 'why; it is recorded');

  withJson(
    withData(
      consumer
        .command('history')
        .description('who had consumers try or go on, when, and why')
        .option('--limit <n>', 'so many at most, the latest first', wholeNumber(1), 50),
    ),
  ).action(async (options: HistoryOptions) => {
    const acts = await withNats(dirOf(options), (connection) =>
      new AuditTrail(connection).list({ area: 'consumers', limit: options.limit }),
    );
    if (options.json === true) terminal.print(JSON.stringify(acts, null, 2));
    else terminal.print(acts.length === 0 ? 'Nobody has done anything.' : table(...historyRows(acts)));
  });
}

async function withNats<T>(dir: DataDir, work: (connection: NatsConnection) => Promise<T>): Promise<T> {
  const connection = await connectNats({ ...(await findNats(dir)), name: 'fleet consumer' });
  try {
    return await work(connection);
  } finally {
    await connection.close();
  }
}

function inTrouble({ paused, stuck, status }: ObservedConsumer): boolean {
  return paused !== undefined || stuck !== undefined || status !== 'running';
}

function row({
  service,
  process,
  consumer,
  stream,
  pending,
  paused,
  stuck,
  status,
  detail,
}: ObservedConsumer) {
  const now = systemClock.now();
  const state =
    paused === undefined
      ? (stuck ?? status)
      : `paused for ${formatDurationMs(now - paused.since)}, ${paused.probes} tries failed`;
  const next =
    paused === undefined
      ? ''
      : paused.nextProbeAt === undefined
        ? 'with the next message'
        : `in ${formatDurationMs(Math.max(0, paused.nextProbeAt - now))}`;
  const why = paused === undefined ? (detail ?? '') : `${paused.errorCode}: ${paused.errorMessage}`;
  return [service, process.slice(-6), consumer, stream, String(pending), state, next, why];
}
