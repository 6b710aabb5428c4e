import { FlotillaError } from '@flotilla/kernel';

/** A message on its way to a customer. */
export interface Email {
  /** The notification's id: the same at every attempt. */
  readonly id: string;
  readonly to: string;
  readonly subject: string;
  readonly text: string;
}

/** The way messages take to customers. */
export abstract class EmailPort {
  /** What a message is as soon as it is written: `sent` (the mailbox is where it goes) or `queued` (for `send`). */
  abstract readonly whenWritten: 'sent' | 'queued';

  /**
   * Hands one message over; called outside any unit of work, again after a failure or a crash, and at most once at
   * a time for one message. Throws {@link EmailRefusedError} when another attempt cannot help.
   */
  abstract send(email: Email): Promise<void>;

  /** Closes what is open. */
  abstract close(): void;
}

/** Thrown when a mail server refuses a message or its recipient for good. */
export class EmailRefusedError extends FlotillaError {
  constructor(response: string, options: { cause: unknown }) {
    super('EMAIL_REFUSED', `The mail server refused the message: ${response}`, {
      ...options,
      retry: 'never',
    });
  }
}
