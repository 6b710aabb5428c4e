import type { Clock } from '@flotilla/kernel';
import type { PublishReceipt } from '../broker.ts';
import type { RawDelivery } from '../delivery-runner.ts';
import type { ConsumerSpec, StreamSpec } from '../topology.ts';
import { ConsumerCursor, StreamLog, type PendingDelivery, type StoredMessage } from './stream-log.ts';

/** A stream of the in-memory broker. */
export class MemoryStream extends StreamLog {
  readonly consumers = new Map<string, MemoryConsumer>();
  readonly #clock: Clock;

  constructor(spec: StreamSpec, clock: Clock) {
    super(spec, clock);
    this.#clock = clock;
  }

  override append(...message: Parameters<StreamLog['append']>): PublishReceipt {
    const receipt = super.append(...message);
    if (!receipt.duplicate) for (const consumer of this.consumers.values()) consumer.wake();
    return receipt;
  }

  addConsumer(spec: ConsumerSpec): void {
    this.consumers.set(spec.name, new MemoryConsumer(this, spec, this.#clock));
  }
}

/** Something that takes deliveries while it has room. */
export interface MemorySubscriber {
  room(): number;
  receive(delivery: RawDelivery): void;
}

/** A durable consumer: remembers what was delivered and not acknowledged, and delivers it again when it is time. */
export class MemoryConsumer {
  readonly #stream: MemoryStream;
  readonly #cursor: ConsumerCursor;
  readonly #clock: Clock;
  readonly #subscribers: MemorySubscriber[] = [];
  #woken = false;

  constructor(stream: MemoryStream, spec: ConsumerSpec, clock: Clock) {
    this.#stream = stream;
    this.#cursor = new ConsumerCursor(stream, spec);
    this.#clock = clock;
  }

  get ackWaitMs(): number {
    return this.#cursor.ackWaitMs;
  }

  /** How many messages were never delivered. */
  get waiting(): number {
    return this.#cursor.waiting;
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
      // Timers of the machine may be early by a fraction of a millisecond.
      const next = this.#cursor.take(this.#clock.monotonicMs() + 1);
      if (next === undefined) return;
      // The one that got something goes to the end of the line.
      this.#subscribers.push(...this.#subscribers.splice(this.#subscribers.indexOf(subscriber), 1));
      this.#dueIn(next.pending, this.ackWaitMs);
      subscriber.receive(this.#delivery(next.message, next.pending.attempts));
    }
  }

  #dueIn(pending: PendingDelivery, delayMs: number): void {
    pending.dueMs = this.#clock.monotonicMs() + delayMs;
    this.#clock.after(delayMs, () => this.wake());
  }

  #delivery(message: StoredMessage, attempt: number): RawDelivery {
    const { sequence, subject, headers, body } = message;
    const settle = (action: (pending: PendingDelivery) => void): void => {
      const pending = this.#cursor.pending.get(sequence);
      if (pending !== undefined) action(pending);
      this.wake();
    };
    const done = (): void => settle(() => this.#cursor.done(sequence));
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
      working: () => settle((pending) => this.#dueIn(pending, this.ackWaitMs)),
      released: () => undefined,
    };
  }
}
