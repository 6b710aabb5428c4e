import { millis } from '@nats-io/nats-core';
import type { PublishReceipt } from '../broker.ts';
import type { RawDelivery } from '../delivery-runner.ts';
import { subjectMatches } from '../memory/subject-match.ts';
import { QUEUE_METADATA, type ConsumerSpec, type StreamSpec } from '../topology.ts';
import type { SimulatedHost, SimulatedNetwork } from './network.ts';

/** A message as a stream keeps it. */
export interface StoredRecord {
  readonly sequence: number;
  readonly id: string;
  readonly subject: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

/** A stream of the simulated JetStream server. It survives restarts of the server; not its loss. */
export class SimulatedStream {
  readonly spec: StreamSpec;
  readonly createdAtMs: number;
  readonly messages = new Map<number, StoredRecord>();
  readonly consumers = new Map<string, SimulatedConsumer>();
  readonly queue: boolean;
  readonly #windowMs: number;
  readonly #network: SimulatedNetwork;
  readonly #ids = new Map<string, { readonly sequence: number; readonly atMs: number }>();
  #last = 0;

  constructor(spec: StreamSpec, network: SimulatedNetwork) {
    this.spec = spec;
    this.queue = spec.config.metadata?.['flotilla-kind'] === QUEUE_METADATA['flotilla-kind'];
    this.#windowMs = millis(spec.config.duplicate_window ?? 0);
    this.#network = network;
    this.createdAtMs = network.clock.now();
  }

  get name(): string {
    return this.spec.name;
  }

  get lastSequence(): number {
    return this.#last;
  }

  takes(subject: string): boolean {
    return (this.spec.config.subjects ?? []).some((filter) => subjectMatches(filter, subject));
  }

  append(
    id: string,
    subject: string,
    headers: Readonly<Record<string, string>>,
    body: Uint8Array,
  ): PublishReceipt {
    const now = this.#network.clock.monotonicMs();
    for (const [known, { atMs }] of this.#ids) {
      if (now - atMs < this.#windowMs) break;
      this.#ids.delete(known);
    }
    const before = this.#ids.get(id);
    if (before !== undefined) return { stream: this.name, sequence: before.sequence, duplicate: true };
    const sequence = ++this.#last;
    this.#ids.set(id, { sequence, atMs: now });
    this.messages.set(sequence, { sequence, id, subject, headers, body });
    for (const consumer of this.consumers.values()) consumer.look();
    return { stream: this.name, sequence, duplicate: false };
  }

  /** A consumer is done with a message. */
  done(sequence: number): void {
    if (this.queue) this.messages.delete(sequence);
  }
}

/** A process that takes the deliveries of a consumer while it has room. */
export interface Subscription {
  readonly host: SimulatedHost;
  readonly open: boolean;
  room(): number;
  receive(delivery: RawDelivery): void;
  /** When the last delivery to it arrives: those of one connection do not overtake each other. */
  arrivesMs: number;
  /** Deliveries that are under way to it. */
  coming: number;
}

interface Pending {
  attempts: number;
  /** Being handled until then; after that it is delivered again. */
  dueMs: number;
}

/** A durable consumer: delivers what is new, and again what was not acknowledged in time. */
export class SimulatedConsumer {
  readonly name: string;
  readonly ackWaitMs: number;
  readonly #stream: SimulatedStream;
  readonly #filters: readonly string[];
  readonly #maxAckPending: number;
  readonly #network: SimulatedNetwork;
  readonly #pending = new Map<number, Pending>();
  readonly #subscriptions: Subscription[] = [];
  readonly #available: () => boolean;
  #next = 1;
  #turn = 0;
  #wakesAtMs = Infinity;

  constructor(
    stream: SimulatedStream,
    spec: ConsumerSpec,
    network: SimulatedNetwork,
    available: () => boolean,
  ) {
    this.name = spec.name;
    this.#stream = stream;
    this.#filters = spec.config.filter_subjects ?? [];
    this.#maxAckPending = spec.config.max_ack_pending ?? 1_000;
    this.ackWaitMs = millis(spec.config.ack_wait ?? 30_000_000_000);
    this.#network = network;
    this.#available = available;
  }

