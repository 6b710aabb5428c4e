import { asksForCommit, saysCommitted } from '../proxy/postgres-frames.ts';
import { FaultNotInjectedError } from '../chaos.errors.ts';
import { waitFor } from '../wait.ts';
import { COMMITTING, type Fault } from './fault.ts';

const RESETS = 8;
const WITHIN_MS = 40_000;

/** Connections to Postgres reset in the middle of COMMIT, before or after it took effect: nobody can tell which. */
export const commitReset: Fault = {
  name: 'commit-reset',
  what: 'connections to Postgres reset in the middle of COMMIT, half of them before it took effect, half after',
  holds: 'the outcome is unknown, not guessed: the work is tried again and recognised if it was done',
  seen: '`COMMIT_OUTCOME_UNKNOWN` in the logs, as the reason why a message is held',
  needs: 'single',
  async inject(world, draw) {
    const service = draw.of(COMMITTING);
    const { postgres } = world.proxiesOf(service);
    if (postgres === undefined) throw new FaultNotInjectedError('commit-reset', `${service} has no database`);
    let [before, after] = [0, 0];
    // Each second commit or so: a service that cannot commit at all would only be away.
    const forget = postgres.watch((frame, direction) => {
      const asks = direction === 'up' && asksForCommit(frame);
      const says = direction === 'down' && saysCommitted(frame);
      if ((!asks && !says) || draw.number() < 0.5) return 'pass';
      if (asks && before < RESETS / 2) before += 1;
      else if (says && after < RESETS / 2) after += 1;
      else return 'pass';
      return 'reset';
    });
    try {
      await waitFor(() => before + after >= RESETS, {
        timeoutMs: WITHIN_MS,
        describe: `${RESETS} commits of ${service} were reset`,
      });
    } finally {
      forget();
    }
    return {
      done: `${service}: ${before} commits reset before they took effect, ${after} after`,
      touches: [service],
      times: before + after,
    };
  },
};
