import type { Problem } from '@flotilla/contracts-protocol';

/** The media type of RFC 9457. */
export const PROBLEM_TYPE = 'application/problem+json';

/** An error as the API answers it: RFC 9457 problem details. */
export interface ProblemDetails {
  /** `urn:flotilla:problem:<code>`. */
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  /** The path of the request. */
  readonly instance?: string;
  /** Names this request in the logs. */
  readonly correlationId?: string;
  /** What is wrong with which field. */
  readonly errors?: readonly Problem[];
  /** Facts that go with the code, for example the SKUs that are not known. */
  readonly data?: unknown;
}

export interface ProblemOptions {
  readonly errors?: readonly Problem[];
  readonly data?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /** For the log; nothing of it leaves. */
  readonly cause?: unknown;
}

/** Thrown where a request cannot be done; the filter turns it into the answer. */
export class HttpProblem extends Error {
  readonly code: string;
  readonly status: number;
  readonly options: ProblemOptions;

  constructor(status: number, code: string, detail: string, options: ProblemOptions = {}) {
    super(detail, 'cause' in options ? { cause: options.cause } : {});
    this.name = 'HttpProblem';
    this.status = status;
    this.code = code;
    this.options = options;
  }
}

const titles: Readonly<Record<number, string>> = {
  400: 'The request is not valid',
  401: 'Authentication is needed',
  403: 'Not allowed',
  404: 'Not found',
  405: 'Method not allowed',
  408: 'The request came in too slowly',
  409: 'In conflict with the present state',
  413: 'The request is too large',
  414: 'The address is too long',
  415: 'The media type is not supported',
  422: 'The request cannot be fulfilled',
  429: 'Too many requests',
  431: 'The headers are too large',
  500: 'Internal error',
  502: 'A service failed',
  503: 'A service is not available',
  504: 'A service did not answer in time',
};

/** The body of a problem. */
export function problemDetails(
  problem: HttpProblem,
  request: { readonly instance: string | undefined; readonly correlationId: string | undefined },
): ProblemDetails {
  const { status, code, message, options } = problem;
  return {
    type: `urn:flotilla:problem:${code}`,
    title: titles[status] ?? 'Error',
    status,
    detail: message,
    ...(request.instance !== undefined && { instance: request.instance }),
    ...(request.correlationId !== undefined && { correlationId: request.correlationId }),
    ...(options.errors && { errors: options.errors }),
    ...(options.data !== undefined && { data: options.data }),
  };
}
