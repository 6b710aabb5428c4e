import { EmailPort } from './email-port.ts';

/** The embedded default: the row in the mailbox is the message, and customers read it there. */
export class MailboxEmail extends EmailPort {
  readonly whenWritten = 'sent';

  /** For messages queued while a mail server was configured: they are in the mailbox already. */
  override async send(): Promise<void> {}

  override close(): void {}
}
