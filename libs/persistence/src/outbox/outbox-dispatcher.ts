import {
  backoffDelayMs,
  errorCode,
  errorMessage,
  PARTITIONS,
  type Clock,
  type TimerHandle,
} from '@flotilla/kernel';
import type { PersistenceLog } from '../log.ts';
import type { PersistenceMetrics } from '../metrics.ts';
import { retryAdvice } from '../persistence.errors.ts';
import type { OutboxMarks } from './outbox-marks.ts';
import type { OutboxLimits } from './outbox.options.ts';
import type {
  HandoverReceipt,
  OutboxPublisher,
  OutgoingMessage,
  PublishReceipt,
} from './outgoing-message.ts';
import type { OutboxRow } from './outbox-row.ts';

export interface OutboxDispatcherOptions {
  readonly marks: Pick<OutboxMarks, 'add'>;
  /** Writes down why the broker refused a message. */
  readonly refuse: (row: OutboxRow, error: string) => Promise<void>;
  /** Called when a message was left to the relay. */
  readonly onSpill: () => void;
  readonly limits: Required<OutboxLimits>;
  readonly clock: Clock;
  readonly log: PersistenceLog;
  readonly metrics: PersistenceMetrics;
}

interface Entry {
  readonly row: OutboxRow;
  readonly sinceMs: number;
  readonly relayed: boolean;
  readonly done: () => void;
  attempts: number;
}

/** So many to one stream that are ready at the same time are stored together: fewer cost the broker more than one by one. */
const BATCH_FROM = 24;
const BATCH_TO = 128;
/** In characters: a batch is held in the broker's memory and read by it in one piece. */
const BATCH_BODY_MAX = 16_384;
/** How long a stream that has refused a batch gets single messages. */
const BATCH_REST_MS = 5_000;

/**
 * The messages of one key to one stream, in order; the first is being published, or rests until it is tried again.
 * Order between streams is nothing that anybody could see.
 */
interface Chain {
  readonly name: string;
  readonly line: Line;
  readonly entries: Entry[];
  dueMs: number;
}

/** What goes to one stream. */
interface Line {
  readonly stream: string;
  ready: Chain[];
  /** A batch is on its way: what becomes ready meanwhile makes the next one. */
  batching: boolean;
  singlyUntilMs: number;
}

/**
 * Publishes committed messages from memory: in order and one at a time per key and stream, many at once, in batches
 * where there are enough for one, each message until the broker has it. Memory is bounded; what does not fit is left to the relay, which reads it from the table.
 */
export class OutboxDispatcher {
  readonly #options: OutboxDispatcherOptions;
  readonly #chains = new Map<string, Chain>();
  /** What is in memory or waits for its mark, by position. */
  readonly #held = new Set<string>();
  readonly #lines: Line[] = [];
  /** The line that comes first the next time: none waits for the others to be empty. */
  #turn = 0;
  readonly #resting = new Set<Chain>();
  #timer: TimerHandle | undefined;
  #publisher: OutboxPublisher | undefined;
  #inFlight = 0;
  #buffered = 0;
  #closed = false;
  /** How many messages each partition has left to the relay since it last kept up. */
  readonly #spilled = new Array<number>(PARTITIONS).fill(0);
  #whenEmpty: (() => void)[] = [];

  constructor(options: OutboxDispatcherOptions) {
    this.#options = options;
  }

  /** Starts publishing; until then messages are only kept. */
  start(publisher: OutboxPublisher): void {
    this.#publisher = publisher;
    this.#pump();
  }

  /** Takes messages that were just committed, in their order. */
  accept(rows: readonly OutboxRow[]): void {
    for (const row of rows) {
      // Once a partition has left something to the relay, what comes later must not overtake it.
      const full = this.#closed || this.#buffered >= this.#options.limits.maxBuffered;
      if (full || this.#spillCount(row.partition) > 0) {
        this.#spilled[row.partition] = this.#spillCount(row.partition) + 1;
        this.#options.onSpill();
      } else {
        this.#add(row, false, () => undefined);
      }
    }
    this.#options.metrics.outboxBuffered?.(this.#buffered);
    this.#pump();
  }

