import {
  jetstream,
  jetstreamManager,
  type JetStreamManager,
  type SeqMsgRequest,
  type StoredMsg,
} from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/nats-core';
import { DEAD_LETTER_STREAM } from '@flotilla/contracts-protocol';
import { createHash } from 'node:crypto';
import { deterministicId, systemClock, type Clock } from '@flotilla/kernel';
import type { PublishReceipt } from './broker.ts';
import { deadLetterHeader, editHeader, replayHeader, type AttemptRecord } from './dead-letter.ts';
import { deadLetterGroup, normalizeError } from './error-group.ts';
import { DeadLetterNotFoundError, PayloadMissingError } from './messaging.errors.ts';
import { readStored } from './nats/read-stored.ts';
import { isNotFound } from './nats/pull-loop.ts';
import { fromNatsHeaders, toNatsHeaders } from './nats/nats-headers.ts';
import {
  DEFAULT_INLINE_MAX_BYTES,
  hasReference,
  PayloadStore,
  readPayload,
  withoutReference,
} from './nats/payload-store.ts';

/** A message that no handler could finish, and why. */
export interface DeadLetter {
  /** Its place among the dead letters: how it is named to {@link DeadLetters.replay} and `drop`. */
  readonly sequence: number;
  /** Names the fault: the same for letters of one consumer and contract with the same error. */
  readonly group: string;
  /** 1 as it died; counts up each time that a person changes it. */
  readonly version: number;
  /** The number of the version before, which is gone. */
  readonly editedFrom?: number;
  /** When it died, ISO 8601. */
  readonly at: string;
  readonly service: string;
  readonly consumer: string;
  readonly errorCode: string;
  readonly errorMessage: string;
  readonly errorStack?: string;
  readonly attempts: number;
  readonly originalSubject: string;
  readonly originalStream: string;
  readonly originalSequence: number;
  /** The attempts that the process knew of that gave up. */
  readonly history: readonly AttemptRecord[];
  readonly messageId?: string;
  readonly type?: string;
  /** The aggregate id or key. */
  readonly subject?: string;
  readonly correlationId?: string;
  /** The headers of the original message. */
  readonly headers: Readonly<Record<string, string>>;
  /** In a list, empty where the body is stored apart (`ce-dataref`); {@link DeadLetters.get} reads it. */
  readonly body: Uint8Array;
}

export interface ListDeadLettersOptions {
  /** At most so many, oldest first. Default 100. */
  readonly limit?: number;
  /** Only those of one service. */
  readonly service?: string;
  /** Only those after this sequence: the last one of the page before. */
  readonly after?: number;
  /** Only those of one group. */
  readonly group?: string;
}

/** Which dead letters are meant. */
export type DeadLetterFilter = Pick<ListDeadLettersOptions, 'service' | 'group' | 'after'> & {
  /** Only those up to this sequence: what has died since is left alone. */
  readonly upTo?: number;
};

/** Dead letters of one consumer and contract with the same fault. */
export interface DeadLetterGroup {
  readonly key: string;
  readonly service: string;
  readonly consumer: string;
  readonly type?: string;
  readonly errorCode: string;
  /** The error's message without what differs. */
  readonly error: string;
  readonly count: number;
  /** ISO 8601. */
  readonly firstAt: string;
  readonly lastAt: string;
  /** The number of the oldest one, to look at. */
  readonly sample: number;
}

export interface ReplayManyOptions {
  /** So many a second, at most. Default 50: who is to handle them has other work too. */
  readonly perSecond?: number;
  /** So many, at most. Default 10,000. */
  readonly limit?: number;
  /** Ends it after the one that is under way. */
  readonly signal?: AbortSignal;
  /** Called before each is sent; what it throws ends it. */
  readonly before?: (letter: DeadLetter) => Promise<void>;
  readonly onProgress?: (replayed: number) => void;
  readonly clock?: Clock;
}

export interface ReplayManyReport {
  readonly replayed: number;
  /** Whether `limit` or `signal` ended it. */
  readonly stopped?: 'limit' | 'signal';
  /** The number of the last one that was sent back; 0 for none. */
  readonly last: number;
}

export interface ReplayOptions {
  /** Replaces the body: the letter is repaired. JSON text. */
  readonly body?: string;
  /** Replaces or adds headers. */
  readonly headers?: Readonly<Record<string, string>>;
}

