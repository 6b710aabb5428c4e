import type { JetStreamManager } from '@nats-io/jetstream';
import { errorMessage, type Clock } from '@flotilla/kernel';
import type { MessagingLog } from '../messaging-log.ts';
import { QUEUE_METADATA } from '../topology.ts';

export interface QueueTrimmerOptions {
  readonly manager: JetStreamManager;
  readonly stream: string;
  readonly consumer: string;
  readonly everyMs: number;
  readonly clock: Clock;
  readonly log: MessagingLog;
}

/**
 * Takes what its consumer has acknowledged out of a queue, many messages at a time. A stream with work-queue retention
 * does that for each message, and each removal costs the server as much as storing a message.
 */
export class QueueTrimmer {
  readonly #o: QueueTrimmerOptions;
  #dueMs: number;
  #floor = 0;
  #busy = false;
  #stopped = false;

  constructor(options: QueueTrimmerOptions) {
    this.#o = options;
    this.#dueMs = options.clock.monotonicMs() + options.everyMs;
  }

  /** Undefined when the stream is no queue: what is acknowledged stays. */
  static async of(options: QueueTrimmerOptions): Promise<QueueTrimmer | undefined> {
    const { config } = await options.manager.streams.info(options.stream);
    const isQueue = Object.entries(QUEUE_METADATA).every(([key, value]) => config.metadata?.[key] === value);
    return isQueue ? new QueueTrimmer(options) : undefined;
  }

  /** Called regularly while connected; trims when it is time. */
  sweep(): void {
    const now = this.#o.clock.monotonicMs();
    if (now < this.#dueMs || this.#busy || this.#stopped) return;
    this.#dueMs = now + this.#o.everyMs;
    this.#busy = true;
    void this.#tryTrim();
  }

  /** What is left is taken out by whoever consumes next; a trim that runs is not waited for. */
  stop(): void {
    this.#stopped = true;
  }

  async #tryTrim(): Promise<void> {
    try {
      await this.#trim();
    } catch (error) {
      if (this.#stopped) return;
      this.#o.log.warn(
        { stream: this.#o.stream, error: errorMessage(error) },
        'Handled messages could not be taken out of their queue; it is tried again',
      );
    } finally {
      this.#busy = false;
    }
  }

  async #trim(): Promise<void> {
    const { manager, stream, consumer } = this.#o;
    const info = await manager.consumers.info(stream, consumer);
    const floor = info.ack_floor.stream_seq;
    // Lower than before: the stream was made anew.
    if (floor === this.#floor) return;
    const { state, config } = await manager.streams.info(stream);
    if (state.messages > 0 && state.first_seq <= floor) {
      const { filter_subject: filter, filter_subjects = filter === undefined ? [] : [filter] } = info.config;
      // It reads all that the stream takes.
      if (filter_subjects.length === 0 || config.subjects.every((each) => filter_subjects.includes(each))) {
        await manager.streams.purge(stream, { seq: floor + 1 });
      } else {
        // What others still have to handle stays, and what nobody reads, so that it is seen.
        for (const each of filter_subjects) {
          await manager.streams.purge(stream, { filter: each, seq: floor + 1 });
        }
      }
    }
    this.#floor = floor;
  }
}
