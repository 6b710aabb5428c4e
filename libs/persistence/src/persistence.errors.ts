import { FlotillaError, errorMessage, type RetryAdvice } from '@flotilla/kernel';

/** Thrown when no connection to the database could be had. Code `DATABASE_UNAVAILABLE`. */
export class DatabaseUnavailableError extends FlotillaError {
  constructor(cause: unknown) {
    super(
      'DATABASE_UNAVAILABLE',
      `No connection to the database: ${errorMessage(cause)}. Nothing was changed; it is safe to try again.`,
      { cause },
    );
  }
}

/**
 * Thrown when a unit of work was undone through no fault of its own: its connection was lost, or its transaction
 * was refused at commit. Code `UNIT_OF_WORK_FAILED`.
 */
export class UnitOfWorkFailedError extends FlotillaError {
  constructor(reason: string, cause: unknown) {
    super(
      'UNIT_OF_WORK_FAILED',
      `The unit of work was rolled back, ${reason}: ${errorMessage(cause)}. Nothing was changed; it is safe to try again.`,
      { cause },
    );
  }
}

/**
 * Thrown when the connection was lost while the commit was on its way, so that nobody knows whether it happened.
 * Trying again is safe with an inbox entry, which recognises the first attempt. Code `COMMIT_OUTCOME_UNKNOWN`.
 */
export class CommitOutcomeUnknownError extends FlotillaError {
  constructor(cause: unknown) {
    super(
      'COMMIT_OUTCOME_UNKNOWN',
      `The connection was lost during COMMIT (${errorMessage(cause)}): the changes are either all there or not at all. ` +
        'Try again with the same message id, or read what is there.',
      { cause },
    );
  }
}

/**
 * Thrown when the schema was migrated, but the role that the service runs with cannot be given its rights. Code
 * `APPLICATION_ROLE_UNUSABLE`.
 */
export class ApplicationRoleError extends FlotillaError {
  constructor(role: string, database: string, reason: string) {
    super('APPLICATION_ROLE_UNUSABLE', `The role ${role} cannot use the database ${database}: ${reason}`, {
      retry: 'never',
    });
  }
}

/** Thrown when a unit's work took longer than `workTimeoutMs` and was cut off. Code `UNIT_OF_WORK_TIMED_OUT`. */
export class UnitOfWorkTimedOutError extends FlotillaError {
  readonly timeoutMs: number;

  constructor(timeoutMs: number) {
    super(
      'UNIT_OF_WORK_TIMED_OUT',
      `A unit of work ran for more than ${timeoutMs} ms and was rolled back. Call slow services outside the unit, or ` +
        'raise workTimeoutMs.',
    );
    this.timeoutMs = timeoutMs;
  }
}

/** Thrown when too many units of work wait for a connection. Code `UNIT_OF_WORK_OVERLOADED`. */
export class UnitOfWorkOverloadedError extends FlotillaError {
  constructor(waiting: number) {
    super(
      'UNIT_OF_WORK_OVERLOADED',
      `${waiting} units of work wait for the database, which is the limit (maxQueued). Try again later.`,
    );
  }
}

/** Thrown when work is given to a unit of work or an outbox that is closing. Code `PERSISTENCE_CLOSED`. */
export class PersistenceClosedError extends FlotillaError {
  constructor(what: string) {
    super(
      'PERSISTENCE_CLOSED',
      `${what} is closed: the process is shutting down. Try again on another replica.`,
    );
  }
}

/** Thrown when something that belongs into a unit of work is done outside one. Code `OUTSIDE_UNIT_OF_WORK`. */
export class OutsideUnitOfWorkError extends FlotillaError {
  constructor(what: string, options: { readonly cause?: unknown } = {}) {
    super(
      'OUTSIDE_UNIT_OF_WORK',
      `${what} needs a unit of work, so that it commits together with the change it belongs to. Wrap the code in ` +
        'unitOfWork.run(async () => { ... }); handlers of commands and events already run in one.',
      { ...options, retry: 'never' },
    );
  }
}

