import { FlotillaError, type RetryAdvice } from '@flotilla/kernel';

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

/** Thrown when a command or query is executed that the manifest lists neither as answered nor as called. */
export class UnlistedMessageError extends FlotillaError {
  constructor(type: string, service: string) {
    super(
      'UNLISTED_MESSAGE',
      `${type} is neither answered nor called by service "${service}": add it to handles or calls in src/${service}.service.ts`,
      { retry: 'never' },
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