  /** Messages that were never delivered. */
  get waiting(): number {
    let waiting = 0;
    for (let next = this.#next; next <= this.#stream.lastSequence; next++) {
      const behind = this.#stream.messages.get(next);
      if (behind !== undefined && this.#wants(behind)) waiting++;
    }
    return waiting;
  }

  /** Messages that were delivered and not acknowledged. */
  get unacknowledged(): number {
    return this.#pending.size;
  }

  subscribe(subscription: Subscription): void {
    this.#subscriptions.push(subscription);
    this.look();
  }

  /** Delivers what can be. */
  look(): void {
    if (!this.#available()) return;
    for (;;) {
      const subscription = this.#subscriptionWithRoom();
      if (subscription === undefined) return;
      const message = this.#nextMessage();
      if (message === undefined) return;
      this.#deliver(message, subscription);
    }
  }

  #subscriptionWithRoom(): Subscription | undefined {
    for (let at = this.#subscriptions.length - 1; at >= 0; at--) {
      const { host, open } = this.#subscriptions[at] as Subscription;
      // The server sees the connection of a dead process end.
      if (!host.alive || !open) this.#subscriptions.splice(at, 1);
    }
    const count = this.#subscriptions.length;
    for (let tried = 0; tried < count; tried++) {
      const each = this.#subscriptions[this.#turn++ % count] as Subscription;
      if (each.room() - each.coming > 0) return each;
    }
    return undefined;
  }

  #nextMessage(): StoredRecord | undefined {
    const now = this.#network.clock.monotonicMs();
    for (const [sequence, { dueMs }] of this.#pending) {
      if (dueMs > now) continue;
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

  #wants(message: StoredRecord): boolean {
    return this.#filters.some((filter) => subjectMatches(filter, message.subject));
  }

  #deliver(message: StoredRecord, subscription: Subscription): void {
    const { clock } = this.#network;
    const pending = this.#pending.get(message.sequence) ?? { attempts: 0, dueMs: 0 };
    pending.attempts++;
    this.#pending.set(message.sequence, pending);
    const what = `${this.name} <- ${this.#stream.name}/${message.sequence} ${message.headers['ce-type'] ?? ''}`;
    this.#dueIn(pending, this.#network.impatient(this.name) ? this.ackWaitMs / 20 : this.ackWaitMs);
    const { lost, delayMs } = this.#network.crossing('delivery', what);
    if (lost) return;
    const arrivesMs = Math.max(subscription.arrivesMs, clock.monotonicMs() + delayMs);
    subscription.arrivesMs = arrivesMs;
    subscription.coming++;
    const delivery = this.#rawDelivery(message, pending.attempts, subscription.host);
    this.#network.deliver(
      Math.max(0, arrivesMs - clock.monotonicMs()),
      `deliver ${what} #${delivery.attempt}`,
      () => {
        subscription.coming--;
        if (subscription.host.alive && subscription.open && this.#available())
          subscription.host.run(() => subscription.receive(delivery));
      },
    );
  }

  #rawDelivery(message: StoredRecord, attempt: number, host: SimulatedHost): RawDelivery {
    const { sequence, subject, headers, body } = message;
    const settle = (how: string, action: (pending: Pending) => void): void => {
      if (!host.alive) return;
      const what = `${how} ${this.#stream.name}/${sequence} of ${this.name}`;
      const { lost, delayMs } = this.#network.crossing('settlement', what);
      if (lost) return;
      this.#network.deliver(delayMs, what, () => {
        if (!this.#available()) return;
        const pending = this.#pending.get(sequence);
        if (pending !== undefined) action(pending);
        this.look();
      });
    };
    const done = (): void => {
      this.#pending.delete(sequence);
      this.#stream.done(sequence);
    };
    return {
      subject,
      headers,
      body,
      attempt,
      stream: this.#stream.name,
      sequence,
      pending: this.waiting,
      ack: () => settle('ack', done),
      term: () => settle('term', done),
      nak: (delayMs) =>
        settle(`nak for ${Math.round(delayMs)} ms`, (pending) => this.#dueIn(pending, delayMs)),
      working: () => settle('working', (pending) => this.#dueIn(pending, this.ackWaitMs)),
      released: () => undefined,
    };
  }

  #dueIn(pending: Pending, delayMs: number): void {
    const dueMs = this.#network.clock.monotonicMs() + delayMs;
    pending.dueMs = dueMs;
    this.#wakeAt(dueMs);
  }

  /** One timer for the delivery that is due first. */
  #wakeAt(dueMs: number): void {
    if (dueMs >= this.#wakesAtMs) return;
    this.#wakesAtMs = dueMs;
    const delayMs = Math.max(0, dueMs - this.#network.clock.monotonicMs());
    this.#network.deliver(delayMs, '', () => {
      if (this.#wakesAtMs !== dueMs) return;
      this.#wakesAtMs = Infinity;
      this.look();
      let earliestMs = Infinity;
      const now = this.#network.clock.monotonicMs();
      for (const each of this.#pending.values())
        if (each.dueMs > now) earliestMs = Math.min(earliestMs, each.dueMs);
      this.#wakeAt(earliestMs);
    });
  }
}
