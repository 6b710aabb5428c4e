import { assertAllSucceeded, assertCount, withCpu, type BenchContext, type Measured } from '../context.ts';
import type { BenchFleet } from '../fleet/bench-fleet.ts';
import type { OrderDesk } from '../fleet/order-desk.ts';
import { linesPerOrder, type OrderMix } from '../fleet/order-mix.ts';
import { withFleet } from '../fleet/with-fleet.ts';
import { closedLoop, openLoop, perSecondOf, windowOf, type LoadResult } from '../load.ts';
import { readStatements, resetStatements } from '../pg-stat.ts';
import { per, Rows, type BenchmarkId, type RunFigures } from '../result.ts';
import { query } from '../stack.ts';
import { figureOf, latenciesOf } from '../statistics.ts';

/** Orders under way at a time when the fleet is to be saturated. */
export const SATURATING = 128;
const SHARES = [0.25, 0.5, 1];
/** A window at a rate is longer than asked for when fewer would arrive in it. */
const LEAST_ARRIVALS = 30;

/** (d) Orders through all services: as many as the fleet does, then at shares of that. */
export async function benchFleetLoad(context: BenchContext): Promise<Measured> {
  return withFleet(context, 'd', {}, (fleet, desk, mix) => measure(context, fleet, desk, mix));
}

async function measure(
  { options, note }: BenchContext,
  fleet: BenchFleet,
  desk: OrderDesk,
  mix: OrderMix,
): Promise<Measured> {
  const { runs, seconds, warmupSeconds, seed } = options;
  const inFlight = options.inFlight?.[0] ?? SATURATING;
  const rows = new Rows();
  if (warmupSeconds > 0) await saturate(fleet, desk, inFlight, warmupSeconds, 'd');
  if (options.pgStat) await resetStatements(fleet.adminUrl);
  const rates: number[] = [];
  for (let run = 1; run <= runs; run += 1) {
    note(`d: saturation with ${inFlight} orders under way, run ${run} of ${runs}`);
    const { figures, cpuMs } = await saturate(fleet, desk, inFlight, seconds, 'd');
    rates.push(figures['orders/s'] ?? 0);
    rows.add({ load: `${inFlight} under way` }, { figures, ...(cpuMs !== undefined && { cpuMs }) });
  }
  const saturation = figureOf(rates).median;
  for (const share of SHARES) {
    for (let run = 1; run <= runs; run += 1) {
      const perSecond = saturation * share;
      note(`d: ${share * 100} % of it, ${perSecond.toFixed(1)} orders/s, run ${run} of ${runs}`);
      const measured = await underLoad(fleet, desk, 'd', () =>
        openLoop({
          perSecond,
          windowMs: Math.max(seconds, LEAST_ARRIVALS / perSecond) * 1_000,
          seed: seed + run,
          operation: () => desk.order(),
        }),
      );
      rows.add({ load: `${share * 100} % of that` }, measured);
    }
  }
  const statements = options.pgStat ? await readStatements(fleet.adminUrl) : undefined;
  note('d: verifying');
  return {
    operation: 'order',
    settings: {
      orders: mix.source,
      products: mix.products.length,
      'lines per order': Number(linesPerOrder(mix).toFixed(1)),
    },
    rows: rows.finish(),
    counts: await verifyOrders('d', fleet, desk),
    notes: [
      'Open-loop arrivals at random (Poisson); times count from when an order was due, until its last event is published.',
      'CPU includes what follows the end of an order (views, mails). "load" is the load generator.',
    ],
    ...(statements !== undefined && { statements }),
  };
}

/** Keeps so many orders under way for a while. */
export function saturate(
  fleet: BenchFleet,
  desk: OrderDesk,
  inFlight: number,
  seconds: number,
  id: BenchmarkId,
  atMost?: number,
): Promise<RunFigures> {
  return underLoad(fleet, desk, id, () =>
    closedLoop({
      inFlight,
      ...windowOf(seconds),
      operation: () => desk.order(),
      ...(atMost !== undefined && { atMost }),
    }),
  );
}

/** Figures of a load, and processor time until the fleet has nothing left to do. */
async function underLoad(
  fleet: BenchFleet,
  desk: OrderDesk,
  id: BenchmarkId,
  generate: () => Promise<LoadResult>,
): Promise<RunFigures> {
  desk.takeAcceptMs();
  const watched = [...fleet.watched, { name: 'load', pid: process.pid }];
  const { result: load, cpuMs } = await withCpu(
    watched,
    async () => {
      const generated = await generate();
      await fleet.untilDrained();
      return generated;
    },
    { byChild: fleet.countsStatements },
  );
  assertAllSucceeded(id, load);
  const { medianMs, p99Ms } = latenciesOf(load.latenciesMs);
  const accepted = latenciesOf(desk.takeAcceptMs());
  return {
    figures: {
      'orders/s': perSecondOf(load),
      'median ms': medianMs,
      'p99 ms': p99Ms,
      'accepted median ms': accepted.medianMs,
      'accepted p99 ms': accepted.p99Ms,
    },
    cpuMs: per(load.started, cpuMs),
  };
}

/** Every order that was placed is there once and completed, and the whole fleet agrees on it. */
export async function verifyOrders(
  id: BenchmarkId,
  fleet: BenchFleet,
  desk: OrderDesk,
): Promise<Record<string, number>> {
  await fleet.assertUndisturbed();
  const [orders] = await query<{ all: string; completed: string }>(
    fleet.state.databases['orders'] ?? '',
    `SELECT count(*) AS all, count(*) FILTER (WHERE status = 'completed') AS completed FROM orders`,
  );
  assertCount(id, 'orders', Number(orders?.all), desk.placed);
  assertCount(id, 'completed orders', Number(orders?.completed), desk.placed);
  await fleet.verify();
  return { 'orders completed': desk.placed, 'requests repeated': desk.retries };
}
