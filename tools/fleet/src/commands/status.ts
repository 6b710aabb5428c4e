import type { Command } from 'commander';
import { connectNats } from '@flotilla/messaging';
import { jetstreamManager } from '@nats-io/jetstream';
import { formatDurationMs, systemClock } from '@flotilla/kernel';
import type { NatsConnection } from '@nats-io/nats-core';
import { unreadLine, unreadMessages, type UnreadMessages } from '../operate/unread.ts';
import { accessOf } from '../stack/nats-access.ts';
import { requireState, type FleetState, type InstanceState } from '../stack/state.ts';
import { answersOk } from '../supervise/service-process.ts';
import { table } from '../terminal.ts';
import { dirOf, withData, withJson, type CommandContext, type DataOption } from './shared.ts';

interface StatusOptions extends DataOption {
  readonly json?: boolean;
}

interface ObservedInstance extends InstanceState {
  readonly url: string;
  readonly live: boolean;
  readonly ready: boolean;
  /** What it says is not as it should be, though it works; and why it is not ready. */
  readonly problems: readonly string[];
}

interface ConsumerLag {
  readonly stream: string;
  readonly consumer: string;
  /** Waiting to be delivered. */
  readonly pending: number;
  /** Delivered and not acknowledged yet. */
  readonly inFlight: number;
  readonly redelivered: number;
}

const HEALTH_WITHIN_MS = 3_000;

/** `fleet status`: exit code 0 only when every service is ready. */
export function addStatus(program: Command, { terminal }: CommandContext): void {
  withJson(
    withData(
      program
        .command('status')
        .description('show the services and the queues of the running fleet; fails when one is not ready'),
    ),
  ).action(async (options: StatusOptions) => {
    const state = await requireState(dirOf(options));
    const [instances, { lags, unread }] = await Promise.all([observe(state), queuesOf(state)]);
    const ready = instances.every((each) => each.ready);
    if (!ready) process.exitCode = 1;
    if (options.json === true) {
      const { databases: _secret, credentials: _secrets, instances: _stale, ...facts } = state;
      terminal.print(JSON.stringify({ ...facts, ready, instances, consumers: lags, unread }, null, 2));
      return;
    }
    const upFor = formatDurationMs(systemClock.now() - Date.parse(state.startedAt));
    const problems = instances.flatMap(({ name, problems: each }) => each.map((line) => `${name}: ${line}`));
    const waiting = lags.filter(({ pending, inFlight }) => pending + inFlight > 0);
    terminal.print(
      [
        `The fleet runs for ${upFor} (process ${state.pid}); NATS ${state.nats.url}, monitoring ${state.nats.monitorUrl}, ` +
          `Postgres 127.0.0.1:${state.postgres.port}`,
        table(
          ['service', 'status', 'health', 'restarts', 'pid', 'url'],
          instances.map((each) => [
            each.name,
            each.status,
            each.ready ? 'ready' : each.live ? 'live, not ready' : 'no answer',
            each.hangs === 0 ? String(each.restarts) : `${each.restarts} (${each.hangs} hung)`,
            String(each.pid ?? ''),
            each.url,
          ]),
        ),
        waiting.length === 0
          ? `No message waits (${lags.length} consumers).`
          : table(
              ['stream', 'consumer', 'waiting', 'in flight', 'redelivered'],
              waiting.map(({ stream, consumer, pending, inFlight, redelivered }) => [
                stream,
                consumer,
                String(pending),
                String(inFlight),
                String(redelivered),
              ]),
            ),
        ...(unread.length === 0 ? [] : [unread.map(unreadLine).join('\n')]),
        ...(problems.length === 0 ? [] : [problems.join('\n')]),
      ].join('\n\n'),
    );
  });
}

function observe({ instances }: FleetState): Promise<ObservedInstance[]> {
  return Promise.all(
    instances.map(async (each) => {
      const url = `http://127.0.0.1:${each.port}`;
      const [live, ready] = await Promise.all([
        answersOk(`${url}/health/live`),
        readiness(`${url}/health/ready`),
      ]);
      return { ...each, url, live, ...ready };
    }),
  );
}

/** Whether it is ready, and what its indicators complain about. */
async function readiness(url: string): Promise<Pick<ObservedInstance, 'ready' | 'problems'>> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(HEALTH_WITHIN_MS) });
    return { ready: response.ok, problems: problemsIn(await response.json()) };
  } catch {
    return { ready: false, problems: [] };
  }
}

/** A line for each indicator of a readiness answer that is not up. */
export function problemsIn(answer: unknown): string[] {
  const { details = {} } = (answer ?? {}) as {
    readonly details?: Readonly<Record<string, { readonly status?: string; readonly message?: string }>>;
  };
  return Object.entries(details)
    .filter(([, { status }]) => status !== undefined && status !== 'up')
    .map(
      ([name, { status, message }]) =>
        `${name} ${status ?? ''}${message === undefined ? '' : `: ${message}`}`,
    );
}

async function queuesOf({ nats, credentials }: FleetState): Promise<{
  readonly lags: ConsumerLag[];
  readonly unread: UnreadMessages[];
}> {
  const access = accessOf(nats.url, credentials.operator);
  const connection = await connectNats({ ...access, name: 'fleet status', connectTimeoutMs: 3_000 });
  try {
    const [lags, unread] = await Promise.all([lagsOf(connection), unreadMessages(connection)]);
    return { lags, unread };
  } finally {
    await connection.close();
  }
}

/** How far every durable consumer is behind. */
export async function lagsOf(connection: NatsConnection): Promise<ConsumerLag[]> {
  const manager = await jetstreamManager(connection, { checkAPI: false });
  const lags: ConsumerLag[] = [];
  for await (const stream of manager.streams.list()) {
    for await (const info of manager.consumers.list(stream.config.name)) {
      lags.push({
        stream: info.stream_name,
        consumer: info.name,
        pending: info.num_pending,
        inFlight: info.num_ack_pending,
        redelivered: info.num_redelivered,
      });
    }
  }
  return lags;
}
