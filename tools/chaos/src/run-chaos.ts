import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describeMachine } from '@flotilla/bench/machine';
import { csvMix, syntheticMix, type OrderMix } from '@flotilla/bench/fleet/order-mix';
import { seededRandom } from '@flotilla/bench/random';
import { locateNatsServer, removePostgresData } from '@flotilla/embedded';
import { dataDirAt } from '@flotilla/fleet/stack/data-dir';
import { errorMessage, formatDurationMs, systemClock } from '@flotilla/kernel';
import { faults } from './faults/index.ts';
import { Load } from './load/load.ts';
import { NetworkNamespace } from './network-namespace.ts';
import type { ChaosOptions } from './options.ts';
import { chosenOf, drawFrom, shareOf } from './plan.ts';
import { failuresOf, type ChaosReport, type WorldReport } from './report.ts';
import { runWorld } from './run-world.ts';
import { World, type WorldKind } from './world.ts';
import { workspaceRoot } from './workspace.ts';

export interface RunChaosContext {
  /** A line about what is being done. */
  readonly note: (text: string) => void;
  readonly signal: AbortSignal;
}

/** Products and orders of the synthetic mix. */
const MIX = { products: 60, orders: 500 } as const;

/** Runs the faults that are asked for, in one world or in two, one after another. */
export async function runChaos(
  options: ChaosOptions,
  { note, signal }: RunChaosContext,
): Promise<ChaosReport> {
  const kinds = chosenOf(faults, options.faults);
  const startedAt = new Date().toISOString();
  const startMs = systemClock.monotonicMs();
  const machine = describeMachine({});
  // Read where the ports of a fleet are chosen.
  process.env['FLOTILLA_PORT_BASE'] = String(options.portBase);
  const worlds: WorldReport[] = [];
  const broken: string[] = [];
  const notInjected: Record<string, string> = {};
  for (const kind of ['single', 'cluster'] as const) {
    const mine = kinds.filter(({ needs }) => needs === kind);
    if (mine.length === 0) continue;
    const forMs = shareOf(kinds, kind, options.forMs);
    const prefix = (text: string): void =>
      note(`${formatDurationMs(systemClock.monotonicMs() - startMs)} ${text}`);
    try {
      const ran = await inWorld(options, kind, prefix, signal, (world, load) =>
        runWorld({
          world,
          load,
          kinds: mine,
          draw: drawFrom(seededRandom(options.seed)),
          forMs,
          perSecond: options.perSecond,
          note: prefix,
          signal,
        }),
      );
      worlds.push(ran.report);
      Object.assign(notInjected, ran.notInjected);
    } catch (error) {
      if (signal.aborted) throw error;
      // What the other has shown is not lost for that.
      prefix(`The fleet on ${kind === 'single' ? 'one NATS server' : 'three NATS servers'} came to no end`);
      broken.push(
        `${kind}: ${error instanceof Error ? (error.stack ?? error.message) : errorMessage(error)}`,
      );
    }
  }
  return {
    format: 1,
    startedAt,
    tookMs: systemClock.monotonicMs() - startMs,
    machine,
    settings: {
      seed: options.seed,
      'orders per second': options.perSecond,
      orders: mixOf(options).source,
      'ack wait': formatDurationMs(options.ackWaitMs),
      'duplicate window': formatDurationMs(options.duplicateWindowMs),
      'NATS sync_interval': 'always',
      'Postgres fsync': 'on',
    },
    worlds,
    broken,
    notInjected,
  };
}

/** Runs `action` in a world that is stopped afterwards, and whose data is removed when nothing was wrong. */
async function inWorld<T extends { readonly report: WorldReport }>(
  options: ChaosOptions,
  kind: WorldKind,
  note: (text: string) => void,
  signal: AbortSignal,
  action: (world: World, load: Load) => Promise<T>,
): Promise<T> {
  const folder = join(workspaceRoot, '.cache/chaos', `${kind}-${process.pid}`);
  mkdirSync(folder, { recursive: true, mode: 0o711 });
  const dir = dataDirAt(join(folder, 'fleet'));
  const namespace = kind === 'cluster' ? await namespaceOf(folder, note) : undefined;
  let world: World | undefined;
  let load: Load | undefined;
  let keep = true;
  try {
    world = await World.start({
      kind,
      dir,
      namespace,
      topology: {
        ackWaitMs: options.ackWaitMs,
        duplicateWindowMs: options.duplicateWindowMs,
        ...(kind === 'cluster' && { replicas: 3 }),
      },
      note: (text) => note(`[fleet] ${text}`),
    });
    load = new Load({
      apiUrl: world.apiUrl,
      ordersUrl: world.fleet.stack.databases['orders'] ?? '',
      mix: mixOf(options),
      random: seededRandom(options.seed + 1),
      perSecond: options.perSecond,
      run: `chaos-${kind}-${process.pid}`,
    });
    world.load = load;
    note('Products and their stock');
    await load.prepare();
    signal.throwIfAborted();
    const ran = await action(world, load);
    keep = options.keep || failuresOf({ worlds: [ran.report], broken: [] }).length > 0;
    return ran;
  } finally {
    await load?.close();
    await world?.close();
    await namespace?.remove();
    if (keep) note(`Data and logs are kept in ${folder}`);
    else {
      await removePostgresData(dir.postgres);
      rmSync(folder, { recursive: true, force: true });
    }
  }
}

async function namespaceOf(
  folder: string,
  note: (text: string) => void,
): Promise<NetworkNamespace | undefined> {
  try {
    const { path } = await locateNatsServer({ onProgress: note });
    return await NetworkNamespace.make(path, join(folder, 'nats-server-in-namespace'));
  } catch (error) {
    note(errorMessage(error));
    return undefined;
  }
}

function mixOf({ csv, seed }: ChaosOptions): OrderMix {
  return csv === undefined ? syntheticMix(seed, MIX) : csvMix(csv);
}
