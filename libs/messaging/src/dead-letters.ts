import {
  jetstream,
  jetstreamManager,
  type JetStreamManager,
  type SeqMsgRequest,
  type StoredMsg,
} from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/nats-core';
import { DEAD_LETTER_STREAM } from '@flotilla/contracts-protocol';
import { deterministicId } from '@flotilla/kernel';
import type { PublishReceipt } from './broker.ts';
import { deadLetterHeader, replayHeader, type AttemptRecord } from './dead-letter.ts';
import { DeadLetterNotFoundError, PayloadMissingError } from './messaging.errors.ts';
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
}

export interface ReplayOptions {
  /** Replaces the body: the letter is repaired. JSON text. */
  readonly body?: string;
  /** Replaces or adds headers. */
  readonly headers?: Readonly<Record<string, string>>;
}

const READ_TIMEOUT_MS = 5_000;

/** Reads the dead letters of all services, sends them back, or drops them. */
export class DeadLetters {
  readonly #connection: NatsConnection;
  #manager: Promise<JetStreamManager> | undefined;

  constructor(connection: NatsConnection) {
    this.#connection = connection;
  }

  async list(options: ListDeadLettersOptions = {}): Promise<DeadLetter[]> {
    const limit = options.limit ?? 100;
    const filter = options.service === undefined ? 'dlq.>' : `dlq.${options.service}.>`;
    const letters: DeadLetter[] = [];
    let sequence = (options.after ?? 0) + 1;
    while (letters.length < limit) {
      const stored = await this.#stored({ seq: sequence, next_by_subj: filter });
      if (stored === undefined) break;
      letters.push(readDeadLetter(stored));
      sequence = stored.seq + 1;
    }
    return letters;
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

  async #stored(query: SeqMsgRequest & { next_by_subj?: string }): Promise<StoredMsg | undefined> {
    const manager = await this.#jsm();
    try {
      return (await manager.streams.getMessage(DEAD_LETTER_STREAM, query)) ?? undefined;
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

function readDeadLetter(stored: StoredMsg): DeadLetter {
  const h = deadLetterHeader;
  const own: ReadonlySet<string> = new Set(Object.values(h));
  const all = fromNatsHeaders(stored.header);
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(all)) {
    if (!own.has(name) && !name.startsWith('Nats-')) headers[name] = value;
  }
  const [, service = '', consumer = ''] = stored.subject.split('.');
  const stack = parseJson(all[h.errorStack]);
  const history = parseJson(all[h.history]);
  const messageId = all['ce-id'];
  const type = all['ce-type'];
  const subject = all['ce-subject'];
  const correlationId = all['ce-correlationid'];
  return {
    sequence: stored.seq,
    at: all[h.diedAt] ?? stored.time.toISOString(),
    service: all[h.service] ?? service,
    consumer: all[h.consumer] ?? consumer,
    errorCode: all[h.errorCode] ?? 'UNKNOWN',
    errorMessage: all[h.errorMessage] ?? '',
    ...(typeof stack === 'string' && { errorStack: stack }),
    attempts: Number(all[h.attempts] ?? 0),
    originalSubject: all[h.originalSubject] ?? '',
    originalStream: all[h.originalStream] ?? '',
    originalSequence: Number(all[h.originalSequence] ?? 0),
    history: Array.isArray(history) ? (history as AttemptRecord[]) : [],
    ...(messageId !== undefined && { messageId }),
    ...(type !== undefined && { type }),
    ...(subject !== undefined && { subject }),
    ...(correlationId !== undefined && { correlationId }),
    headers,
    body: stored.data,
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
