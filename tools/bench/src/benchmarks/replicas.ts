import type { BenchContext, Measured } from '../context.ts';
import { withFleet } from '../fleet/with-fleet.ts';
import { Rows } from '../result.ts';
import { SATURATING, saturate, verifyOrders } from './fleet-load.ts';

const REPLICAS = [1, 2, 4];
const SERVICE = 'orders';

/** (f) The fleet at saturation with one, two and four processes of the service that does most. */
export async function benchReplicas(context: BenchContext): Promise<Measured> {
  const { options, note } = context;
  const inFlight = options.inFlight?.[0] ?? SATURATING;
  const rows = new Rows();
  let settings: Measured['settings'] = {};
  let completed = 0;
  for (const replicas of options.quick ? REPLICAS.slice(0, 2) : REPLICAS) {
    await withFleet(context, 'f', { [SERVICE]: replicas }, async (fleet, desk, mix) => {
      if (options.warmupSeconds > 0) await saturate(fleet, desk, inFlight, options.warmupSeconds, 'f');
      for (let run = 1; run <= options.runs; run += 1) {
        note(`f: ${replicas} processes of ${SERVICE}, run ${run} of ${options.runs}`);
        rows.add(
          { [`processes of ${SERVICE}`]: replicas },
          await saturate(fleet, desk, inFlight, options.seconds, 'f'),
        );
      }
      settings = { orders: mix.source, 'under way': inFlight };
      await verifyOrders('f', fleet, desk);
      completed += desk.placed;
    });
  }
  return {
    operation: 'order',
    settings,
    rows: rows.finish(),
    counts: { 'orders completed': completed },
    notes: [
      'All on one machine: more processes share the same cores. What is shown is what sharing the work costs.',
    ],
  };
}
