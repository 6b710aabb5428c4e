import { FlotillaError, type RetryAdvice } from '@flotilla/kernel';

/**
 * Thrown when a `@MessagePattern` or `@EventPattern` handler failed with something that is no error, as exception
 * filters make of an `RpcException`. Code and advice are those of what was thrown, if it has any.
 */
export class HandlerFailedError extends FlotillaError {
  constructor(pattern: string, code: string, message: string, retry: RetryAdvice) {
    super(code, `The handler of ${pattern} failed: ${message}`, { retry });
  }
}

/** Thrown when a handler's pipe found its data not valid: to deliver it again would not help. */
export class InvalidDataError extends FlotillaError {
  constructor(pattern: string, problems: string, cause: unknown) {
    super('INVALID_MESSAGE', `The data of ${pattern} is not valid: ${problems}`, { cause, retry: 'never' });
  }
}

/** Thrown when a `@MessagePattern` handler's observable has not completed while its caller waits. */
export class HandlerTimeoutError extends FlotillaError {
  constructor(pattern: string) {
    super(
      'DEADLINE_EXCEEDED',
      `The handler of ${pattern} has not completed before its caller's deadline: an answer is sent when all values are there`,
    );
  }
}

/** Thrown when a handler's observable has more values than one answer may carry. */
export class TooManyValuesError extends FlotillaError {
  constructor(pattern: string, maxValues: number) {
    super(
      'TOO_MANY_VALUES',
      `The handler of ${pattern} answered more than ${maxValues} values: raise maxValues, or answer in pages`,
      { retry: 'never' },
    );
  }
}

/** Thrown when as many events wait to be stored as a client may hold. */
export class TooManyEventsError extends FlotillaError {
  constructor(pattern: string, maxPending: number) {
    super(
      'TOO_MANY_EVENTS',
      `The event ${pattern} was not sent: ${maxPending} wait for the broker already. Await the emits, or raise maxPendingEvents`,
    );
  }
}

/** Thrown when a message comes on the subject of a contract and says that it is of another type. */
export class WrongTypeError extends FlotillaError {
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
