import { formatDurationMs } from '@flotilla/kernel';
import { assertAllSucceeded, timer, type BenchContext, type Measured } from '../context.ts';
import type { BenchFleet } from '../fleet/bench-fleet.ts';
import type { OrderDesk } from '../fleet/order-desk.ts';
import { linesPerOrder, type OrderMix } from '../fleet/order-mix.ts';
import { withFleet } from '../fleet/with-fleet.ts';
import { closedLoop } from '../load.ts';
import type { BenchOptions } from '../options.ts';
import { sampleMemory } from '../proc.ts';
import { Rows } from '../result.ts';
import { query } from '../stack.ts';
import { SATURATING, saturate, verifyOrders } from './fleet-load.ts';

const CHECKPOINTS = [0, 1_000, 10_000, 100_000];
/** How many orders are placed between two lines of progress. */
const PROGRESS_EVERY = 500;
/** Nothing is filled for longer than this, milliseconds. */
const FILL_LIMIT_MS = 12 * 3_600_000;
const MIB = 2 ** 20;

/** (e) Cost per order after so many orders: placed for real, one after another, at saturation. */
export async function benchHistory(context: BenchContext): Promise<Measured> {
  return withFleet(context, 'e', {}, (fleet, desk, mix) => measure(context, fleet, desk, mix));
}

/** The histories to measure after: the fixed ones up to what is allowed, and that. */
export function checkpointsOf({ orders }: Pick<BenchOptions, 'orders'>): number[] {
  return [...new Set([...CHECKPOINTS.filter((each) => each < orders), orders])];
}

async function measure(
  { options, note }: BenchContext,
  fleet: BenchFleet,
  desk: OrderDesk,
  mix: OrderMix,
): Promise<Measured> {
  const inFlight = options.inFlight?.[0] ?? SATURATING;
  const rows = new Rows();
  const notes: string[] = [];
  if (options.warmupSeconds > 0) await saturate(fleet, desk, inFlight, options.warmupSeconds, 'e');
  for (const checkpoint of checkpointsOf(options)) {
    const missing = checkpoint - desk.placed;
    if (missing > 0) {
      const took = timer();
      await fill(desk, inFlight, missing, (placed) => {
        note(
          `e: ${placed} of ${checkpoint} orders, ${(((placed - checkpoint + missing) / took()) * 1_000).toFixed(1)}/s`,
        );
      });
      await fleet.untilDrained();
      notes.push(`Placing ${missing} orders up to ${checkpoint} took ${formatDurationMs(took())}.`);
    }
    for (let run = 1; run <= options.runs; run += 1) {
      note(`e: after ${desk.placed} orders, run ${run} of ${options.runs}`);
      const measured = await saturate(fleet, desk, inFlight, options.seconds, 'e');
      const memory = Object.values(sampleMemory(fleet.watched));
      rows.add(
        { 'orders before': checkpoint },
        {
          ...measured,
          figures: {
            'orders/s': measured.figures['orders/s'] ?? Number.NaN,
            'median ms': measured.figures['median ms'] ?? Number.NaN,
            'p99 ms': measured.figures['p99 ms'] ?? Number.NaN,
            'databases MiB': (await databaseBytes(fleet)) / MIB,
            'memory MiB':
              memory.reduce((sum, { rssBytes, pssBytes }) => sum + (pssBytes ?? rssBytes), 0) / MIB,
          },
        },
      );
    }
  }
  note('e: verifying');
  return {
    operation: 'order',
    settings: {
      orders: mix.source,
      'lines per order': Number(linesPerOrder(mix).toFixed(1)),
      'under way': inFlight,
    },
    rows: rows.finish(),
    counts: await verifyOrders('e', fleet, desk),
    notes,
  };
}

/** Places orders at saturation until there are `count` more. */
async function fill(
  desk: OrderDesk,
  inFlight: number,
  count: number,
  progress: (placed: number) => void,
): Promise<void> {
  let ended = 0;
  const load = await closedLoop({
    inFlight,
    windowMs: FILL_LIMIT_MS,
    atMost: count,
    operation: async () => {
      await desk.order();
      ended += 1;
      if (ended % PROGRESS_EVERY === 0) progress(desk.placed);
    },
  });
  desk.takeAcceptMs();
  assertAllSucceeded('e', load);
}

async function databaseBytes(fleet: BenchFleet): Promise<number> {
  let bytes = 0;
  for (const url of Object.values(fleet.state.databases)) {
    const [row] = await query<{ size: string }>(url, 'SELECT pg_database_size(current_database()) AS size');
    bytes += Number(row?.size ?? 0);
  }
  return bytes;
}
