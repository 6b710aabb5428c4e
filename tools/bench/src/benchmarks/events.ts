import { systemClock } from '@flotilla/kernel';
import type { BenchProcess } from '../bench-process.ts';
import {
  assertAllSucceeded,
  assertCount,
  PATIENCE_MS,
  withCpu,
  withStack,
  type BenchContext,
  type Measured,
} from '../context.ts';
import { BenchCountError } from '../bench.errors.ts';
import { consumerService } from '../fixtures/consumer/consumer.service.ts';
import { consumerMigrations } from '../fixtures/consumer/migrations.ts';
import type { Moments } from '../fixtures/moments.ts';
import { producerMigrations } from '../fixtures/producer/migrations.ts';
import type { PublishedEvents, PublishEvents } from '../fixtures/producer/producer.module.ts';
import { producerService } from '../fixtures/producer/producer.service.ts';
import { windowOf } from '../load.ts';
import { readStatements, resetStatements } from '../pg-stat.ts';
import { per, Rows, type RunFigures } from '../result.ts';
import type { BenchStack, Fixture } from '../stack.ts';
import { latenciesOf } from '../statistics.ts';

const producer: Fixture = { name: 'producer', manifest: producerService, migrations: producerMigrations };
const consumer: Fixture = { name: 'consumer', manifest: consumerService, migrations: consumerMigrations };

/** Few enough that no event waits for another. */
const LOW_RATE = 50;
const IN_FLIGHT = 256;

/** (b) Events from the commit in one service until the commit of their handling in another. */
export async function benchEvents(context: BenchContext): Promise<Measured> {
  return withStack(context, 'b', [producer, consumer], (stack) => measure(context, stack));
}

async function measure({ options, note }: BenchContext, stack: BenchStack): Promise<Measured> {
  const [producing, consuming] = [await stack.run(producer), await stack.run(consumer)];
  const watched = [producing, consuming, ...stack.servers];
  let events = 0;
  const run = async (argument: PublishEvents): Promise<RunFigures> => {
    const timeoutMs = argument.windowMs + PATIENCE_MS;
    const { result, cpuMs } = await withCpu(
      watched,
      async () => {
        const published = await producing.call<PublishedEvents>('publishEvents', argument, timeoutMs);
        assertAllSucceeded('b', published.load);
        return { published, handled: await handledOf(consuming, published.load.started) };
      },
      { byChild: options.pgStat },
    );
    events += result.published.load.started;
    return {
      figures: figuresOf(argument, result.published, result.handled),
      cpuMs: per(result.published.load.started, cpuMs),
    };
  };
  const levels = options.inFlight ?? [IN_FLIGHT];
  const full = (inFlight: number, seconds: number): PublishEvents => ({ inFlight, ...windowOf(seconds) });
  if (options.warmupSeconds > 0) await run(full(levels.at(-1) ?? IN_FLIGHT, options.warmupSeconds));
  if (options.pgStat) await resetStatements(stack.postgres.adminUrl);
  const rows = new Rows();
  for (let at = 1; at <= options.runs; at += 1) {
    for (const inFlight of levels) {
      note(`b: ${inFlight} events in flight, run ${at} of ${options.runs}`);
      rows.add({ load: `${inFlight} in flight` }, await run(full(inFlight, options.seconds)));
    }
    note(`b: ${LOW_RATE} events/s, run ${at} of ${options.runs}`);
    rows.add(
      { load: `${LOW_RATE} per second` },
      await run({ perSecond: LOW_RATE, windowMs: options.seconds * 1_000, seed: options.seed + at }),
    );
  }
  const statements = options.pgStat ? await readStatements(stack.postgres.adminUrl) : undefined;
  return {
    operation: 'event',
    settings: { services: 2, databases: 2 },
    rows: rows.finish(),
    counts: await verify(stack, events),
    notes: [
      'Each event is committed with a row, and handled by an upsert of one row, in a unit of work each.',
    ],
    ...(statements !== undefined && { statements }),
  };
}

function figuresOf(
  argument: PublishEvents,
  published: PublishedEvents,
  handled: Moments,
): Record<string, number> {
  const committedMs = new Map(published.committed);
  const latencies = latenciesOf(
    handled.map(([eventId, atMs]) => atMs - (committedMs.get(eventId) ?? Number.NaN)),
  );
  const fromMs = published.startedMs + ('rampMs' in argument ? argument.rampMs : 0);
  const inWindow = handled.filter(([, atMs]) => atMs >= fromMs && atMs <= fromMs + argument.windowMs);
  return {
    'events/s': inWindow.length / (argument.windowMs / 1_000),
    'median ms': latencies.medianMs,
    'p99 ms': latencies.p99Ms,
  };
}

/** What the consumer has handled since the last time: waits until it is all. */
async function handledOf(consuming: BenchProcess, expected: number): Promise<Moments> {
  let handled: Moments = [];
  const startMs = systemClock.monotonicMs();
  for (;;) {
    handled = [...handled, ...(await consuming.call<Moments>('takeHandled', null, PATIENCE_MS))];
    if (handled.length >= expected) return handled;
    if (systemClock.monotonicMs() - startMs > PATIENCE_MS) {
      throw new BenchCountError(
        'b',
        `${handled.length} of ${expected} events are handled after ${PATIENCE_MS / 1_000} s`,
      );
    }
    await systemClock.sleep(50);
  }
}

/** Each event was committed once and has acted once. */
async function verify(stack: BenchStack, events: number): Promise<Record<string, number>> {
  const [readings] = await stack.sql<{ all: string }>(producer, 'SELECT count(*) AS all FROM readings');
  assertCount('b', 'events published', Number(readings?.all), events);
  const [meters] = await stack.sql<{ all: string }>(consumer, 'SELECT sum(events) AS all FROM meters');
  assertCount('b', 'events that acted', Number(meters?.all), events);
  return { 'events handled, each once': events };
}