  /** Takes messages that the relay has read. Resolves once they are published and marked, or refused. */
  adopt(rows: readonly OutboxRow[]): Promise<void> {
    if (rows.length === 0 || this.#closed) return Promise.resolve();
    return new Promise((resolve) => {
      let left = rows.length;
      for (const row of rows) {
        this.#add(row, true, () => {
          left -= 1;
          if (left === 0) resolve();
        });
      }
      this.#pump();
    });
  }

  /** Whether the message at this position is being published by this process. */
  holds(position: string): boolean {
    return this.#held.has(position);
  }

  /** How many messages are in memory. */
  get buffered(): number {
    return this.#buffered;
  }

  /** Partitions of which some messages are only in the table, with a number to give to {@link caughtUp}. */
  get spilled(): ReadonlyMap<number, number> {
    return new Map(
      this.#spilled.flatMap((count, partition) => (count > 0 ? [[partition, count] as const] : [])),
    );
  }

  /**
   * The relay found nothing left of the partition. Unless something was left to it since it looked, the partition is
   * published from memory again.
   */
  caughtUp(partition: number, spilledBefore: number): void {
    if (this.#spillCount(partition) === spilledBefore) this.#spilled[partition] = 0;
  }

  /** Resolves when nothing is in memory any more. */
  async whenEmpty(): Promise<void> {
    if (this.#buffered > 0) await new Promise<void>((resolve) => this.#whenEmpty.push(resolve));
  }

  /** Stops publishing and returns what is not published. */
  close(): OutboxRow[] {
    this.#closed = true;
    this.#timer?.cancel();
    this.#publisher = undefined;
    const entries = [...this.#chains.values()].flatMap((chain) => chain.entries);
    this.#chains.clear();
    for (const line of this.#lines) line.ready = [];
    this.#resting.clear();
    this.#buffered = 0;
    for (const entry of entries) entry.done();
    for (const resolve of this.#whenEmpty.splice(0)) resolve();
    return entries.map(({ row }) => row);
  }

  #spillCount(partition: number): number {
    return this.#spilled[partition] ?? 0;
  }

  #add(row: OutboxRow, relayed: boolean, done: () => void): void {
    const stream = streamOf(row.message);
    const name = `${stream} ${row.message.key}`;
    const entry: Entry = { row, sinceMs: this.#options.clock.monotonicMs(), relayed, done, attempts: 0 };
    this.#held.add(row.position);
    this.#buffered += 1;
    const chain = this.#chains.get(name);
    if (chain !== undefined) {
      chain.entries.push(entry);
      return;
    }
    const line = this.#lineOf(stream);
    const fresh: Chain = { name, line, entries: [entry], dueMs: 0 };
    this.#chains.set(name, fresh);
    line.ready.push(fresh);
  }

  /** There are as many as the service writes to streams: a handful. */
  #lineOf(stream: string): Line {
    let line = this.#lines.find((each) => each.stream === stream);
    if (line === undefined) {
      line = { stream, ready: [], batching: false, singlyUntilMs: 0 };
      this.#lines.push(line);
    }
    return line;
  }

  #pump(): void {
    const publisher = this.#publisher;
    if (publisher === undefined) return;
    const lines = this.#lines;
    this.#turn += 1;
    for (let index = 0; index < lines.length; index += 1) {
      const line = lines[(this.#turn + index) % lines.length] as Line;
      if (line.ready.length > 0 && !line.batching) this.#publishFrom(line, publisher);
    }
  }

  #publishFrom(line: Line, publisher: OutboxPublisher): void {
    const room = this.#options.limits.maxInFlight - this.#inFlight;
    if (line.ready.length >= BATCH_FROM && room >= BATCH_FROM && publisher.publishBatch !== undefined) {
      const batch = this.#batchOf(line, Math.min(BATCH_TO, room));
      if (batch !== undefined) {
        void this.#publishBatch(publisher, line, batch);
        return;
      }
    }
    for (const chain of line.ready.splice(0, Math.max(0, room))) void this.#publish(publisher, chain);
  }

  /** Takes a batch out of what is ready; undefined when there are too few for one. */
  #batchOf(line: Line, most: number): Chain[] | undefined {
    if (line.singlyUntilMs > this.#options.clock.monotonicMs()) return undefined;
    const batch: Chain[] = [];
    const others: Chain[] = [];
    for (const chain of line.ready) (batch.length < most && mayBatch(chain) ? batch : others).push(chain);
    if (batch.length < BATCH_FROM) return undefined;
    line.ready = others;
    return batch;
  }

  async #publishBatch(publisher: OutboxPublisher, line: Line, batch: readonly Chain[]): Promise<void> {
    const { clock, metrics } = this.#options;
    line.batching = true;
    this.#inFlight += batch.length;
    const entries = batch.map((chain) => chain.entries[0] as Entry);
    for (const entry of entries) entry.attempts += 1;
    try {
      const receipts = await publisher.publishBatch?.(entries.map(({ row }) => row.message));
      if (receipts?.length !== batch.length) throw new RangeError('A batch has a receipt for each message');
      if (this.#closed) return;
      for (const [index, chain] of batch.entries())
        this.#published(chain, entries[index] as Entry, receipts[index] as PublishReceipt);
    } catch (error) {
      if (this.#closed) return;
      // One by one each of them tells what is wrong with it, if anything is.
      metrics.publishFailed?.({ code: errorCode(error), refused: false });
      line.singlyUntilMs = clock.monotonicMs() + BATCH_REST_MS;
      line.ready.unshift(...batch);
    } finally {
      line.batching = false;
      this.#inFlight -= batch.length;
    }
    this.#pump();
  }

  async #publish(publisher: OutboxPublisher, chain: Chain): Promise<void> {
    const entry = chain.entries[0] as Entry;
    this.#inFlight += 1;
    entry.attempts += 1;
    try {
      const receipt = await publisher.publish(entry.row.message);
      this.#inFlight -= 1;
      if (this.#closed) return;
      this.#published(chain, entry, receipt);
    } catch (error) {
      this.#inFlight -= 1;
      if (this.#closed) return;
      const refused = retryAdvice(error) === 'never';
      this.#options.metrics.publishFailed?.({ code: errorCode(error), refused });
      if (refused) await this.#refuse(chain, entry, error);
      else this.#rest(chain, entry, error);
    }
    this.#pump();
  }

  #published(chain: Chain, entry: Entry, receipt: PublishReceipt | HandoverReceipt): void {
    this.#options.metrics.messagePublished?.({
      ageMs: this.#options.clock.monotonicMs() - entry.sinceMs,
      relayed: entry.relayed,
    });
    this.#options.marks.add(entry.row, receipt, () => {
      this.#held.delete(entry.row.position);
      entry.done();
    });
    this.#next(chain);
  }

  #next(chain: Chain): void {
    chain.entries.shift();
    this.#buffered -= 1;
    if (chain.entries.length > 0) chain.line.ready.push(chain);
    else this.#chains.delete(chain.name);
    if (this.#buffered === 0) for (const resolve of this.#whenEmpty.splice(0)) resolve();
  }

  /** The broker will never take it: it stays in the table with the reason, and the next message goes on. */
  async #refuse(chain: Chain, entry: Entry, error: unknown): Promise<void> {
    const { id, subject } = entry.row.message;
    this.#options.log.error(
      `The broker refuses message ${id} to ${subject}: ${errorMessage(error)}. It stays in the outbox (column error) ` +
        'and is tried again now and then; later messages with its key go on.',
      error instanceof Error ? error.stack : undefined,
    );
    try {
      await this.#options.refuse(entry.row, `${errorCode(error)}: ${errorMessage(error)}`);
    } catch (markError) {
      this.#options.log.warn(
        `The refusal of message ${id} could not be written down: ${errorMessage(markError)}`,
      );
    }
    if (this.#closed) return;
    this.#held.delete(entry.row.position);
    entry.done();
    this.#next(chain);
  }

  #rest(chain: Chain, entry: Entry, error: unknown): void {
    const { limits, clock, log } = this.#options;
    const delayMs = backoffDelayMs(entry.attempts, {
      initialMs: limits.retryInitialMs,
      maxMs: limits.retryMaxMs,
    });
    // When the broker is away everything rests: one line for the first is enough.
    if (this.#resting.size === 0) {
      log.warn(
        `Message ${entry.row.message.id} to ${entry.row.message.subject} was not published (attempt ${entry.attempts}): ` +
          `${errorMessage(error)}. Trying again in ${delayMs} ms.`,
      );
    }
    chain.dueMs = clock.monotonicMs() + delayMs;
    this.#resting.add(chain);
    this.#wakeLater();
  }

  /** One timer for all that rest. */
  #wakeLater(): void {
    if (this.#timer !== undefined || this.#resting.size === 0) return;
    const { clock } = this.#options;
    let earliest = Infinity;
    for (const chain of this.#resting) earliest = Math.min(earliest, chain.dueMs);
    this.#timer = clock.after(Math.max(5, earliest - clock.monotonicMs()), () => {
      this.#timer = undefined;
      const nowMs = clock.monotonicMs();
      for (const chain of this.#resting) {
        if (chain.dueMs > nowMs) continue;
        this.#resting.delete(chain);
        chain.line.ready.push(chain);
      }
      this.#pump();
      this.#wakeLater();
    });
  }
}

/** A stream takes all subjects that begin with the same two words, such as `evt.orders`. */
function streamOf({ subject }: OutgoingMessage): string {
  const end = subject.indexOf('.', subject.indexOf('.') + 1);
  return end < 0 ? subject : subject.slice(0, end);
}

/**
 * What failed before, or comes from the table, the broker may have already: a batch with such a message is refused. A
 * large one makes the others wait, and one that is handed over goes into no stream.
 */
function mayBatch({ entries: [entry] }: Chain): boolean {
  if (entry === undefined || entry.relayed || entry.attempts > 0) return false;
  const { body, handover } = entry.row.message;
  return handover !== true && body.length <= BATCH_BODY_MAX;
}
