import { acknowledges, saysStored } from '../proxy/nats-frames.ts';
import { asksForCommit, saysCommitted } from '../proxy/postgres-frames.ts';
import type { Direction, FaultProxy } from '../proxy/fault-proxy.ts';
import type { Frame } from '../proxy/frames.ts';
import type { ProcessProxies, World } from '../world.ts';
import { FaultNotInjectedError } from '../chaos.errors.ts';
import { COMMITTING, type Draw, type Fault, type Injection } from './fault.ts';

/** A moment of the handling of a message that shows on the wire. */
interface Point {
  readonly name: string;
  readonly what: string;
  readonly holds: string;
  readonly proxy: keyof ProcessProxies;
  readonly services: readonly string[];
  readonly reached: (frame: Frame, direction: Direction) => boolean;
}

/** Those that publish and acknowledge. */
const SENDING = ['orders', 'inventory', 'payments', 'shipping'] as const;
/** Those with reactions: commands are mostly handed over as requests, which nobody acknowledges. */
const REACTING = ['orders', 'inventory', 'tracking', 'notifications'] as const;
const WITHIN_MS = 30_000;

const points: readonly Point[] = [
  {
    name: 'kill-before-commit',
    what: 'kill -9 when a service has sent its COMMIT, which never arrives',
    holds: 'nothing of the transaction is there; the message comes again and does its work',
    proxy: 'postgres',
    services: COMMITTING,
    reached: (frame, direction) => direction === 'up' && asksForCommit(frame),
  },
  {
    name: 'kill-after-commit',
    what: 'kill -9 when Postgres has committed, before the service hears of it or publishes',
    holds: 'the relay publishes what was committed; the message comes again and is recognised',
    proxy: 'postgres',
    services: SENDING,
    reached: (frame, direction) => direction === 'down' && saysCommitted(frame),
  },
  {
    name: 'kill-after-publish',
    what: 'kill -9 when the stream has stored a message, before the service marks it as published',
    holds: 'it is published again under its id; the stream or the receiver recognises it',
    proxy: 'nats',
    services: SENDING,
    reached: (frame, direction) => direction === 'down' && saysStored(frame),
  },
  {
    name: 'kill-before-ack',
    what: 'kill -9 when a service has handled a message and its ack is on its way, which never arrives',
    holds: 'the message comes again, is recognised, and is answered as before',
    proxy: 'nats',
    services: REACTING,
    reached: (frame, direction) => direction === 'up' && acknowledges(frame),
  },
];

/** kill -9 of a service at each point of the handling of a message, seen on the wire: no service knows of it. */
export const killAtPoints: readonly Fault[] = points.map((point) => ({
  name: point.name,
  what: point.what,
  holds: point.holds,
  seen: '`fleet status`: restarts; in the log of the service that is started again nothing but its start',
  needs: 'single',
  inject: (world, draw) => killAt(world, draw, point),
}));

async function killAt(world: World, draw: Draw, point: Point): Promise<Injection> {
  const service = draw.of(point.services);
  // Not always the first one that comes by.
  const passing = draw.between(0, 5);
  const { pid } = world.process(service).state;
  const proxy = world.proxiesOf(service)[point.proxy];
  if (proxy === undefined) throw new FaultNotInjectedError(point.name, `${service} has no ${point.proxy}`);
  let seen = 0;
  await untilFrame(
    proxy,
    point.name,
    (frame, direction) => point.reached(frame, direction) && seen++ >= passing,
    () => world.kill(service),
  );
  return { done: `${service} (pid ${pid ?? 0}) was killed`, touches: [service] };
}

/**
 * Waits for a frame, keeps it back and does `then` in the same moment. The connection is reset: what the process had sent
 * behind the frame is not delivered after its death. Throws {@link FaultNotInjectedError} when none comes.
 */
export async function untilFrame(
  proxy: FaultProxy,
  fault: string,
  wanted: (frame: Frame, direction: Direction) => boolean,
  then: () => void,
  withinMs = WITHIN_MS,
): Promise<void> {
  const reached = Promise.withResolvers<boolean>();
  let done = false;
  const forget = proxy.watch((frame, direction) => {
    if (done || !wanted(frame, direction)) return 'pass';
    done = true;
    then();
    reached.resolve(true);
    return 'reset';
  });
  const timer = setTimeout(() => reached.resolve(false), withinMs);
  const came = await reached.promise;
  clearTimeout(timer);
  forget();
  if (!came) throw new FaultNotInjectedError(fault, `nothing came by within ${withinMs / 1_000} s`);
}
