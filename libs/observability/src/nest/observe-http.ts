import { SpanKind } from '@opentelemetry/api';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { newId, systemClock, type Clock } from '@flotilla/kernel';
import { httpServerAttributes } from '../attributes.ts';
import { runWithContext } from '../context.ts';
import { noMetrics, type MetricsRecorder } from '../metrics-recorder.ts';
import { openSpan, type OpenSpan } from '../tracing.ts';

export interface ObserveHttpOptions {
  readonly metrics?: MetricsRecorder;
  readonly clock?: Clock;
  /** Routes that are neither traced nor measured. Default: probes and the metrics page. */
  readonly ignore?: (path: string) => boolean;
}

interface Observed {
  readonly startedMs: number;
  readonly span: OpenSpan;
  failure?: unknown;
}

const correlationHeader = 'x-correlation-id';
const acceptableId = /^[\w.:-]{1,128}$/;
/** Card numbers and JSON web tokens are no ids: a caller's mistake must not end in every log line. */
const secretId = /^(?:\d[-:.]?){12,19}$|^eyJ/;
const probes = /^\/(health\/|metrics$)/;

/**
 * Gives every request of a Fastify server a span (child of the caller's `traceparent`), a correlation id (the
 * caller's `x-correlation-id` if it is a plain token, else a new one; the answer carries it) and a duration metric
 * by route. Call it on `app.getHttpAdapter().getInstance()` before the app initialises.
 */
export function observeHttp(fastify: FastifyInstance, options: ObserveHttpOptions = {}): void {
  const metrics = options.metrics ?? noMetrics;
  const clock = options.clock ?? systemClock;
  const ignore = options.ignore ?? ((path) => probes.test(path));
  const requests = new WeakMap<FastifyRequest, Observed>();

  fastify.addHook('onRequest', (request, reply, done) => {
    const path = pathOf(request.url);
    if (ignore(path)) return done();
    const given = request.headers[correlationHeader];
    const correlationId = typeof given === 'string' && isCorrelationId(given) ? given : newId();
    void reply.header(correlationHeader, correlationId);
    const route = request.routeOptions.url;
    const span = openSpan(route === undefined ? request.method : `${request.method} ${route}`, {
      kind: SpanKind.SERVER,
      parent: {
        traceparent: single(request.headers['traceparent']),
        tracestate: joined(request.headers['tracestate']),
      },
      attributes: () =>
        httpServerAttributes({
          method: request.method,
          path,
          scheme: request.protocol,
          ...(route !== undefined && { route }),
        }),
    });
    requests.set(request, { startedMs: clock.monotonicMs(), span });
    // Fastify carries the asynchronous context of this call through body parsing to the handler.
    span.run(() => runWithContext({ correlationId }, done));
  });

  fastify.addHook('onError', (request, _reply, error, done) => {
    const observed = requests.get(request);
    if (observed !== undefined) observed.failure = error;
    done();
  });

  const finish = (request: FastifyRequest, status: number, failure: unknown): void => {
    const observed = requests.get(request);
    if (observed === undefined) return;
    requests.delete(request);
    const route = request.routeOptions.url ?? 'unmatched';
    metrics.httpServed(request.method, route, status, clock.monotonicMs() - observed.startedMs);
    observed.span.span.setAttribute('http.response.status_code', status);
    observed.span.end(failure);
  };

  fastify.addHook('onResponse', (request, reply, done) => {
    const status = reply.statusCode;
    // A 4xx is the caller's failure, not this span's (OpenTelemetry HTTP conventions).
    const failure =
      status < 500 ? undefined : (requests.get(request)?.failure ?? new ServerErrorStatus(status));
    finish(request, status, failure);
    done();
  });

  fastify.addHook('onRequestAbort', (request, done) => {
    finish(request, 499, new Error('The caller closed the connection before the answer'));
    done();
  });
}

/** Stands for a failure that was turned into an answer before the server saw it. */
class ServerErrorStatus extends Error {
  readonly code: string;

  constructor(status: number) {
    super(`Answered ${status}`);
    this.name = 'ServerErrorStatus';
    this.code = String(status);
  }
}

function isCorrelationId(given: string): boolean {
  return acceptableId.test(given) && !secretId.test(given);
}

function pathOf(url: string): string {
  const query = url.indexOf('?');
  return query === -1 ? url : url.slice(0, query);
}

function single(header: string | string[] | undefined): string | undefined {
  return typeof header === 'string' ? header : undefined;
}

function joined(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header.join(',') : header;
}