const READ_TIMEOUT_MS = 5_000;
const PAGE = 256;

/** Reads the dead letters of all services, sends them back, or drops them. */
export class DeadLetters {
  readonly #connection: NatsConnection;
  #manager: Promise<JetStreamManager> | undefined;

  constructor(connection: NatsConnection) {
    this.#connection = connection;
  }

  async list(options: ListDeadLettersOptions = {}): Promise<DeadLetter[]> {
    const limit = options.limit ?? 100;
    const letters: DeadLetter[] = [];
    if (limit < 1) return letters;
    for await (const letter of this.each(options, Math.min(limit, PAGE))) {
      letters.push(letter);
      if (letters.length === limit) break;
    }
    return letters;
  }

  /** One after another, the oldest first, as they are when it comes to them. */
  async *each(filter: DeadLetterFilter = {}, page = PAGE): AsyncGenerator<DeadLetter> {
    const subject = filter.service === undefined ? 'dlq.>' : `dlq.${filter.service}.>`;
    for (let from = (filter.after ?? 0) + 1; ;) {
      const stored = await readStored(this.#connection, DEAD_LETTER_STREAM, { from, subject, limit: page });
      for (const each of stored) {
        if (filter.upTo !== undefined && each.sequence > filter.upTo) return;
        const letter = readDeadLetter(each);
        if (filter.group === undefined || letter.group === filter.group) yield letter;
      }
      const last = stored.at(-1);
      if (last === undefined) return;
      from = last.sequence + 1;
    }
  }

  /**
   * The faults that there are, those with the most letters first. Reads `atMost` letters (default 50,000), the oldest;
   * `complete` is false when there are more.
   */
  async groups(
    filter: DeadLetterFilter = {},
    atMost = 50_000,
  ): Promise<{ readonly groups: DeadLetterGroup[]; readonly letters: number; readonly complete: boolean }> {
    const groups = new Map<string, DeadLetterGroup>();
    let letters = 0;
    let complete = true;
    for await (const letter of this.each(filter)) {
      if (letters === atMost) {
        complete = false;
        break;
      }
      letters++;
      const { group: key, service, consumer, type, errorCode, errorMessage, at, sequence } = letter;
      const known = groups.get(key);
      groups.set(
        key,
        known === undefined
          ? {
              key,
              service,
              consumer,
              ...(type !== undefined && { type }),
              errorCode,
              error: normalizeError(errorMessage),
              count: 1,
              firstAt: at,
              lastAt: at,
              sample: sequence,
            }
          : {
              ...known,
              count: known.count + 1,
              firstAt: at < known.firstAt ? at : known.firstAt,
              lastAt: at > known.lastAt ? at : known.lastAt,
            },
      );
    }
    return { groups: [...groups.values()].sort((a, b) => b.count - a.count), letters, complete };
  }

  /** The number of the latest dead letter; 0 when there was none yet. */
  async lastSequence(): Promise<number> {
    const manager = await this.#jsm();
    return (await manager.streams.info(DEAD_LETTER_STREAM)).state.last_seq;
  }

  /** How many there are, of all services or of one. */
  async count(service?: string): Promise<number> {
    const manager = await this.#jsm();
    if (service === undefined) return (await manager.streams.info(DEAD_LETTER_STREAM)).state.messages;
    const info = await manager.streams.info(DEAD_LETTER_STREAM, { subjects_filter: `dlq.${service}.>` });
    return Object.values(info.state.subjects ?? {}).reduce((sum, count) => sum + count, 0);
  }

  /** Throws {@link DeadLetterNotFoundError}. */
  async get(sequence: number): Promise<DeadLetter> {
    const stored = await this.#stored({ seq: sequence });
    if (stored === undefined) throw new DeadLetterNotFoundError(sequence);
    const letter = readDeadLetter(stored);
    if (!hasReference(letter.headers)) return letter;
    return { ...letter, ...(await this.#bodyOf(letter)) };
  }

  /**
   * Publishes the message again to where it came from and removes the dead letter. It keeps its `ce-id`, so that who
   * has handled it already does not do it twice, and names the consumer that has not. Replaying twice, also after
   * a crash in between, sends it once.
   */
  async replay(sequence: number, options: ReplayOptions = {}): Promise<PublishReceipt> {
    const stored = await this.#stored({ seq: sequence });
    if (stored === undefined) throw new DeadLetterNotFoundError(sequence);
    const letter = readDeadLetter(stored);
    const repaired = options.body === undefined ? undefined : await this.#repaired(letter, options.body);
    const headers: Record<string, string> = {
      ...(repaired?.headers ?? letter.headers),
      ...options.headers,
      [replayHeader.replayOf]: String(sequence),
      [replayHeader.replayFor]: letter.consumer,
    };
    // Not the id of the original: the stream would take it for a duplicate.
    const msgID = deterministicId('replay', sequence, letter.at, letter.messageId ?? '');
    const receipt = await jetstream(this.#connection).publish(
      letter.originalSubject,
      repaired?.body ?? letter.body,
      {
        headers: toNatsHeaders(headers),
        msgID,
      },
    );
    await this.#delete(sequence);
    return { stream: receipt.stream, sequence: receipt.seq, duplicate: receipt.duplicate };
  }

  /**
   * Sends back those that the filter means, one after another and not faster than `perSecond`. Each is gone from the
   * dead letters once it is sent, so that the same call goes on where an earlier one ended; give `upTo`, so that what
   * dies again meanwhile is not sent back for ever.
   */
  async replayMany(filter: DeadLetterFilter, options: ReplayManyOptions = {}): Promise<ReplayManyReport> {
    const { perSecond = 50, limit = 10_000, signal, before, onProgress, clock = systemClock } = options;
    const upTo = filter.upTo ?? (await this.lastSequence());
    let [replayed, last] = [0, 0];
    let nextMs = clock.monotonicMs();
    for await (const letter of this.each({ ...filter, upTo })) {
      if (signal?.aborted) return { replayed, last, stopped: 'signal' };
      if (replayed === limit) return { replayed, last, stopped: 'limit' };
      const waitMs = nextMs - clock.monotonicMs();
      if (waitMs > 0) await clock.sleep(waitMs, signal);
      if (signal?.aborted) return { replayed, last, stopped: 'signal' };
      nextMs = Math.max(nextMs, clock.monotonicMs() - 1_000) + 1_000 / perSecond;
      try {
        await before?.(letter);
        await this.replay(letter.sequence);
      } catch (error) {
        // Somebody else has replayed or dropped it meanwhile.
        if (error instanceof DeadLetterNotFoundError) continue;
        throw error;
      }
      [replayed, last] = [replayed + 1, letter.sequence];
      onProgress?.(replayed);
    }
    return { replayed, last };
  }

  /**
   * Changes the body of a dead letter, which stays one: a new version with a number of its own takes its place. JSON
   * text. Editing twice, also after a crash in between, makes one version. Returns the new one.
   */
  async edit(sequence: number, body: string): Promise<DeadLetter> {
    const stored = await this.#stored({ seq: sequence });
    if (stored === undefined) throw new DeadLetterNotFoundError(sequence);
    const letter = readDeadLetter(stored);
    const repaired = await this.#repaired({ ...letter, headers: ownHeaders(stored) }, body);
    const receipt = await jetstream(this.#connection).publish(stored.subject, repaired.body, {
      headers: toNatsHeaders({
        ...repaired.headers,
        [editHeader.version]: String(letter.version + 1),
        [editHeader.editedFrom]: String(sequence),
      }),
      msgID: deterministicId('edit', sequence, createHash('sha256').update(body).digest('hex')),
    });
    await this.#delete(sequence);
    return this.get(receipt.seq);
  }

  /** Removes a dead letter for good and returns it, so that the caller can record what was dropped and why. */
  async drop(sequence: number, reason: string): Promise<DeadLetter & { readonly droppedBecause: string }> {
    const letter = await this.get(sequence);
    await this.#delete(sequence);
    return { ...letter, droppedBecause: reason };
  }

  /** The whole body, for whoever looks at it; as it is stored when it is not to be had any more. */
  async #bodyOf({ originalSubject, headers, body }: DeadLetter): Promise<Pick<DeadLetter, 'body'>> {
    try {
      return { body: await readPayload(this.#connection, originalSubject, headers, READ_TIMEOUT_MS) };
    } catch (error) {
      if (error instanceof PayloadMissingError) return { body };
      throw error;
    }
  }

  async #repaired(
    { originalSubject, headers }: DeadLetter,
    text: string,
  ): Promise<{ readonly headers: Readonly<Record<string, string>>; readonly body: Uint8Array }> {
    const payloads = new PayloadStore(this.#connection, {
      inlineMaxBytes: DEFAULT_INLINE_MAX_BYTES,
      readTimeoutMs: READ_TIMEOUT_MS,
      store: (subject, chunk) => jetstream(this.#connection).publish(subject, chunk),
    });
    const body = Buffer.from(text);
    const plain = withoutReference(headers);
    if (body.length <= payloads.inlineBytes) return { headers: plain, body };
    return {
      headers: { ...plain, ...(await payloads.put(originalSubject, body)) },
      body: new Uint8Array(),
    };
  }

  async #delete(sequence: number): Promise<void> {
    const manager = await this.#jsm();
    try {
      await manager.streams.deleteMessage(DEAD_LETTER_STREAM, sequence, false);
    } catch (error) {
      // Somebody else was faster: it is gone, as it should be.
      if ((await this.#stored({ seq: sequence })) !== undefined) throw error;
    }
  }

  async #stored(query: SeqMsgRequest): Promise<StoredLetter | undefined> {
    const manager = await this.#jsm();
    try {
      const stored = await manager.streams.getMessage(DEAD_LETTER_STREAM, query);
      return stored === null ? undefined : letterOf(stored);
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  #jsm(): Promise<JetStreamManager> {
    this.#manager ??= jetstreamManager(this.#connection, { checkAPI: false });
    return this.#manager;
  }
}

function letterOf({ seq, subject, time, header, data }: StoredMsg): StoredLetter {
  return {
    sequence: seq,
    subject,
    time: time.toISOString(),
    headers: fromNatsHeaders(header),
    body: data,
  };
}

/** As the stream keeps it, however it was read. */
interface StoredLetter {
  readonly sequence: number;
  readonly subject: string;
  readonly time: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

function ownHeaders({ headers }: StoredLetter): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !name.startsWith('Nats-')));
}

const OF_THE_LETTER: ReadonlySet<string> = new Set([
  ...Object.values(deadLetterHeader),
  ...Object.values(editHeader),
]);

function readDeadLetter(stored: StoredLetter): DeadLetter {
  const h = deadLetterHeader;
  const all = stored.headers;
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(all)) {
    if (!OF_THE_LETTER.has(name) && !name.startsWith('Nats-')) headers[name] = value;
  }
  const [, service = '', consumer = ''] = stored.subject.split('.');
  const stack = parseJson(all[h.errorStack]);
  const history = parseJson(all[h.history]);
  const messageId = all['ce-id'];
  const type = all['ce-type'];
  const subject = all['ce-subject'];
  const correlationId = all['ce-correlationid'];
  const editedFrom = all[editHeader.editedFrom];
  const fault = {
    service: all[h.service] ?? service,
    consumer: all[h.consumer] ?? consumer,
    errorCode: all[h.errorCode] ?? 'UNKNOWN',
    errorMessage: all[h.errorMessage] ?? '',
    ...(type !== undefined && { type }),
  };
  return {
    sequence: stored.sequence,
    group: deadLetterGroup(fault),
    version: Number(all[editHeader.version] ?? 1),
    ...(editedFrom !== undefined && { editedFrom: Number(editedFrom) }),
    at: all[h.diedAt] ?? stored.time,
    ...fault,
    ...(typeof stack === 'string' && { errorStack: stack }),
    attempts: Number(all[h.attempts] ?? 0),
    originalSubject: all[h.originalSubject] ?? '',
    originalStream: all[h.originalStream] ?? '',
    originalSequence: Number(all[h.originalSequence] ?? 0),
    history: Array.isArray(history) ? (history as AttemptRecord[]) : [],
    ...(messageId !== undefined && { messageId }),
    ...(subject !== undefined && { subject }),
    ...(correlationId !== undefined && { correlationId }),
    headers,
    body: stored.body,
  };
}

/** Undefined for what is no JSON: a dead letter that was written by somebody else is shown all the same. */
function parseJson(text: string | undefined): unknown {
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
