import { seenAs, type Fault } from './fault.ts';

/** Immediate shutdown of Postgres: no checkpoint, connections cut in whatever they were doing. */
export const postgresRestart: Fault = {
  name: 'postgres-restart',
  what: 'Postgres stopped at once (immediate shutdown, or kill -9), down for some seconds, recovered from its log',
  holds: 'what was committed is there; messages are held meanwhile and no attempt is counted',
  seen: '`/health/ready` 503 with `database down` at every service that has one; "What a handler needs is away" in the logs',
  needs: 'single',
  async inject(world, draw) {
    const { postgres } = world.fleet.stack;
    const { pid } = postgres;
    const withDatabase = new Set(
      world.services.filter(({ manifest }) => manifest.database).map(({ name }) => name),
    );
    if (draw.number() < 0.5) {
      // Its supervisor, the fleet, starts it again at once.
      process.kill(pid, 'SIGQUIT');
      return { done: `Postgres (pid ${pid}) got SIGQUIT`, touches: 'all' };
    }
    await postgres.kill();
    return {
      done: `Postgres (pid ${pid}) was killed`,
      touches: 'all',
      lastsMs: draw.between(3_000, 7_000),
      observe: () =>
        seenAs(
          world,
          'every service with a database says that it is away',
          ({ name }) => withDatabase.has(name),
          ({ health, why }) => health === 'not ready' && /database/i.test(why),
        ),
      heal: () => postgres.restart(),
    };
  },
};
