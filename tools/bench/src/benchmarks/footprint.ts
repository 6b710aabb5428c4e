import { systemClock } from '@flotilla/kernel';
import { withCpu, type BenchContext, type Measured } from '../context.ts';
import { withPreparedFleet } from '../fleet/with-fleet.ts';
import { sampleMemory } from '../proc.ts';
import { per, Rows } from '../result.ts';

/** Until what follows a start is over, in seconds. */
const SETTLE_SECONDS = 10;
const IDLE_SECONDS = 30;
const MIB = 2 ** 20;

/** (g) How long the fleet takes to be ready, and what it takes when nothing is to be done. */
export async function benchFootprint(context: BenchContext): Promise<Measured> {
  const { options, note } = context;
  const idleSeconds = options.quick ? 2 : IDLE_SECONDS;
  const settleSeconds = options.quick ? 1 : SETTLE_SECONDS;
  const rows = new Rows();
  for (let run = 1; run <= options.runs; run += 1) {
    await withPreparedFleet(context, 'g', {}, async (fleet) => {
      note(`g: starting, run ${run} of ${options.runs}`);
      const firstMs = await fleet.start();
      await fleet.stop();
      const laterMs = await fleet.start();
      await fleet.untilDrained();
      await systemClock.sleep(settleSeconds * 1_000);
      note(`g: idling for ${idleSeconds} s`);
      const { cpuMs } = await withCpu(fleet.watched, () => systemClock.sleep(idleSeconds * 1_000));
      rows.add(
        { what: 'fleet' },
        {
          figures: { 'first start s': firstMs / 1_000, 'later start s': laterMs / 1_000 },
          cpuMs: per(idleSeconds, cpuMs),
        },
      );
      const memory = Object.entries(sampleMemory(fleet.watched));
      for (const [name, { rssBytes, pssBytes }] of memory) {
        rows.add(
          { what: name },
          {
            figures: {
              'RSS MiB': rssBytes / MIB,
              ...(pssBytes !== undefined && { 'PSS MiB': pssBytes / MIB }),
            },
          },
        );
      }
      rows.add(
        { what: 'all together' },
        {
          figures: {
            'PSS MiB': memory.reduce((sum, [, each]) => sum + (each.pssBytes ?? each.rssBytes), 0) / MIB,
          },
        },
      );
    });
  }
  return {
    operation: 'idle second',
    settings: { 'idle seconds': idleSeconds },
    rows: rows.finish(),
    counts: {},
    notes: [
      'First start: with empty data, everything built, nats-server found. Later start: with its data.',
      '10 CPU ms per idle second are 1 % of a core. RSS counts shared pages in every process, PSS once.',
    ],
  };
}
