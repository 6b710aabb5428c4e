import { millis } from '@nats-io/nats-core';
import type { Clock } from '@flotilla/kernel';
import type { PublishReceipt } from '../broker.ts';
import { QUEUE_METADATA, type ConsumerSpec, type StreamSpec } from '../topology.ts';
import { subjectMatches } from './subject-match.ts';

/** A message as a stream keeps it. */
export interface StoredMessage {
  readonly sequence: number;
  readonly id: string;
  readonly subject: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

/** The messages of a stream in memory: de-duplicates by message id, and as a queue forgets what is done. */
export class StreamLog {
  readonly name: string;
  readonly messages = new Map<number, StoredMessage>();
  readonly #subjects: readonly string[];
  /** A queue: it forgets what is done. */
  readonly isQueue: boolean;
  readonly #windowMs: number;
  readonly #clock: Pick<Clock, 'monotonicMs'>;
  readonly #ids = new Map<string, { readonly sequence: number; readonly atMs: number }>();
  #last = 0;

  constructor(spec: StreamSpec, clock: Pick<Clock, 'monotonicMs'>) {
    this.name = spec.name;
    this.#subjects = spec.config.subjects ?? [];
    this.isQueue = spec.config.metadata?.['flotilla-kind'] === QUEUE_METADATA['flotilla-kind'];
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
    this.messages.set(sequence, { sequence, id, subject, headers, body });
    return { stream: this.name, sequence, duplicate: false };
  }

  /** A consumer is done with a message. */
  done(sequence: number): void {
    if (this.isQueue) this.messages.delete(sequence);
  }
}

/** A message that was delivered and not acknowledged. */
export interface PendingDelivery {
  attempts: number;
  /** Being handled until then; after that it is delivered again. */
  dueMs: number;
}

/** How far a durable consumer has got in its stream, and what it delivered and nobody acknowledged. */
export class ConsumerCursor {
  readonly ackWaitMs: number;
  readonly pending = new Map<number, PendingDelivery>();
  readonly #log: StreamLog;
  readonly #filters: readonly string[];
  readonly #maxAckPending: number;
  #next = 1;

  constructor(log: StreamLog, { config }: ConsumerSpec) {
    this.#log = log;
    this.#filters = config.filter_subjects ?? [];
    this.#maxAckPending = config.max_ack_pending ?? 1_000;
    this.ackWaitMs = millis(config.ack_wait ?? 30_000_000_000);
  }

  /** Messages that were never delivered. */
  get waiting(): number {
    let waiting = 0;
    for (let next = this.#next; next <= this.#log.lastSequence; next++) {
      const behind = this.#log.messages.get(next);
      if (behind !== undefined && this.#wants(behind)) waiting++;
    }
    return waiting;
  }

  /** What is to be delivered next: again what is due, else what is new while the window of the pending has room. */
  take(nowMs: number): { readonly message: StoredMessage; readonly pending: PendingDelivery } | undefined {
    const message = this.#nextMessage(nowMs);
    if (message === undefined) return undefined;
    const pending = this.pending.get(message.sequence) ?? { attempts: 0, dueMs: 0 };
    pending.attempts++;
    this.pending.set(message.sequence, pending);
    return { message, pending };
  }

  done(sequence: number): void {
    this.pending.delete(sequence);
    this.#log.done(sequence);
  }

  #nextMessage(nowMs: number): StoredMessage | undefined {
    for (const [sequence, { dueMs }] of this.pending) {
      if (dueMs > nowMs) continue;
      const message = this.#log.messages.get(sequence);
      if (message !== undefined) return message;
      this.pending.delete(sequence);
    }
    if (this.pending.size >= this.#maxAckPending) return undefined;
    while (this.#next <= this.#log.lastSequence) {
      const message = this.#log.messages.get(this.#next++);
      if (message !== undefined && this.#wants(message)) return message;
    }
    return undefined;
  }

  #wants(message: StoredMessage): boolean {
    return this.#filters.some((filter) => subjectMatches(filter, message.subject));
  }
}
