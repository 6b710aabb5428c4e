import { asksForCommit } from '../proxy/postgres-frames.ts';
import { FaultNotInjectedError } from '../chaos.errors.ts';
import { waitFor } from '../wait.ts';
import { seenAs, type Fault } from './fault.ts';

const SERVICES = ['orders', 'inventory', 'payments', 'shipping'] as const;
const BEYOND_MS = 6_000;

/**
 * SIGSTOP of one of two processes of a service in the middle of a transaction, past the ack wait; then SIGCONT. The other
 * gets its messages meanwhile. The one that wakes up believes that it still has them.
 */
export const pauseService: Fault = {
  name: 'pause',
  what: 'SIGSTOP of one of two processes before its COMMIT, for longer than the ack wait, then SIGCONT',
  holds:
    'the zombie is fenced: what the other has handled meanwhile is not done again by the one that wakes up',
  seen: '`fleet status`: "no answer" of that process; redelivered messages of its consumers',
  needs: 'single',
  async inject(world, draw) {
    const service = draw.of(SERVICES);
    await world.fleet.scaleTo(service, 2);
    const name = draw.of(world.processesOf(service)).name;
    const { postgres } = world.proxiesOf(name);
    if (postgres === undefined) throw new FaultNotInjectedError('pause', `${service} has no database`);
    const { pid } = world.process(name).state;
    // Its COMMIT waits on the way, as in the buffers of a machine that stands still.
    let stopped = false;
    const forget = postgres.watch((frame, direction) => {
      if (stopped || direction !== 'up' || !asksForCommit(frame)) return 'pass';
      stopped = true;
      postgres.hold({ up: true });
      world.signal(name, 'SIGSTOP');
      return 'pass';
    });
    try {
      await waitFor(() => stopped, { timeoutMs: 30_000, everyMs: 5, describe: 'a COMMIT comes by' });
    } finally {
      forget();
    }
    return {
      done: `${name} (pid ${pid ?? 0}) stood still`,
      touches: [service],
      lastsMs: world.ackWaitMs + BEYOND_MS,
      observe: () =>
        seenAs(
          world,
          `${name} does not answer`,
          (reading) => reading.name === name,
          ({ health }) => health === 'no answer',
        ),
      heal: () => {
        world.signal(name, 'SIGCONT');
        postgres.hold({});
        return Promise.resolve();
      },
      tidy: () => world.fleet.scaleTo(service, 1),
    };
  },
};
