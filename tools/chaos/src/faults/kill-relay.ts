import { PostgresReader } from '../load/postgres-reader.ts';
import { storesMessage } from '../proxy/nats-frames.ts';
import { saysCommitted } from '../proxy/postgres-frames.ts';
import { FaultNotInjectedError } from '../chaos.errors.ts';
import { waitFor } from '../wait.ts';
import type { Fault } from './fault.ts';
import { untilFrame } from './kill-at-point.ts';

const SERVICES = ['orders', 'inventory', 'payments', 'shipping'] as const;
const TRIES = 10;

/**
 * kill -9 of the relay at its work: the service is killed after a commit, so that messages are left behind; started
 * again, its relay publishes them, and it is killed at the first of them.
 */
export const killRelay: Fault = {
  name: 'kill-relay',
  what: 'kill -9 after a commit, and again when the relay of the next process publishes what was left behind',
  holds: 'each message left behind is published in the end, and acts once',
  seen: '`flotilla_outbox_oldest_unpublished_age_seconds` rises until the relay has caught up',
  needs: 'single',
  async inject(world, draw) {
    const service = draw.of(SERVICES);
    const reader = new PostgresReader(world.fleet.stack.databases[service] ?? '');
    const { nats, postgres } = world.proxiesOf(service);
    if (postgres === undefined) throw new FaultNotInjectedError('kill-relay', `${service} has no database`);
    try {
      for (let attempt = 1; attempt <= TRIES; attempt++) {
        const { restarts } = world.process(service).state;
        await untilFrame(
          postgres,
          'kill-relay',
          (frame, direction) => direction === 'down' && saysCommitted(frame),
          () => world.kill(service),
        );
        const left = await reader.query<{ id: string }>('SELECT id FROM outbox WHERE published_at IS NULL');
        if (left.length === 0) {
          // It was a commit without messages.
          await waitFor(() => world.process(service).state.restarts > restarts, {
            timeoutMs: 60_000,
            describe: `${service} is started again`,
          });
          continue;
        }
        const ids = left.map(({ id }) => Buffer.from(id, 'latin1'));
        await untilFrame(
          nats,
          'kill-relay',
          (frame, direction) =>
            direction === 'up' && storesMessage(frame) && ids.some((id) => frame.bytes.includes(id)),
          () => world.kill(service),
          60_000,
        );
        return {
          done: `${service} was killed with ${left.length} messages unpublished, and again when its relay published the first`,
          touches: [service],
          times: attempt + 1,
        };
      }
    } finally {
      await reader.close();
    }
    throw new FaultNotInjectedError('kill-relay', `no commit of ${TRIES} left a message behind`);
  },
};
