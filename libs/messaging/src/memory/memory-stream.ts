import { millis } from '@nats-io/nats-core';
import type { Clock } from '@flotilla/kernel';
import type { PublishReceipt } from '../broker.ts';
import type { RawDelivery } from '../delivery-runner.ts';
import { QUEUE_METADATA, type ConsumerSpec, type StreamSpec } from '../topology.ts';
import { subjectMatches } from './subject-match.ts';

/** A message as a stream keeps it. */
export interface StoredMessage {
  readonly sequence: number;
  readonly subject: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

/** A stream of the in-memory broker: de-duplicates by message id, and as a queue forgets what is done. */
export class MemoryStream {
  readonly name: string;
  readonly messages = new Map<number, StoredMessage>();
  readonly consumers = new Map<string, MemoryConsumer>();
  readonly #subjects: readonly string[];
  readonly #isQueue: boolean;
  readonly #windowMs: number;
  readonly #clock: Clock;
  readonly #ids = new Map<string, { sequence: number; atMs: number }>();
  #last = 0;

  constructor(spec: StreamSpec, clock: Clock) {
    this.name = spec.name;
    this.#subjects = spec.config.subjects ?? [];
    this.#isQueue = spec.config.metadata?.['flotilla-kind'] === QUEUE_METADATA['flotilla-kind'];
    this.#windowMs = millis(spec.config.duplicate_window ?? 0);
    this.#clock = clock;
  }

  get lastSequence(): number {
    return this.#last;
  }

  takes(subject: string): boolean {
    return this.#subjects.some((filter) => subjectMatches(filter, subject));
  }

  append(
    id: string,
    subject: string,
    headers: Readonly<Record<string, string>>,
    body: Uint8Array,
  ): PublishReceipt {
    const now = this.#clock.monotonicMs();
    for (const [known, { atMs }] of this.#ids) {
      if (now - atMs < this.#windowMs) break;
      this.#ids.delete(known);
    }
    const before = this.#ids.get(id);
    if (before !== undefined) return { stream: this.name, sequence: before.sequence, duplicate: true };
    const sequence = ++this.#last;
    this.#ids.set(id, { sequence, atMs: now });
    this.messages.set(sequence, { sequence, subject, headers, body });
    for (const consumer of this.consumers.values()) consumer.wake();
    return { stream: this.name, sequence, duplicate: false };
  }

  addConsumer(spec: ConsumerSpec): void {
    this.consumers.set(spec.name, new MemoryConsumer(this, spec, this.#clock));
  }

  /** A consumer is done with a message. */
  done(sequence: number): void {
    if (this.#isQueue) this.messages.delete(sequence);
  }
}

/** Something that takes deliveries while it has room. */
export interface MemorySubscriber {
  room(): number;
  receive(delivery: RawDelivery): void;
}

interface Pending {
  attempts: number;
  /** Being handled until then; after that it is delivered again. */
  dueMs: number;
}

/** A durable consumer: remembers what was delivered and not acknowledged, and delivers it again when it is time. */
export class MemoryConsumer {
  readonly #stream: MemoryStream;
  readonly #filters: readonly string[];
  readonly #maxAckPending: number;
  readonly #ackWaitMs: number;
  readonly #clock: Clock;
  readonly #pending = new Map<number, Pending>();
  readonly #subscribers: MemorySubscriber[] = [];
  #next = 1;
  #woken = false;

  constructor(stream: MemoryStream, spec: ConsumerSpec, clock: Clock) {
    this.#stream = stream;
    this.#filters = spec.config.filter_subjects ?? [];
    this.#maxAckPending = spec.config.max_ack_pending ?? 1_000;
    this.#ackWaitMs = millis(spec.config.ack_wait ?? 30_000_000_000);
    this.#clock = clock;
  }

  get ackWaitMs(): number {
    return this.#ackWaitMs;
  }

  /** How many messages were never delivered. */
  get waiting(): number {
    let waiting = 0;
    for (let next = this.#next; next <= this.#stream.lastSequence; next++) {
      const behind = this.#stream.messages.get(next);
      if (behind !== undefined && this.#wants(behind)) waiting++;
    }
    return waiting;
  }

  /** Returns the function that ends it. */
  subscribe(subscriber: MemorySubscriber): () => void {
    this.#subscribers.push(subscriber);
    this.wake();
    return () => {
      const at = this.#subscribers.indexOf(subscriber);
      if (at >= 0) this.#subscribers.splice(at, 1);
    };
  }

  /** Delivers what can be, soon: never inside the call that made it possible. */
  wake(): void {
    if (this.#woken) return;
    this.#woken = true;
    queueMicrotask(() => {
      this.#woken = false;
      this.#deliver();
    });
  }

  #deliver(): void {
    for (;;) {
      const subscriber = this.#subscribers.find((each) => each.room() > 0);
      if (subscriber === undefined) return;
      const message = this.#nextMessage();
      if (message === undefined) return;
      // The one that got something goes to the end of the line.
      this.#subscribers.push(...this.#subscribers.splice(this.#subscribers.indexOf(subscriber), 1));
      const pending = this.#pending.get(message.sequence) ?? { attempts: 0, dueMs: 0 };
      pending.attempts++;
      this.#pending.set(message.sequence, pending);
      this.#dueIn(pending, this.#ackWaitMs);
      subscriber.receive(this.#delivery(message, pending.attempts));
    }
  }

  #nextMessage(): StoredMessage | undefined {
    const now = this.#clock.monotonicMs();
    for (const [sequence, { dueMs }] of this.#pending) {
      // Timers of the machine may be early by a fraction of a millisecond.
      if (dueMs > now + 1) continue;
      const message = this.#stream.messages.get(sequence);
      if (message !== undefined) return message;
      this.#pending.delete(sequence);
    }
    if (this.#pending.size >= this.#maxAckPending) return undefined;
    while (this.#next <= this.#stream.lastSequence) {
      const message = this.#stream.messages.get(this.#next++);
      if (message !== undefined && this.#wants(message)) return message;
    }
    return undefined;
  }

  #wants(message: StoredMessage): boolean {
    return this.#filters.some((filter) => subjectMatches(filter, message.subject));
  }

  #dueIn(pending: Pending, delayMs: number): void {
    pending.dueMs = this.#clock.monotonicMs() + delayMs;
    this.#clock.after(delayMs, () => this.wake());
  }

  #delivery(message: StoredMessage, attempt: number): RawDelivery {
    const { sequence, subject, headers, body } = message;
    const settle = (action: (pending: Pending) => void): void => {
      const pending = this.#pending.get(sequence);
      if (pending !== undefined) action(pending);
      this.wake();
    };
    const done = (): void =>
      settle(() => {
        this.#pending.delete(sequence);
        this.#stream.done(sequence);
      });
    return {
      subject,
      headers,
      body,
      attempt,
      stream: this.#stream.name,
      sequence,
      pending: this.waiting,
      ack: done,
      term: done,
      nak: (delayMs) => settle((pending) => this.#dueIn(pending, delayMs)),
      working: () => settle((pending) => this.#dueIn(pending, this.#ackWaitMs)),
      released: () => undefined,
    };
  }
}
