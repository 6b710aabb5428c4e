import { BusinessError, InvalidMessageError } from '@flotilla/contracts-protocol';
import { FlotillaError } from '@flotilla/kernel';
import { RemoteFailureError } from '@flotilla/service';
import { HttpException } from '@nestjs/common';
import { HttpProblem } from './problem.ts';

/** The status of every refusal that a service may declare; others are 422. */
const refusals: Readonly<Record<string, { readonly status: number; readonly code: string }>> = {
  OrderNotFound: { status: 404, code: 'order-not-found' },
  ProductNotFound: { status: 404, code: 'product-not-found' },
  SkuNotFound: { status: 404, code: 'sku-not-found' },
  InvalidCursor: { status: 400, code: 'invalid-cursor' },
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

/** Fastify's own refusals, from before a handler is reached. */
const fastifyCodes: Readonly<Record<string, { readonly code: string; readonly detail: string }>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: { code: 'body-too-large', detail: 'The body is larger than 1 MiB' },
  FST_ERR_CTP_INVALID_MEDIA_TYPE: { code: 'unsupported-media-type', detail: 'Send JSON, as application/json' },
  FST_ERR_CTP_EMPTY_JSON_BODY: { code: 'malformed-json', detail: 'The body is empty, JSON was announced' },
  FST_ERR_CTP_INVALID_JSON_BODY: { code: 'malformed-json', detail: 'The body is not JSON' },
};

const RETRY_AFTER = { 'retry-after': '1' };

/** Whatever was thrown while a request was handled, as the problem that its caller may know. */
export function toProblem(error: unknown): HttpProblem {
  if (error instanceof HttpProblem) return error;
  if (error instanceof BusinessError) return refusal(error);
  if (error instanceof InvalidMessageError) {
    return new HttpProblem(400, 'invalid-request', error.message, { errors: error.problems });
  }
  if (error instanceof RemoteFailureError) return remoteFailure(error);
  if (error instanceof FlotillaError) {
    const unavailable = ['NO_RESPONDERS', 'BROKER_UNAVAILABLE', 'REQUEST_TIMEOUT', 'OVERLOADED'].includes(error.code);
    if (unavailable) {
      return new HttpProblem(503, 'service-unavailable', 'A service that is needed does not answer; try again', {
        headers: RETRY_AFTER,
      });
    }
  }
  return httpFailure(error) ?? new HttpProblem(500, 'internal-error', 'Something went wrong; it is logged');
}

function refusal({ code, message, data }: BusinessError): HttpProblem {
  const known = refusals[code] ?? { status: 422, code: 'refused' };
  return new HttpProblem(known.status, known.code, message, { data });
}

function remoteFailure({ remoteCode, retry }: RemoteFailureError): HttpProblem {
  if (remoteCode === 'IDEMPOTENCY_CONFLICT') {
    return new HttpProblem(
      422,
      'idempotency-key-reused',
      'This Idempotency-Key was used with another request: choose a new one for a new request',
    );
  }
  if (retry === 'later') {
    return new HttpProblem(503, 'service-unavailable', 'A service that is needed cannot answer now; try again', {
      headers: RETRY_AFTER,
    });
  }
  return new HttpProblem(502, 'service-failed', 'A service that is needed failed; it is logged');
}

function httpFailure(error: unknown): HttpProblem | undefined {
  if (error instanceof HttpException) {
    const status = error.getStatus();
    // Nest's own exceptions: an unknown route, and bodies that could not be read.
    if (status === 404) return new HttpProblem(404, 'no-such-route', 'There is nothing at this address; see /docs');
    if (status < 500) return new HttpProblem(status, status === 400 ? 'malformed-json' : 'bad-request', error.message);
    return undefined;
  }
  if (typeof error !== 'object' || error === null) return undefined;
  const { code, statusCode, message } = error as { code?: unknown; statusCode?: unknown; message?: unknown };
  const known = typeof code === 'string' ? fastifyCodes[code] : undefined;
  if (typeof statusCode !== 'number' || statusCode < 400 || statusCode >= 500) return undefined;
  if (known) return new HttpProblem(statusCode, known.code, known.detail);
  const malformed = error instanceof SyntaxError;
  return new HttpProblem(statusCode, malformed ? 'malformed-json' : 'bad-request', String(message));
}
