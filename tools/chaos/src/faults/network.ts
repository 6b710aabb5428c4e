import type { FaultProxy } from '../proxy/fault-proxy.ts';
import { COMMITTING, seenAs, type Fault } from './fault.ts';

/** Slow ways to both servers. */
export const latency: Fault = {
  name: 'latency',
  what: '20 to 80 ms more in each direction between one service and NATS and Postgres, for 10 s',
  holds: 'everything goes on, slower; no time-out is taken for a failure',
  seen: 'durations of handlers and statements; readiness stays',
  needs: 'single',
  async inject(world, draw) {
    const service = draw.of(COMMITTING);
    const { nats, postgres } = world.proxiesOf(service);
    const ms = Math.round(draw.between(20, 80));
    const proxies = [nats, ...(postgres ? [postgres] : [])];
    for (const proxy of proxies) proxy.latencyMs = { up: ms, down: ms };
    return {
      done: `${service}: ${ms} ms more in each direction`,
      touches: [service],
      lastsMs: 10_000,
      observe: () =>
        seenAs(
          world,
          `${service} is ready`,
          ({ name }) => name === service,
          ({ health }) => health === 'ready' || health === 'degraded',
        ),
      heal: () => {
        for (const proxy of proxies) proxy.latencyMs = { up: 0, down: 0 };
        return Promise.resolve();
      },
    };
  },
};

/** A way on which nothing arrives in one direction, while both ends believe that they are connected. */
export const partition: Fault = {
  name: 'partition',
  what: 'nothing arrives in one direction between one service and NATS or Postgres for 12 to 25 s; nobody is told',
  holds:
    'no message is believed to be published or handled that is not; afterwards the service goes on by itself',
  seen: '`/health/ready` of that service: `database` or `nats`/`jetstream` down after its time-out',
  needs: 'single',
  async inject(world, draw) {
    const service = draw.of(COMMITTING);
    const { nats, postgres } = world.proxiesOf(service);
    const toNats = postgres === undefined || draw.number() < 0.5;
    const proxy: FaultProxy = toNats ? nats : postgres;
    const up = draw.number() < 0.5;
    proxy.hold(up ? { up: true } : { down: true });
    const other = toNats ? 'NATS' : 'Postgres';
    return {
      done: up ? `nothing of ${service} arrives at ${other}` : `nothing of ${other} arrives at ${service}`,
      touches: [service],
      lastsMs: draw.between(12_000, 25_000),
      observe: () =>
        seenAs(
          world,
          `${service} says that ${other} is away`,
          ({ name }) => name === service,
          ({ health, why }) => health === 'not ready' && (toNats ? /nats|jetstream/i : /database/i).test(why),
        ),
      heal: () => {
        proxy.hold({});
        return Promise.resolve();
      },
    };
  },
};

/** Every connection of a service reset at once, several times. */
export const resets: Fault = {
  name: 'resets',
  what: 'all connections of one service to NATS and Postgres reset, five times within 5 s',
  holds: 'the service connects again and goes on',
  seen: '"Disconnected from NATS", lost connections of the outbox in its log',
  needs: 'single',
  async inject(world, draw) {
    const service = draw.of(COMMITTING);
    const { nats, postgres } = world.proxiesOf(service);
    let count = 0;
    for (let round = 0; round < 5; round++) {
      count += nats.resetAll() + (postgres?.resetAll() ?? 0);
      await new Promise((resolve) => setTimeout(resolve, draw.between(300, 1_500)));
    }
    return { done: `${service}: ${count} connections were reset`, touches: [service], times: count };
  },
};
