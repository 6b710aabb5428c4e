import type { Envelope } from '@flotilla/contracts-protocol';
import { NatsContext } from '@nestjs/microservices';
import type { MsgHdrs } from '@nats-io/nats-core';
import type { IncomingMessage } from '../broker.ts';
import { toNatsHeaders } from '../nats/nats-headers.ts';

/**
 * What `@Ctx()` gives to a handler: Nest's own `NatsContext`, so that code which knows that one runs on it, and what
 * this wire has besides. There is nothing to acknowledge: that follows from how the handler ends.
 */
export class FlotillaContext extends NatsContext {
  readonly #message: IncomingMessage;
  readonly #attempt: number;
  #headers: MsgHdrs | undefined;

  constructor(pattern: string, message: IncomingMessage, attempt: number) {
    super([pattern, undefined]);
    this.#message = message;
    this.#attempt = attempt;
  }

  /** The pattern that the message was sent by: where the handler's has wildcards, the one that was meant. */
  override getSubject(): string {
    return this.args[0];
  }

  /** All headers, the envelope's too, as the client library has them. */
  override getHeaders(): MsgHdrs {
    this.#headers ??= toNatsHeaders(this.#message.headers);
    return this.#headers;
  }

  getEnvelope(): Envelope {
    return this.#message.envelope;
  }

  /** Of an event: how often it has been delivered, this time included. Of a request always 1. */
  getAttempt(): number {
    return this.#attempt;
  }

  /** The NATS subject that the message came on. */
  getWireSubject(): string {
    return this.#message.subject;
  }
}
