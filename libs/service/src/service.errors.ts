import { errorMessage, FlotillaError, type RetryAdvice } from '@flotilla/kernel';

/** Thrown at start when the handlers of a service and its manifest do not say the same. */
export class ManifestMismatchError extends FlotillaError {
  constructor(service: string, problems: readonly string[]) {
    super(
      'MANIFEST_MISMATCH',
      `The handlers of service "${service}" do not match its manifest (src/${service}.service.ts):\n- ${problems.join('\n- ')}`,
      { retry: 'never' },
    );
  }
}

/** Thrown when an event is published, or a durable command sent, where no unit of work could make it durable. */
export class PublishOutsideUnitOfWorkError extends FlotillaError {
  constructor(type: string) {
    super(
      'PUBLISH_OUTSIDE_UNIT_OF_WORK',
      `${type} was published outside a unit of work, so it could be lost: publish it in a handler, or in unitOfWork.run(...)`,
      { retry: 'never' },
    );
  }
}

/** Thrown when a handler calls another service while its transaction is open. */
export class RemoteCallInsideUnitOfWorkError extends FlotillaError {
  constructor(type: string) {
    super(
      'REMOTE_CALL_INSIDE_UNIT_OF_WORK',
      `${type} is answered by another service, and waiting for it would hold this transaction open: ` +
        'send it from a saga, keep a copy of what it answers, or mark the handler @OutsideUnitOfWork()',
      { retry: 'never' },
    );
  }
}

/**
 * Thrown when a command handler that works outside a unit of work is executed inside one: what it waits for would
 * hold that transaction open, and its own steps would no longer commit one by one.
 */
export class OutsideHandlerInsideUnitOfWorkError extends FlotillaError {
  constructor(type: string) {
    super(
      'OUTSIDE_HANDLER_INSIDE_UNIT_OF_WORK',
      `The handler of ${type} is @OutsideUnitOfWork() and was executed inside a unit of work: execute it before or after the unit, or send it from a saga`,
      { retry: 'never' },
    );
  }
}

/** The lists of a manifest that say what a service may send. */
export type SendingList = 'handles or calls' | 'publishes' | 'sends';

/** Thrown when a service executes, publishes or sends a message that its manifest does not list: it has no right to. */
export class UnlistedMessageError extends FlotillaError {
  constructor(type: string, service: string, list: SendingList = 'handles or calls') {
    super(
      'UNLISTED_MESSAGE',
      `${type} is not listed by service "${service}": add it to ${list} in src/${service}.service.ts`,
      { retry: 'never' },
    );
  }
}

/** Thrown when a message's type is not that of the subject it came on: permissions are given by subject. */
export class TypeMismatchError extends FlotillaError {
  constructor(type: string, subject: string) {
    super(
      'TYPE_MISMATCH',
      `A message of type "${type}" came on ${subject}, which is another contract's subject`,
      {
        retry: 'never',
      },
    );
  }
}

/** Thrown at the caller when the other service could not answer for a technical reason. */
export class RemoteFailureError extends FlotillaError {
  readonly type: string;
  /** The other service's own error code. */
  readonly remoteCode: string;

  constructor(type: string, remoteCode: string, message: string, retry: RetryAdvice) {
    super('REMOTE_FAILURE', `${type} failed at its service (${remoteCode}): ${message}`, { retry });
    this.type = type;
    this.remoteCode = remoteCode;
  }
}

/** Thrown when the caller of the code that makes a call stops waiting before the call is answered. */
export class CallDeadlineError extends FlotillaError {
  constructor(type: string, leftMs: number, cause: unknown) {
    super(
      'DEADLINE_EXCEEDED',
      `No answer to ${type} in the ${leftMs} ms for which our own caller still waited`,
      { cause, retry: 'never' },
    );
  }
}

/** Thrown when a service needs a database and DATABASE_URL is not set. */
export class NoDatabaseError extends FlotillaError {
  constructor(service: string) {
    super(
      'NO_DATABASE',
      `Service "${service}" owns data, but DATABASE_URL is not set: give it its own database, for example postgres://${service}:...@127.0.0.1:5432/${service}`,
      { retry: 'never' },
    );
  }
}

/** Thrown at start when the database did not answer in time, or refused the service. */
export class DatabaseUnreachableError extends FlotillaError {
  constructor(service: string, url: string, cause: unknown) {
    super(
      'DATABASE_UNREACHABLE',
      `The database of service "${service}" at ${placeOf(url)} cannot be used: ${errorMessage(cause)}. Is Postgres running, and DATABASE_URL right?`,
      { cause },
    );
  }
}

/** Thrown when a service has stopped, but not all of it in good order; `errors` has everything that failed. */
export class UncleanStopError extends FlotillaError {
  readonly errors: readonly unknown[];

  constructor(service: string, errors: readonly unknown[]) {
    super(
      'UNCLEAN_STOP',
      `Service "${service}" has stopped, but not cleanly: ${errors.map(errorMessage).join('; ')}. What was in flight is delivered again.`,
      { cause: errors[0] },
    );
    this.errors = errors;
  }
}

/** Host, port and database of a URL, never its user or password. */
function placeOf(url: string): string {
  const { host, pathname } = new URL(url);
  return `${host}${pathname}`;
}
