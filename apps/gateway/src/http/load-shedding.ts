import type { FastifyReply, FastifyRequest } from 'fastify';
import { HttpProblem } from './problem.ts';
import type { Route } from './route.ts';
import { routes } from './routes.ts';

/** What the process can take at a time. Read with every request: both may change while it runs. */
export interface Capacity {
  readonly httpMaxInFlight: number;
  readonly httpMaxLagMs: number;
}

/** Streams are open for an hour and have a bound of their own. */
const streams: ReadonlySet<string> = new Set(
  Object.values<Route>(routes)
    .filter(({ answer }) => answer.contentType === 'text/event-stream')
    .map(({ path }) => path.replaceAll(/\{(\w+)\}/g, ':$1')),
);

/**
 * Refuses requests that the process cannot take: at once and cheaply, so that those it has taken are answered in time
 * and what waits in memory stays bounded.
 */
export class LoadShedding {
  readonly #capacity: Capacity;
  readonly #lag: { readonly lagMs: number };
  #inFlight = 0;

  constructor(capacity: Capacity, lag: { readonly lagMs: number }) {
    this.#capacity = capacity;
    this.#lag = lag;
  }

  /** Requests that are being answered now. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** Lets a request in, until its connection or its answer ends; or returns the problem to answer it with. */
  admit(request: FastifyRequest, reply: FastifyReply): HttpProblem | undefined {
    if (this.#lag.lagMs > this.#capacity.httpMaxLagMs) return overloaded();
    if (streams.has(request.routeOptions.url ?? '')) return undefined;
    if (this.#inFlight >= this.#capacity.httpMaxInFlight) return overloaded();
    this.#inFlight++;
    reply.raw.once('close', () => this.#inFlight--);
    return undefined;
  }
}

function overloaded(): HttpProblem {
  return new HttpProblem(
    503,
    'overloaded',
    'The gateway has more requests than it can answer now; try again with the same Idempotency-Key',
    { headers: { 'retry-after': '1' } },
  );
}
