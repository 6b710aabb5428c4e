import { waitFor } from '../wait.ts';
import type { Fault } from './fault.ts';

/** kill -9 of any process, at a random moment. */
export const killService: Fault = {
  name: 'kill-service',
  what: 'kill -9 of one service at a random moment',
  holds: 'its supervisor starts it again; what it held comes again after the ack wait',
  seen: '`fleet status`: restarts; the log of `fleet up`: "ended (SIGKILL) and is started again"',
  needs: 'single',
  async inject(world, draw) {
    const { name, state } = draw.of(world.fleet.processes);
    const { restarts } = world.process(name).state;
    world.kill(name);
    return {
      done: `${name} (pid ${state.pid ?? 0}) was killed`,
      touches: [state.service],
      observe: async () => {
        await waitFor(() => world.process(name).state.restarts > restarts, {
          timeoutMs: 60_000,
          describe: `${name} is started again`,
        });
        return `${name}: restarts ${world.process(name).state.restarts}`;
      },
    };
  },
};
