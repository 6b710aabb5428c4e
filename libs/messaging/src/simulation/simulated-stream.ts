import type { PublishReceipt } from '../broker.ts';
import type { RawDelivery } from '../delivery-runner.ts';
import { ConsumerCursor, StreamLog, type PendingDelivery, type StoredMessage } from '../memory/stream-log.ts';
import type { ConsumerSpec, StreamSpec } from '../topology.ts';
import type { SimulatedHost, SimulatedNetwork } from './network.ts';

/** A stream of the simulated JetStream server. It survives restarts of the server; not its loss. */
export class SimulatedStream extends StreamLog {
  readonly spec: StreamSpec;
  readonly createdAtMs: number;
  readonly consumers = new Map<string, SimulatedConsumer>();

  constructor(spec: StreamSpec, network: SimulatedNetwork) {
    super(spec, network.clock);
    this.spec = spec;
    this.createdAtMs = network.clock.now();
  }

  override append(...message: Parameters<StreamLog['append']>): PublishReceipt {
    const receipt = super.append(...message);
    if (!receipt.duplicate) for (const consumer of this.consumers.values()) consumer.look();
    return receipt;
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

/** A durable consumer: delivers what is new, and again what was not acknowledged in time. */
export class SimulatedConsumer {
  readonly name: string;
  readonly #stream: SimulatedStream;
  readonly #cursor: ConsumerCursor;
  readonly #network: SimulatedNetwork;
  readonly #subscriptions: Subscription[] = [];
  readonly #available: () => boolean;
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
    this.#cursor = new ConsumerCursor(stream, spec);
    this.#network = network;
    this.#available = available;
  }

  get ackWaitMs(): number {
    return this.#cursor.ackWaitMs;
  }

  /** Messages that were never delivered. */
  get waiting(): number {
    return this.#cursor.waiting;
  }

  /** Messages that were delivered and not acknowledged. */
  get unacknowledged(): number {
    return this.#cursor.pending.size;
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
      const next = this.#cursor.take(this.#network.clock.monotonicMs());
      if (next === undefined) return;
      this.#deliver(next.message, next.pending, subscription);
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

  #deliver(message: StoredMessage, pending: PendingDelivery, subscription: Subscription): void {
    const { clock } = this.#network;
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

  #rawDelivery(message: StoredMessage, attempt: number, host: SimulatedHost): RawDelivery {
    const { sequence, subject, headers, body } = message;
    const settle = (how: string, action: (pending: PendingDelivery) => void): void => {
      if (!host.alive) return;
      const what = `${how} ${this.#stream.name}/${sequence} of ${this.name}`;
      const { lost, delayMs } = this.#network.crossing('settlement', what);
      if (lost) return;
      this.#network.deliver(delayMs, what, () => {
        if (!this.#available()) return;
        const pending = this.#cursor.pending.get(sequence);
        if (pending !== undefined) action(pending);
        this.look();
      });
    };
    const done = (): void => this.#cursor.done(sequence);
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

  #dueIn(pending: PendingDelivery, delayMs: number): void {
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
      for (const each of this.#cursor.pending.values())
        if (each.dueMs > now) earliestMs = Math.min(earliestMs, each.dueMs);
      this.#wakeAt(earliestMs);
    });
  }
}
