import { isTerminal } from '@flotilla/contracts-orders';
import { subjectToken } from '@flotilla/contracts-protocol';
import type { TimelineEntry } from '@flotilla/contracts-tracking';
import { errorMessage, type Clock } from '@flotilla/kernel';
import type { Broker } from '@flotilla/messaging';
import { BROKER, CLOCK } from '@flotilla/service';
import { Controller, Inject, Logger, Req, Res, type BeforeApplicationShutdown } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { callerOf, visibleCustomer, type Caller } from '../auth/caller.ts';
import { GatewayConfig } from '../gateway.config.ts';
import { EventStream, type StreamEvent } from './event-stream.ts';
import { HttpProblem } from './problem.ts';
import { read } from './read-request.ts';
import { Serves } from './route.ts';
import { routes } from './routes.ts';
import { TrackedOrders } from './tracked-orders.ts';
import { Wake } from './wake.ts';

/** The read side follows an event after some milliseconds: it is asked again until the event is there. */
const CATCH_UP_PAUSES_MS = [10, 25, 50, 100, 250, 500, 1_000];
/** An event that was published just before the subscription is found by looking again this soon. */
const FIRST_LOOK_MS = 500;
/** A stream ends after an hour at the latest and its client resumes it, so that streams spread over new processes. */
const MAX_STREAM_MS = 3_600_000;

interface Followed {
  readonly orderId: string;
  /** Whose order it must be; undefined: anybody's. */
  readonly customerId: string | undefined;
  /** The position after which the client wants to hear. */
  readonly after: number;
}

/** Server-sent events: each step of an order's timeline, from where the client was. */
@Controller()
export class OrderEventsController implements BeforeApplicationShutdown {
  readonly #logger = new Logger('OrderEvents');
  /** By the caller whose stream it is. */
  readonly #open = new Map<AbortController, string>();
  #draining = false;

  constructor(
    private readonly orders: TrackedOrders,
    private readonly config: GatewayConfig,
    @Inject(BROKER) private readonly broker: Broker,
    @Inject(CLOCK) private readonly clock: Clock,
  ) {}

  @Serves(routes.orderEvents)
  async follow(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    const { id: orderId } = read('path', routes.orderEvents.params, request.params);
    const { 'last-event-id': after } = read('headers', routes.orderEvents.headers, request.headers);
    const caller = callerOf(request);
    const followed = { orderId, customerId: visibleCustomer(caller), after };
    const closed = this.#admit(caller, reply);
    // Whoever asks for the head of a stream gets it, and no stream.
    if (request.method === 'HEAD') closed.abort();
    try {
      await this.#stream(followed, new EventStream(reply), closed.signal);
    } catch (error) {
      // Before the stream began it is an ordinary answer; after, the client resumes where it was.
      if (!reply.raw.headersSent) throw error;
      this.#logger.warn(`The stream of order ${orderId} broke off: ${errorMessage(error)}`);
      reply.raw.end();
    } finally {
      this.#open.delete(closed);
      closed.abort();
    }
  }

  /** Ends all streams: their clients go on at another process. */
  beforeApplicationShutdown(): void {
    this.#draining = true;
    for (const stream of this.#open.keys()) stream.abort();
  }

  /** Counts a new stream in. The result is aborted when it has to end: the client went, the token ends, a drain. */
  #admit({ subject, expiresAt }: Caller, reply: FastifyReply): AbortController {
    if (this.#draining || this.#open.size >= this.config.maxStreams) {
      throw new HttpProblem(503, 'too-many-streams', 'Too many event streams are open; try again later', {
        headers: { 'retry-after': '5' },
      });
    }
    let own = 0;
    for (const each of this.#open.values()) if (each === subject) own++;
    if (own >= this.config.maxStreamsPerCaller) {
      throw new HttpProblem(
        429,
        'too-many-streams-of-caller',
        `You have ${own} event streams open, as many as one caller may: close one first`,
        { headers: { 'retry-after': '5' } },
      );
    }
    const closed = new AbortController();
    const end = (): void => closed.abort();
    this.#open.set(closed, subject);
    reply.raw.once('close', end);
    if (reply.raw.destroyed) end();
    const timer = this.clock.after(Math.min(expiresAt - this.clock.now(), MAX_STREAM_MS), end);
    closed.signal.addEventListener('abort', () => timer.cancel(), { once: true });
    return closed;
  }

  async #stream(followed: Followed, stream: EventStream, closed: AbortSignal): Promise<void> {
    const wake = new Wake();
    closed.addEventListener('abort', () => wake.now(), { once: true });
    // Subscribed before the timeline is read: what happens in between wakes the loop.
    const watch = await this.broker.watch(`evt.orders.*.*.*.${subjectToken(followed.orderId)}`, () =>
      wake.now(),
    );
    try {
      // Read before anything is sent, so that an unknown order is an ordinary 404.
      let timeline = await this.#timeline(followed, followed.after, false, closed);
      stream.open();
      let position = followed.after;
      let waitMs = Math.min(FIRST_LOOK_MS, this.config.streamHeartbeatMs);
      while (!closed.aborted) {
        for (const entry of timeline.entries) {
          stream.send(toEvent(entry));
          position = entry.position;
        }
        if (isTerminal(timeline.status)) break;
        const expected = await wake.within(waitMs, this.clock);
        if (closed.aborted) break;
        if (!expected) stream.comment('still here');
        waitMs = this.config.streamHeartbeatMs;
        timeline = await this.#timeline(followed, position, expected, closed);
      }
      stream.end();
    } finally {
      await watch.stop();
    }
  }

  /** What came after a position. When an event is `expected`, the read side gets some time to catch up. */
  async #timeline({ orderId, customerId }: Followed, after: number, expected: boolean, closed: AbortSignal) {
    let timeline = await this.orders.timeline(orderId, customerId, after);
    for (const pauseMs of expected ? CATCH_UP_PAUSES_MS : []) {
      if (timeline.entries.length > 0 || closed.aborted) break;
      await this.clock.sleep(pauseMs, closed);
      timeline = await this.orders.timeline(orderId, customerId, after);
    }
    return timeline;
  }
}

function toEvent({ position, event, status, at, detail }: TimelineEntry): StreamEvent {
  return { id: position, name: event, data: { status, at, detail } };
}
