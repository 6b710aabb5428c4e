import {
  encodeEnvelope,
  envelopeHeader,
  failureBody,
  type FailureBody,
  readFailure,
  type Envelope,
} from '@flotilla/contracts-protocol';
import { errorCode, errorMessage, newId, type Clock } from '@flotilla/kernel';
import type { IncomingMessage, OutgoingReply } from './broker.ts';
import { decodeMessage } from './message.ts';
import { DeadlineExceededError, OverloadedError } from './messaging.errors.ts';
import type { MessagingLog } from './messaging-log.ts';
import type { MessagingMetrics } from './messaging-metrics.ts';

export interface RequestServerOptions {
  readonly subject: string;
  readonly service: string;
  readonly maxInFlight: number;
  readonly handler: (message: IncomingMessage) => Promise<OutgoingReply>;
  /** Completes a message whose body is elsewhere. Default: as it came. */
  readonly complete?: (message: IncomingMessage) => Promise<IncomingMessage> | undefined;
  readonly clock: Clock;
  readonly metrics: MessagingMetrics;
  readonly log: MessagingLog;
}

/** Numbers of one served subject, as the NATS service API reports them. */
export interface RequestStats {
  requests: number;
  errors: number;
  processingMs: number;
  lastError: string;
}

/** Answers the requests to one subject: bounded, with deadlines, always with an answer. */
export class RequestServer {
  readonly stats: RequestStats = { requests: 0, errors: 0, processingMs: 0, lastError: '' };
  readonly #options: RequestServerOptions;
  #maxInFlight: number;
  #running = 0;
  #idle: (() => void) | undefined;

  constructor(options: RequestServerOptions) {
    this.#options = options;
    this.#maxInFlight = options.maxInFlight;
  }

  set maxInFlight(maxInFlight: number) {
    this.#maxInFlight = maxInFlight;
  }

  get inFlight(): number {
    return this.#running;
  }

  /** Never rejects: what goes wrong is a reply with the outcome `failed`. */
  async answer(
    subject: string,
    headers: Readonly<Record<string, string>>,
    body: Uint8Array,
  ): Promise<OutgoingReply> {
    const { handler, clock, metrics, log } = this.#options;
    this.stats.requests++;
    let message: IncomingMessage | undefined;
    try {
      message = decodeMessage(subject, headers, body);
      if (this.#running >= this.#maxInFlight) {
        metrics.overloaded(this.#options.subject);
        throw new OverloadedError(this.#options.subject, this.#maxInFlight);
      }
      const { deadline } = message.envelope;
      if (deadline !== undefined && deadline <= clock.now()) {
        throw new DeadlineExceededError(this.#options.subject, clock.now() - deadline);
      }
    } catch (error) {
      return this.#failure(message?.envelope, error);
    }
    const startedAt = clock.monotonicMs();
    this.#running++;
    try {
      const completing = this.#options.complete?.(message);
      const reply = await handler(completing === undefined ? message : await completing);
      this.#countAnswer(reply);
      return reply;
    } catch (error) {
      log.error(
        { subject, messageId: message.envelope.id, errorCode: errorCode(error), error: errorMessage(error) },
        'A request handler failed',
      );
      return this.#failure(message.envelope, error);
    } finally {
      this.stats.processingMs += clock.monotonicMs() - startedAt;
      this.#running--;
      if (this.#running === 0) this.#idle?.();
    }
  }

  /** The answer to a request whose own answer could not be sent. */
  failed(subject: string, headers: Readonly<Record<string, string>>, error: unknown): OutgoingReply {
    return this.#failure(decodeMessage(subject, headers, new Uint8Array()).envelope, error);
  }

  /** Waits until no request is being handled, at most `drainMs`. */
  async drained(drainMs: number): Promise<void> {
    if (this.#running === 0) return;
    const patience = new AbortController();
    const idle = new Promise<void>((resolve) => (this.#idle = resolve));
    await Promise.race([idle, this.#options.clock.sleep(drainMs, patience.signal)]);
    patience.abort();
  }

  /** An answer that the service API's headers call an error counts as one, although the handler did not throw. */
  #countAnswer({ headers, body }: OutgoingReply): void {
    const outcome = headers[envelopeHeader.outcome];
    if (outcome !== 'failed' && outcome !== 'refused') return;
    const { code, message } = readFailure(parsed(body));
    this.#countError(code, message);
  }

  #countError(code: string, message: string): void {
    this.stats.errors++;
    this.stats.lastError = `${code}: ${message}`;
  }

  #failure(request: Envelope | undefined, error: unknown): OutgoingReply {
    const code = errorCode(error);
    const message = errorMessage(error);
    this.#countError(code, message);
    const id = newId(this.#options.clock.now());
    return {
      headers: encodeEnvelope({
        id,
        type: request?.type ?? 'unknown',
        source: this.#options.service,
        time: new Date(this.#options.clock.now()).toISOString(),
        subject: request?.subject ?? id,
        correlationId: request?.correlationId ?? id,
        ...(request && { causationId: request.id }),
        outcome: 'failed',
      }),
      body: JSON.stringify(failureBody({ code, message, retry: retryOf(error) })),
    };
  }
}

function retryOf(error: unknown): FailureBody['retry'] {
  return typeof error === 'object' && error !== null && 'retry' in error && error.retry === 'never'
    ? 'never'
    : 'later';
}

function parsed(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}
