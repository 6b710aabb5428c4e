import { isTerminal } from '@flotilla/contracts-orders';
import { subjectToken } from '@flotilla/contracts-protocol';
import { GetTimeline } from '@flotilla/contracts-tracking';
import { errorMessage, type Clock } from '@flotilla/kernel';
import type { Broker } from '@flotilla/messaging';
import { BROKER, CLOCK } from '@flotilla/service';
import { Controller, Inject, Logger, Req, Res, type BeforeApplicationShutdown } from '@nestjs/common';
import { QueryBus } from '@nestjs/cqrs';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { callerOf, visibleCustomer } from '../auth/caller.ts';
import { GatewayConfig } from '../gateway.config.ts';
import { HttpProblem } from './problem.ts';
import { read } from './read-request.ts';
import { Serves } from './route.ts';
import { routes } from './routes.ts';

/** A comment is sent after this much silence, so that proxies keep the connection. */
const HEARTBEAT_MS = 15_000;
/** The read side follows an event after some milliseconds: it is asked again until the event is there. */
const CATCH_UP_DELAYS_MS = [10, 25, 50, 100, 250, 500, 1_000];

/** Server-sent events: each step of an order's timeline, from where the client was. */
@Controller()
export class OrderEventsController implements BeforeApplicationShutdown {
  readonly #logger = new Logger('OrderEvents');
  readonly #open = new Set<AbortController>();

  constructor(
    private readonly queries: QueryBus,
    private readonly config: GatewayConfig,
    @Inject(BROKER) private readonly broker: Broker,
    @Inject(CLOCK) private readonly clock: Clock,
  ) {}

  @Serves(routes.orderEvents)
  async follow(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    const { id } = read('path', routes.orderEvents.params, request.params);
    const visible = visibleCustomer(callerOf(request));
    const after = lastEventId(request);
    if (this.#open.size >= this.config.maxStreams) {
      throw new HttpProblem(503, 'too-many-streams', 'Too many event streams are open; try again later', {
        headers: { 'retry-after': '5' },
      });
    }
    // Before anything is sent, so that an unknown order is an ordinary 404.
    const first = await this.queries.execute(new GetTimeline({ orderId: id, after }));
    if (visible !== undefined && first.customerId !== visible) {
      throw GetTimeline.failure('OrderNotFound', { orderId: id });
    }
    const closed = new AbortController();
    this.#open.add(closed);
    request.raw.once('close', () => closed.abort());
    try {
      await this.#stream(id, after, reply, closed.signal);
    } catch (error) {
      // The client resumes where it was.
      this.#logger.warn(`The stream of order ${id} broke off: ${errorMessage(error)}`);
    } finally {
      this.#open.delete(closed);
      reply.raw.end();
    }
  }

  /** Clients reconnect to another process. */
  beforeApplicationShutdown(): void {
    for (const stream of this.#open) stream.abort();
  }

  async #stream(orderId: string, after: number, reply: FastifyReply, closed: AbortSignal): Promise<void> {
    // Subscribed before the timeline is read: what happens in between wakes the loop.
    const wake = new Wake();
    closed.addEventListener('abort', () => wake.now(), { once: true });
    const watch = await this.broker.watch(`evt.orders.*.*.*.${subjectToken(orderId)}`, () => wake.now());
    try {
      reply.hijack();
      reply.raw.writeHead(200, {
        'content-type': 'text/event-stream',
        'cache-control': 'no-store',
        'x-accel-buffering': 'no',
      });
      reply.raw.write('retry: 1000\n\n');
      let position = after;
      let expected = false;
      while (!closed.aborted) {
        const next = await this.#next(orderId, position, expected, closed);
        for (const entry of next.entries) {
          position = entry.position;
          const data = { status: entry.status, at: entry.at, detail: entry.detail };
          reply.raw.write(`id: ${entry.position}\nevent: ${entry.event}\ndata: ${JSON.stringify(data)}\n\n`);
        }
        const last = next.entries.at(-1)?.status ?? (next.entries.length === 0 ? next.status : undefined);
        if (last !== undefined && isTerminal(last)) return;
        expected = await wake.within(HEARTBEAT_MS, this.clock);
        if (!expected && !closed.aborted) reply.raw.write(': still here\n\n');
      }
    } finally {
      await watch.stop();
    }
  }

  /** What came after a position. When an event is `expected`, the read side gets some time to catch up. */
  async #next(orderId: string, after: number, expected: boolean, closed: AbortSignal) {
    const query = new GetTimeline({ orderId, after });
    let timeline = await this.queries.execute(query);
    for (const delayMs of expected ? CATCH_UP_DELAYS_MS : []) {
      if (timeline.entries.length > 0 || closed.aborted) break;
      await this.clock.sleep(delayMs, closed);
      timeline = await this.queries.execute(query);
    }
    return timeline;
  }
}

/** Remembers a wake-up until it is waited for. */
class Wake {
  #woken = false;
  #waiting: AbortController | undefined;

  now(): void {
    this.#woken = true;
    this.#waiting?.abort();
  }

  /** True when woken (also before the call), false when the time passed. */
  async within(timeoutMs: number, clock: Clock): Promise<boolean> {
    if (!this.#woken) {
      this.#waiting = new AbortController();
      await clock.sleep(timeoutMs, this.#waiting.signal);
      this.#waiting = undefined;
    }
    const woken = this.#woken;
    this.#woken = false;
    return woken;
  }
}

function lastEventId(request: FastifyRequest): number {
  const header = request.headers['last-event-id'];
  if (header === undefined || header === '') return 0;
  const position = Number(header);
  if (!Number.isSafeInteger(position) || position < 0) {
    throw new HttpProblem(400, 'invalid-request', 'Last-Event-ID must be the id of the last event that was received');
  }
  return position;
}
