import type { Msg } from '@nats-io/nats-core';
import type { RawDelivery } from '../delivery-runner.ts';
import type { DeliveryFacts } from './ack-subject.ts';
import { headersOf } from './nats-headers.ts';

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
const ACK = encode('+ACK');
const WORKING = encode('+WPI');

/** A delivery from JetStream. Settling is sent without waiting for the server: at worst it comes again. */
export class NatsDelivery implements RawDelivery {
  readonly subject: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
  readonly attempt: number;
  readonly stream: string;
  readonly sequence: number;
  readonly pending: number;
  readonly #message: Msg;
  readonly #onReleased: () => void;

  constructor(message: Msg, facts: DeliveryFacts, onReleased: () => void) {
    this.subject = message.subject;
    this.headers = headersOf(message);
    this.body = message.data;
    this.attempt = facts.attempt;
    this.stream = facts.stream;
    this.sequence = facts.sequence;
    this.pending = facts.pending;
    this.#message = message;
    this.#onReleased = onReleased;
  }

  ack(): void {
    this.#message.respond(ACK);
  }

  nak(delayMs: number): void {
    this.#message.respond(encode(`-NAK {"delay":${Math.round(delayMs * 1e6)}}`));
  }

  term(reason: string): void {
    this.#message.respond(encode(`+TERM ${reason}`));
  }

  working(): void {
    this.#message.respond(WORKING);
  }

  released(): void {
    this.#onReleased();
  }
}
