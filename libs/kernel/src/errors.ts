/**
 * Whether doing the same thing again can help: `never` (the input is at fault), `later`, or `not-yet`: nothing has
 * failed, something else has to arrive first. A message whose handler says so is waited with for three ack waits.
 */
export type RetryAdvice = 'never' | 'later' | 'not-yet';

export interface FlotillaErrorOptions {
  /** What made this error; kept as the standard `cause`. */
  readonly cause?: unknown;
  /** Whether a retry can help. Default `later`: an unknown failure may pass. */
  readonly retry?: RetryAdvice;
}

/**
 * The base of every error that Flotilla throws itself. `code` is stable and machine-readable
 * (`UPPER_SNAKE`); the message says what failed, with which value, and what to do.
 */
export class FlotillaError extends Error {
  readonly code: string;
  readonly retry: RetryAdvice;

  constructor(code: string, message: string, options: FlotillaErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.code = code;
    this.retry = options.retry ?? 'later';
  }
}

/** The `code` of any thrown value that has one (Node and Postgres errors too), else its class name. */
export function errorCode(error: unknown): string {
  if (typeof error === 'object' && error !== null && 'code' in error && typeof error.code === 'string') {
    return error.code;
  }
  return error instanceof Error ? error.name : typeof error;
}

/** A readable message of any thrown value; never throws itself. */
export function errorMessage(error: unknown): string {
  if (error instanceof AggregateError && error.message === '') {
    return error.errors.map(errorMessage).join('; ');
  }
  if (error instanceof Error) return error.message;
  return typeof error === 'string' ? error : JSON.stringify(error);
}
