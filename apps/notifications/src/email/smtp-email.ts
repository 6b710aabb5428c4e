import { createTransport } from 'nodemailer';
import { EmailPort, EmailRefusedError, type Email } from './email-port.ts';

export interface SmtpEmailOptions {
  /** `smtp://` or `smtps://`, with user and password if the server wants them. */
  readonly url: string;
  readonly from: string;
  /** How long one attempt may take, from connecting to the server's last answer. */
  readonly timeoutMs: number;
}

/**
 * Sends through a mail server. SMTP has no transactions: when the connection breaks after the message and before
 * the answer, it may have left, and it is sent again. Every attempt has the same Message-ID, by which mail servers
 * and programs recognise a copy.
 */
export class SmtpEmail extends EmailPort {
  readonly whenWritten = 'queued';
  readonly #options: SmtpEmailOptions;
  readonly #transport: ReturnType<typeof connect>;

  constructor(options: SmtpEmailOptions) {
    super();
    this.#options = options;
    this.#transport = connect(options);
  }

  override async send({ id, to, subject, text }: Email): Promise<void> {
    const { from, timeoutMs } = this.#options;
    try {
      await this.#transport.sendMail({
        from,
        // As an object it is one address, whatever commas it holds.
        to: { name: '', address: to },
        subject,
        text,
        messageId: `<${id}@${from.slice(from.lastIndexOf('@') + 1)}>`,
        headers: { 'Auto-Submitted': 'auto-generated' },
        signal: AbortSignal.timeout(timeoutMs),
      });
    } catch (error) {
      if (isRefusal(error)) throw new EmailRefusedError(error.response ?? error.message, { cause: error });
      throw error;
    }
  }

  override close(): void {
    this.#transport.close();
  }
}

function connect({ url, timeoutMs }: SmtpEmailOptions) {
  return createTransport({
    url,
    pool: true,
    // The job that sends counts the attempts; the pool repeats nothing by itself.
    maxRequeues: 0,
    connectionTimeout: timeoutMs,
    greetingTimeout: timeoutMs,
    socketTimeout: timeoutMs,
    disableFileAccess: true,
    disableUrlAccess: true,
  });
}

interface Refusal extends Error {
  readonly response?: string;
}

// Only a word against this message or its recipient; a refused login or a missing STARTTLS is nothing of the message's.
function isRefusal(error: unknown): error is Refusal {
  return (
    error instanceof Error &&
    'permanent' in error &&
    error.permanent === true &&
    'code' in error &&
    (error.code === 'EENVELOPE' || error.code === 'EMESSAGE')
  );
}
