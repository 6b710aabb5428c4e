import { formatDurationMs, systemClock } from '@flotilla/kernel';
import { FaultNotInjectedError } from '../chaos.errors.ts';
import type { World } from '../world.ts';
import { waitFor } from '../wait.ts';
import { seenAs, type Fault } from './fault.ts';

const STREAMS = ['EVT_orders', 'CMD_inventory', 'CMD_payments', 'REPLY_orders'] as const;
const SYNC_TIMEOUT_MS = 120_000;
/** Longer than a client takes to miss the pings of its server. */
const CUT_MS = 40_000;

/** kill -9 of the server that leads a stream of three copies. */
export const clusterLeader: Fault = {
  name: 'cluster-leader',
  what: 'kill -9 of the NATS server that leads a stream of three copies, down for 6 to 10 s, started again',
  holds: 'another server leads within seconds; nothing acknowledged is lost; services go on meanwhile',
  seen: '"Disconnected from NATS" at the services that were on that server; readiness comes back before the server does',
  needs: 'cluster',
  async inject(world, draw) {
    const cluster = clusterOf(world);
    const stream = draw.of(STREAMS);
    const leader = await cluster.leaderOf(stream);
    if (leader === undefined) throw new FaultNotInjectedError('cluster-leader', `${stream} has no leader`);
    await leader.kill();
    return {
      done: `${leader.serverName}, which led ${stream}, was killed`,
      touches: 'all',
      lastsMs: draw.between(6_000, 10_000),
      observe: () => goesOn(world),
      heal: async () => {
        await leader.restart();
        await untilInSync(world);
      },
    };
  },
};

/** One server of three is cut off: it runs, and its packets are lost. */
export const clusterCut: Fault = {
  name: 'cluster-cut',
  what: 'one of three NATS servers cut off in its network namespace for 40 s; its packets are lost and nobody is told',
  holds: 'the two others go on and orders end meanwhile; what the third could not copy is not acknowledged',
  seen: 'services that were on that server miss its pings within 15 s, and go to another',
  needs: 'cluster',
  async inject(world) {
    const { namespace } = world;
    if (namespace === undefined)
      throw new FaultNotInjectedError('cluster-cut', 'a network namespace needs Linux and root');
    await namespace.cut();
    return {
      done: `the server in ${namespace.name} was cut off`,
      touches: 'all',
      lastsMs: CUT_MS,
      observe: () => goesOn(world),
      heal: async () => {
        await namespace.connect();
        await untilInSync(world);
      },
    };
  },
};

function clusterOf(world: World) {
  if (world.cluster === undefined)
    throw new FaultNotInjectedError('a fault of the cluster', 'there is no cluster');
  return world.cluster;
}

/** Orders that are sent from now on end, and every service is ready, while one server is away. */
async function goesOn(world: World): Promise<string> {
  const { load } = world;
  const startMs = systemClock.monotonicMs();
  const order = await waitFor(
    () => load.sent.find(({ sentMs, endedMs }) => sentMs > startMs && endedMs !== undefined),
    { timeoutMs: CUT_MS - 2_000, describe: 'an order ends with two of three servers' },
  );
  const firstMs = (order.endedMs ?? startMs) - startMs;
  const ready = await seenAs(
    world,
    'every service is ready with two of three servers',
    () => true,
    ({ health }) => health === 'ready' || health === 'degraded',
  );
  return `the first order ended ${formatDurationMs(firstMs)} after it; ${ready}`;
}

async function untilInSync(world: World): Promise<void> {
  const cluster = clusterOf(world);
  await waitFor(() => cluster.inSync(), {
    timeoutMs: SYNC_TIMEOUT_MS,
    everyMs: 500,
    describe: 'all copies of all streams are up to date',
  });
}
