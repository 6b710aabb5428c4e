import { FlotillaError } from '@flotilla/kernel';
import type {
  OutboxPublisher,
  OutgoingMessage,
  PublishReceipt,
  StreamState,
  StreamView,
} from '../src/index.ts';

interface Stored {
  readonly id: string;
  readonly key: string;
}

/** A broker with one stream, which refuses, fails and forgets as it is told. */
export class FakeBroker implements OutboxPublisher, StreamView {
  /** What was stored, in order. */
  stored: Stored[] = [];
  /** Every attempt to publish, in order. */
  readonly attempts: string[] = [];
  /** Called before a message is stored; throw to refuse it. */
  before: (message: OutgoingMessage) => Promise<void> | void = () => undefined;
  createdAtMs = Date.now() - 60_000;
  readonly #inFlight = new Map<string, number>();
  mostInFlight = 0;
  mostInFlightPerKey = 0;
  #offset = 0;

  async publish(message: OutgoingMessage): Promise<PublishReceipt> {
    this.attempts.push(message.id);
    const own = (this.#inFlight.get(message.key) ?? 0) + 1;
    this.#inFlight.set(message.key, own);
    this.mostInFlightPerKey = Math.max(this.mostInFlightPerKey, own);
    const all = [...this.#inFlight.values()].reduce((sum, count) => sum + count, 0);
    this.mostInFlight = Math.max(this.mostInFlight, all);
    try {
      await new Promise((resolve) => setImmediate(resolve));
      await this.before(message);
    } finally {
      this.#inFlight.set(message.key, (this.#inFlight.get(message.key) ?? 1) - 1);
    }
    const known = this.stored.findIndex(({ id }) => id === message.id);
    if (known === -1) this.stored.push({ id: message.id, key: message.key });
    const sequence = (known === -1 ? this.stored.length : known + 1) + this.#offset;
    return { stream: 'EVT_test', sequence, duplicate: known !== -1 };
  }

  get ids(): string[] {
    return this.stored.map(({ id }) => id);
  }

  /** The ids of one key, in the order they were stored. */
  idsOf(key: string): string[] {
    return this.stored.filter((message) => message.key === key).map(({ id }) => id);
  }

  /** Loses everything, as a broker does whose disk was replaced. */
  wipe(): void {
    this.stored = [];
    this.createdAtMs = Date.now();
  }

  /** Goes back to the state it had after `count` messages, as from an old copy of its disk. */
  restore(count: number): void {
    this.stored = this.stored.slice(0, count);
  }

  streamState(): Promise<StreamState | undefined> {
    return Promise.resolve({ createdAtMs: this.createdAtMs, lastSequence: this.stored.length });
  }

  exists(_stream: string, sequence: number, id: string): Promise<boolean> {
    return Promise.resolve(this.stored[sequence - 1]?.id === id);
  }
}

export class BrokerAwayError extends FlotillaError {
  constructor() {
    super('BROKER_AWAY', 'The broker is away');
  }
}

export class TooLargeError extends FlotillaError {
  constructor() {
    super('TOO_LARGE', 'The message is too large', { retry: 'never' });
  }
}
