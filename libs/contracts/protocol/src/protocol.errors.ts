import { FlotillaError } from '@flotilla/kernel';
import { describeProblems, type Problem } from './validation.ts';

/** Thrown when a message is made from, or received with, a payload that its contract does not allow. */
export class InvalidMessageError extends FlotillaError {
  readonly type: string;
  readonly problems: readonly Problem[];

  constructor(type: string, problems: readonly Problem[]) {
    super('INVALID_MESSAGE', `${type} is not valid: ${describeProblems(problems)}`, { retry: 'never' });
    this.type = type;
    this.problems = problems;
  }
}

/** Thrown when a handler returns, or a caller receives, a reply that the contract does not allow. */
export class InvalidReplyError extends FlotillaError {
  readonly type: string;
  readonly problems: readonly Problem[];

  constructor(type: string, problems: readonly Problem[]) {
    super('INVALID_REPLY', `The reply to ${type} is not valid: ${describeProblems(problems)}`, {
      retry: 'never',
    });
    this.type = type;
    this.problems = problems;
  }
}

/** Thrown when a message's CloudEvents headers are missing or unreadable. */
export class MalformedEnvelopeError extends FlotillaError {
  readonly problems: readonly Problem[];

  constructor(problems: readonly Problem[]) {
    super('MALFORMED_ENVELOPE', `The message's headers are not a CloudEvent: ${describeProblems(problems)}`, {
      retry: 'never',
    });
    this.problems = problems;
  }
}

/**
 * A business "no" that a contract declares under `errors`: an exception inside a service, a typed reply on
 * the wire, and this exception again at the caller. Never retried, never dead-lettered.
 */
export class BusinessError<Code extends string = string, Data = unknown> extends FlotillaError {
  /** The contract that declares the error, for example `inventory.ReserveStock.v1`. */
  readonly type: string;
  readonly data: Data;
  declare readonly code: Code;

  constructor(type: string, code: Code, data: Data, message?: string) {
    super(code, message ?? `${type} was refused: ${code}`, { retry: 'never' });
    this.type = type;
    this.data = data;
  }
}
