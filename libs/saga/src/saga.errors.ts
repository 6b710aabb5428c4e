import { FlotillaError } from '@flotilla/kernel';

/**
 * Thrown when another unit of work changed the instance between this one's read and its write. Nothing was
 * written: run the whole unit again.
 */
export class SagaVersionConflictError extends FlotillaError {
  readonly saga: string;
  readonly id: string;

  constructor(saga: string, id: string, revision: number) {
    super(
      'SAGA_VERSION_CONFLICT',
      `Saga ${saga} of "${id}" is no longer at revision ${revision}: another unit of work changed it; run this one again`,
      { retry: 'later' },
    );
    this.saga = saga;
    this.id = id;
  }
}

/** Thrown when a saga is started for an id that already has one. The unit of work must not commit. */
export class SagaAlreadyStartedError extends FlotillaError {
  readonly saga: string;
  readonly id: string;

  constructor(saga: string, id: string) {
    super(
      'SAGA_ALREADY_STARTED',
      `Saga ${saga} of "${id}" has been started before: start it once per id, or look at it with show()`,
      { retry: 'never' },
    );
    this.saga = saga;
    this.id = id;
  }
}

/** Thrown when a saga name, or one version of it, is not registered in this process. */
export class UnknownSagaError extends FlotillaError {
  constructor(saga: string, known: readonly string[]) {
    super(
      'UNKNOWN_SAGA',
      `No saga "${saga}" is registered here (registered: ${known.join(', ') || 'none'}): add its definition to the engine`,
      { retry: 'never' },
    );
  }
}

/**
 * Thrown when a function of a saga's definition (`send`, `onReply`, ...) throws while the saga is started. Later
 * in a saga's life the same fault parks the instance with this error's message.
 */
export class SagaDefinitionFaultError extends FlotillaError {
  readonly step: string;

  constructor(step: string, where: string, cause: unknown) {
    super(
      'SAGA_DEFINITION_FAULT',
      `Step "${step}": ${where} threw ${cause instanceof Error ? `${cause.name}: ${cause.message}` : String(cause)}`,
      { retry: 'never', cause },
    );
    this.step = step;
  }
}