/** Thrown when a unit of work is used after its work has ended. Code `UNIT_OF_WORK_OVER`. */
export class UnitOfWorkOverError extends FlotillaError {
  constructor(what: string) {
    super(
      'UNIT_OF_WORK_OVER',
      `${what} was called after the unit of work had ended. Await everything that the work starts.`,
      { retry: 'never' },
    );
  }
}

/** Thrown when a unit's work begins or ends a transaction by itself. Code `TRANSACTION_CONTROL_IN_UNIT_OF_WORK`. */
export class TransactionControlError extends FlotillaError {
  constructor(statement: string) {
    super(
      'TRANSACTION_CONTROL_IN_UNIT_OF_WORK',
      `"${statement}" cannot run inside a unit of work, whose transaction it shares with others. Throw to undo the unit; ` +
        'use manager.transaction() for a part of it, unless the unit is independent.',
      { retry: 'never' },
    );
  }
}

/** Thrown when `process` is called inside a unit of work. Code `NESTED_PROCESS`. */
export class NestedProcessError extends FlotillaError {
  constructor(messageId: string) {
    super(
      'NESTED_PROCESS',
      `Message ${messageId} cannot be processed inside another unit of work: its inbox entry would commit or fail with ` +
        'the other message. Call the code that it leads to instead.',
      { retry: 'never' },
    );
  }
}

/**
 * Thrown when a message id, or an idempotency key, is used again with another payload. Code `IDEMPOTENCY_CONFLICT`.
 */
export class IdempotencyConflictError extends FlotillaError {
  readonly consumer: string;
  readonly messageId: string;

  constructor(consumer: string, messageId: string) {
    super(
      'IDEMPOTENCY_CONFLICT',
      `${consumer} has already processed "${messageId}" with another payload. Use a new id for a new request.`,
      { retry: 'never' },
    );
    this.consumer = consumer;
    this.messageId = messageId;
  }
}

/** Thrown when a message or a reply cannot be stored in Postgres. Code `UNSTORABLE`. */
export class UnstorableError extends FlotillaError {
  constructor(what: string, reason: string) {
    super('UNSTORABLE', `${what} cannot be stored: ${reason}`, { retry: 'never' });
  }
}

/** Thrown when options are wrong; the message lists every problem. Code `PERSISTENCE_OPTIONS`. */
export class PersistenceOptionsError extends FlotillaError {
  constructor(what: string, problems: readonly string[]) {
    super('PERSISTENCE_OPTIONS', `The options of ${what} are wrong: ${problems.join('; ')}`, {
      retry: 'never',
    });
  }
}

/** Thrown when a migration fails; its changes, and only its, are undone. Code `MIGRATION_FAILED`. */
export class MigrationFailedError extends FlotillaError {
  readonly migration: string;

  constructor(migration: string, cause: unknown) {
    super(
      'MIGRATION_FAILED',
      `Migration ${migration} failed and was rolled back: ${errorMessage(cause)}. Migrations before it stay applied; ` +
        'correct it and run the migrations again.',
      { cause, retry: 'never' },
    );
    this.migration = migration;
  }
}

/** Thrown at start when the database lacks migrations that the program needs. Code `MIGRATIONS_PENDING`. */
export class MigrationsPendingError extends FlotillaError {
  readonly pending: readonly string[];

  constructor(database: string, pending: readonly string[]) {
    super(
      'MIGRATIONS_PENDING',
      `Database ${database} lacks ${pending.length} migration(s): ${pending.join(', ')}. Run \`fleet migrate\` first.`,
      { retry: 'never' },
    );
    this.pending = pending;
  }
}

/** Whether the same thing may work later, of any thrown value: an unknown failure may pass. */
export function retryAdvice(error: unknown): RetryAdvice {
  return error instanceof FlotillaError ? error.retry : 'later';
}

/**
 * Thrown when whoever asked for the work no longer waits for it: a statement was not begun, or was ended by the server.
 * The connection goes on; what its unit of work did is undone. Code `DEADLINE_EXCEEDED`.
 */
export class DeadlinePassedError extends FlotillaError {
  constructor(cause?: unknown) {
    super(
      'DEADLINE_EXCEEDED',
      cause === undefined
        ? 'The deadline of the caller has passed: nothing more is done for it'
        : 'The statement was cut off at the deadline of the caller',
      { retry: 'never', cause },
    );
  }
}
