import { systemClock } from '@flotilla/kernel';
import type { Fault } from './fault.ts';

/** A deployment: each process is stopped as Kubernetes stops it and started again, one after another. */
export const rollingRestart: Fault = {
  name: 'rolling-restart',
  what: 'every process stopped by SIGTERM and started again, one after another, under load',
  holds: 'what is in flight is finished or given back; no message waits for an ack wait',
  seen: '"draining" in `/health/ready`, then the process is gone; `fleet status`',
  needs: 'single',
  async inject(world, draw) {
    const names = world.fleet.processes.map(({ name }) => name);
    for (let left = [...names]; left.length > 0;) {
      const name = draw.of(left);
      left = left.filter((each) => each !== name);
      await world.process(name).restart();
      await world.untilReady();
    }
    return { done: `${names.length} processes restarted`, touches: 'all', times: names.length };
  },
};

/** From one process to three and back, twice, of the services that do most. */
export const scaling: Fault = {
  name: 'scaling',
  what: 'orders and inventory scaled from one process to three and back to one, under load',
  holds: 'order per key holds across replicas; nothing is handled twice while consumers move',
  seen: '`fleet status`: orders-2, orders-3; consumers shared',
  needs: 'single',
  async inject(world) {
    await Promise.all([world.fleet.scaleTo('orders', 3), world.fleet.scaleTo('inventory', 3)]);
    return {
      done: 'orders and inventory run three times',
      touches: ['orders', 'inventory'],
      lastsMs: 8_000,
      observe: async () => {
        await world.untilReady();
        const many = world.fleet.processes.filter(({ state }) =>
          /^(?:orders|inventory)$/.test(state.service),
        );
        return `${many.map(({ name }) => name).join(', ')}: ready`;
      },
      heal: async () => {
        await world.fleet.scaleTo('orders', 1);
        await systemClock.sleep(500);
        await world.fleet.scaleTo('inventory', 1);
      },
    };
  },
};
