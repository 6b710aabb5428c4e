import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { FaultNotInjectedError } from '../chaos.errors.ts';
import type { World } from '../world.ts';
import { seenAs, type Fault } from './fault.ts';

/** kill -9 of the only NATS server; it is down for some seconds and comes back with its store. */
export const natsRestart: Fault = {
  name: 'nats-restart',
  what: 'kill -9 of NATS, down for 4 to 8 s, started again with its store',
  holds: 'what was acknowledged is there; services reconnect and go on, requests are answered 503 meanwhile',
  seen: '`/health/ready` 503 with `nats down` at every service; "Disconnected from NATS" in the logs',
  needs: 'single',
  async inject(world, draw) {
    const server = natsOf(world);
    await server.kill();
    return {
      done: `NATS (pid ${server.pid}) was killed`,
      touches: 'all',
      lastsMs: draw.between(4_000, 8_000),
      observe: () => seesNoNats(world),
      heal: () => server.restart(),
    };
  },
};

/** The same, and its store is gone: what the streams held is only in the outboxes. */
export const natsWipe: Fault = {
  name: 'nats-wipe',
  what: 'kill -9 of NATS, its JetStream store deleted, started again and provisioned',
  holds:
    'the reconciler publishes again what the streams have lost; receivers recognise what they had; every saga goes on',
  seen: '"The broker has lost N messages: they are published again" in the logs of each service',
  needs: 'single',
  async inject(world) {
    const server = natsOf(world);
    await server.kill();
    // Dead letters are only there, and so is what no service's outbox has.
    world.poison.length = 0;
    await rm(join(server.storeDir, 'jetstream'), { recursive: true, force: true });
    return {
      done: `NATS (pid ${server.pid}) was killed and its store deleted`,
      touches: 'all',
      lastsMs: 3_000,
      observe: () => seesNoNats(world),
      heal: async () => {
        await server.restart();
        await world.provision();
      },
    };
  },
};

function natsOf(world: World) {
  const server = world.fleet.stack.nats.servers[0];
  if (server === undefined) throw new FaultNotInjectedError('a fault of NATS', 'there is no server');
  return server;
}

function seesNoNats(world: World): Promise<string> {
  return seenAs(
    world,
    'every service says that NATS is away',
    () => true,
    ({ health, why }) => health === 'not ready' && /nats|jetstream/i.test(why),
  );
}
