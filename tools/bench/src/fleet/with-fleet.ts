import { accessOf } from '@flotilla/fleet/stack/nats-access';
import { dataFolder, type BenchContext } from '../context.ts';
import type { BenchmarkId } from '../result.ts';
import { BenchFleet } from './bench-fleet.ts';
import { csvMix, syntheticMix, type OrderMix } from './order-mix.ts';
import { OrderDesk } from './order-desk.ts';

/** Runs `action` with a running, stocked fleet, which is stopped and removed afterwards, whatever happens. */
export async function withFleet<T>(
  context: BenchContext,
  id: BenchmarkId,
  scale: Readonly<Record<string, number>>,
  action: (fleet: BenchFleet, desk: OrderDesk, mix: OrderMix) => Promise<T>,
): Promise<T> {
  return withPreparedFleet(context, id, scale, async (fleet) => {
    const mix = mixOf(context);
    await fleet.start();
    const { nats, credentials } = fleet.state;
    const desk = await OrderDesk.open(fleet.apiUrl, accessOf(nats.url, credentials.auditor), mix);
    Object.assign(context.versions, { nats: desk.natsVersion, postgres: fleet.state.postgres.version });
    try {
      context.note(`${id}: ${mix.products.length} products and their stock`);
      await desk.stockUp();
      await fleet.untilDrained();
      return await action(fleet, desk, mix);
    } finally {
      await desk.close();
    }
  });
}

/** The same with a fleet that is not started yet. */
export async function withPreparedFleet<T>(
  { options, note, onInterrupt }: BenchContext,
  id: BenchmarkId,
  scale: Readonly<Record<string, number>>,
  action: (fleet: BenchFleet) => Promise<T>,
): Promise<T> {
  const { portBase, cpuProf, pgStat } = options;
  const fleet = BenchFleet.prepare({ directory: dataFolder(id), portBase, scale, cpuProf, pgStat, note });
  const forget = onInterrupt(() => fleet.remove());
  try {
    return await action(fleet);
  } finally {
    forget();
    await fleet.remove();
  }
}

function mixOf({ options }: BenchContext): OrderMix {
  if (options.csv !== undefined) return csvMix(options.csv);
  return syntheticMix(
    options.seed,
    options.quick ? { products: 50, orders: 100 } : { products: 500, orders: 2_000 },
  );
}
