import { BusinessError, InvalidMessageError } from '@flotilla/contracts-protocol';
import { FlotillaError } from '@flotilla/kernel';
import { BreakerOpenError } from '@flotilla/resilience';
import { RemoteFailureError } from '@flotilla/service';
import { HttpException } from '@nestjs/common';
import { HttpProblem } from './problem.ts';

interface Refusal {
  readonly status: number;
  readonly code: string;
  /** What the caller is told; else the refusal's own words, which of some tell who refused. */
  readonly detail?: string;
}

/** The status of every refusal that a service may declare; others are 422. */
const refusals: Readonly<Record<string, Refusal>> = {
  // The same words whoever says it: else they would tell whether another's order exists.
  OrderNotFound: {
    status: 404,
    code: 'order-not-found',
    detail: 'There is no such order, or it is not yours',
  },
  ProductNotFound: { status: 404, code: 'product-not-found', detail: 'There is no such product' },
  SkuNotFound: { status: 404, code: 'sku-not-found', detail: 'There is no stock of this SKU' },
  InvalidCursor: {
    status: 400,
    code: 'invalid-cursor',
    detail: 'The cursor is not one of this list: take nextCursor of the page before, as it was',
  },
  NotReturnable: { status: 409, code: 'order-not-returnable' },
  ReturnExists: { status: 409, code: 'return-exists' },
  NotCancellable: { status: 409, code: 'order-not-cancellable' },
  NotAwaitingReview: { status: 409, code: 'order-not-awaiting-review' },
  OrderExists: { status: 409, code: 'order-exists' },
  KindIsFixed: { status: 409, code: 'product-kind-is-fixed' },
  CurrencyIsFixed: { status: 409, code: 'product-currency-is-fixed' },
  UnknownProduct: { status: 422, code: 'unknown-product' },
  MixedCurrencies: { status: 422, code: 'mixed-currencies' },
  TotalTooLarge: { status: 422, code: 'total-too-large' },
  NotStocked: { status: 422, code: 'product-not-stocked' },
};

/** What the protocol writes for a refusal without words of its own. */
const wordless = /^[a-z0-9-]+\.\w+\.v\d+ was refused: /;

/** A service is away, slow or full: the same request may be answered a moment later. */
const unavailable: ReadonlySet<string> = new Set([
  'NO_RESPONDERS',
  'BROKER_UNAVAILABLE',
  'REQUEST_TIMEOUT',
  'OVERLOADED',
  'DEADLINE_EXCEEDED',
  'BULKHEAD_FULL',
]);

/** What the HTTP server itself refuses, by the code of Fastify's error. */
const serverRefusals: Readonly<Record<string, { readonly code: string; readonly detail: string }>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: { code: 'body-too-large', detail: 'The body is larger than 1 MiB' },
  FST_ERR_CTP_INVALID_MEDIA_TYPE: {
    code: 'unsupported-media-type',
    detail: 'Send JSON, as application/json',
  },
  FST_ERR_CTP_EMPTY_JSON_BODY: {
    code: 'malformed-json',
    detail: 'The body is empty, but JSON was announced',
  },
  FST_ERR_CTP_INVALID_JSON_BODY: { code: 'malformed-json', detail: 'The body is not JSON' },
};

/** Whatever was thrown while a request was handled, as the problem that its caller may know. */
export function toProblem(error: unknown): HttpProblem {
  if (error instanceof HttpProblem) return error;
  if (error instanceof BusinessError) return toRefusal(error as BusinessError);
  if (error instanceof InvalidMessageError) {
    return new HttpProblem(400, 'invalid-request', 'The request is not valid', { errors: error.problems });
  }
  if (error instanceof RemoteFailureError) return toRemoteFailure(error);
  if (error instanceof BreakerOpenError) return serviceUnavailable(error.retryAfterMs);
  if (error instanceof FlotillaError) return toFailure(error);
  if (error instanceof HttpException && error.getStatus() < 500) return toServerRefusal(error);
  return new HttpProblem(500, 'internal-error', 'Something went wrong; it is logged');
}

function toRefusal({ code, message, data }: BusinessError): HttpProblem {
  if (code === 'NotCaughtUp') return notCaughtUp(data);
  const known: Refusal = refusals[code] ?? { status: 422, code: 'refused' };
  const words = wordless.test(message) ? `It was refused: ${code}` : message;
  return new HttpProblem(known.status, known.code, known.detail ?? words, { data });
}

function notCaughtUp(data: unknown): HttpProblem {
  return new HttpProblem(
    503,
    'not-caught-up',
    'What Flotilla-At-Least asks for is written, but not to be seen yet; try again, or leave the header out to see what there is',
    { data, headers: { 'retry-after': '1' } },
  );
}

function toRemoteFailure({ remoteCode, retry }: RemoteFailureError): HttpProblem {
  if (remoteCode === 'IDEMPOTENCY_CONFLICT') {
    return new HttpProblem(
      422,
      'idempotency-key-reused',
      'This Idempotency-Key was used with another request: choose a new one for a new request',
    );
  }
  return retry === 'later' || unavailable.has(remoteCode) ? serviceUnavailable() : serviceFailed();
}

function toFailure({ code }: FlotillaError): HttpProblem {
  if (unavailable.has(code)) return serviceUnavailable();
  if (code === 'INVALID_REPLY') return serviceFailed();
  return new HttpProblem(500, 'internal-error', 'Something went wrong; it is logged');
}

/** `afterMs`: how long to stay away, where that is known. */
function serviceUnavailable(afterMs = 0): HttpProblem {
  return new HttpProblem(
    503,
    'service-unavailable',
    'A service that is needed does not answer now; try again',
    {
      headers: { 'retry-after': String(Math.max(1, Math.ceil(afterMs / 1_000))) },
    },
  );
}

function serviceFailed(): HttpProblem {
  return new HttpProblem(502, 'service-failed', 'A service that is needed failed; it is logged');
}

/** What Nest and Fastify refuse before a handler is reached; Nest keeps Fastify's error as the cause. */
function toServerRefusal(error: HttpException): HttpProblem {
  const status = error.getStatus();
  if (status === 404) {
    return new HttpProblem(404, 'no-such-route', 'There is nothing at this address; see /docs');
  }
  const { cause } = error;
  const known = cause instanceof Error && 'code' in cause ? serverRefusals[String(cause.code)] : undefined;
  if (known) return new HttpProblem(status, known.code, known.detail);
  return new HttpProblem(status, 'bad-request', 'The request cannot be handled');
}
