import { createHash } from 'node:crypto';
import { NoRespondersError, RequestError, TimeoutError, type NatsConnection } from '@nats-io/nats-core';
import type { IncomingMessage } from '../broker.ts';
import { DEAD_LETTER_HEADROOM_BYTES } from '../dead-letter.ts';
import { decodeMessage } from '../message.ts';
import {
  BrokerUnavailableError,
  PayloadCorruptError,
  PayloadMissingError,
  UndecodableMessageError,
} from '../messaging.errors.ts';
import { payloadHeader, payloadPrefix, PAYLOAD_STREAM } from '../topology.ts';

/** What a message carries instead of a body that is too large for it. */
type Reference = Readonly<Record<(typeof payloadHeader)[keyof typeof payloadHeader], string>>;

/** Stores one chunk and resolves when the stream has it. */
type StoreChunk = (subject: string, chunk: Uint8Array) => Promise<unknown>;

export interface PayloadStoreOptions {
  /** Bodies up to this many bytes travel in their message. */
  readonly inlineMaxBytes: number;
  /** How long one chunk may take to be read, in milliseconds. */
  readonly readTimeoutMs: number;
  readonly store: StoreChunk;
}

/** What headers may take beside the body, in bytes, and what a dead letter adds. */
const HEADROOM_BYTES = DEAD_LETTER_HEADROOM_BYTES + 4_096;
/** The server's own headers on a chunk that is read. */
const CHUNK_HEADROOM_BYTES = 1_024;
const MAX_CHUNK_BYTES = 512 * 1_024;
/** More would be no message; it also bounds what a reference can make a reader allocate. */
export const MAX_PAYLOAD_BYTES = 64 * 1_024 * 1_024;
/** Larger bodies travel apart, unless somebody says otherwise. */
export const DEFAULT_INLINE_MAX_BYTES = 256 * 1_024;
const READ_AT_ONCE = 4;

/**
 * Keeps the bodies that are too large for a message (the claim check pattern): in the stream `PAYLOADS`, in chunks,
 * under a name that is their digest. Writing twice is writing once, and begins their time anew; nobody can put another
 * body under a name. Not the object store of NATS: its chunks have random subjects, so that no user could be given some
 * of them and not others, reading takes a consumer, and its client hashes in JavaScript.
 */
export class PayloadStore {
  readonly #connection: NatsConnection;
  readonly #options: PayloadStoreOptions;

  constructor(connection: NatsConnection, options: PayloadStoreOptions) {
    this.#connection = connection;
    this.#options = options;
  }

  /** What fits into a message of this server; both change with the server, so it is asked each time. */
  get inlineBytes(): number {
    return Math.max(1_024, Math.min(this.#options.inlineMaxBytes, this.#maxPayload - HEADROOM_BYTES));
  }

  get #maxPayload(): number {
    return this.#connection.info?.max_payload ?? 1_048_576;
  }

  /** Stores the body of a message to `subject` and returns the headers that stand for it. */
  async put(subject: string, body: Uint8Array): Promise<Reference> {
    const name = `${payloadPrefix(subject)}.${createHash('sha256').update(body).digest('hex')}`;
    const chunkBytes = Math.max(1_024, Math.min(MAX_CHUNK_BYTES, this.#maxPayload - CHUNK_HEADROOM_BYTES));
    const chunks: Promise<unknown>[] = [];
    for (let from = 0; from < body.length; from += chunkBytes) {
      chunks.push(this.#options.store(`${name}.${chunks.length}`, body.subarray(from, from + chunkBytes)));
    }
    // All are waited for, also when one fails: no answer is left to nobody.
    const results = await Promise.allSettled(chunks);
    const failed = results.find((result) => result.status === 'rejected');
    if (failed) throw failed.reason;
    return {
      [payloadHeader.ref]: name,
      [payloadHeader.size]: String(body.length),
      [payloadHeader.chunks]: String(chunks.length),
    };
  }

  /** The message with its body, read and checked. Throws {@link PayloadMissingError} or {@link PayloadCorruptError}. */
  async resolve(message: IncomingMessage): Promise<IncomingMessage> {
    const { subject, headers } = message;
    const body = await readPayload(this.#connection, subject, headers, this.#options.readTimeoutMs);
    return decodeMessage(subject, withoutReference(headers), body);
  }
}

/**
 * The body that the headers of a message to `subject` refer to. Throws {@link PayloadMissingError},
 * {@link PayloadCorruptError}, or `BrokerUnavailableError` when nothing is heard of a chunk within `timeoutMs`.
 */
export async function readPayload(
  connection: NatsConnection,
  subject: string,
  headers: Readonly<Record<string, string>>,
  timeoutMs: number,
): Promise<Uint8Array> {
  const { name, size, count } = readReference(subject, headers);
  const chunks: Uint8Array[] = [];
  for (let from = 0; from < count; from += READ_AT_ONCE) {
    const some = Array.from({ length: Math.min(READ_AT_ONCE, count - from) }, (_, index) =>
      readChunk(connection, name, from + index, timeoutMs),
    );
    chunks.push(...(await Promise.all(some)));
  }
  const body = Buffer.concat(chunks);
  const digest = name.slice(name.lastIndexOf('.') + 1);
  if (body.length !== size || createHash('sha256').update(body).digest('hex') !== digest)
    throw new PayloadCorruptError(subject, name);
  return body;
}

async function readChunk(
  connection: NatsConnection,
  name: string,
  index: number,
  timeout: number,
): Promise<Uint8Array> {
  const subject = `${name}.${index}`;
  try {
    const answer = await connection.request(`$JS.API.DIRECT.GET.${PAYLOAD_STREAM}.${subject}`, '', {
      timeout,
    });
    if ((answer.headers?.code ?? 0) !== 0) throw new PayloadMissingError(name);
    return answer.data;
  } catch (error) {
    if (error instanceof NoRespondersError || (error instanceof RequestError && error.isNoResponders()))
      throw new PayloadMissingError(name);
    if (error instanceof TimeoutError || (error instanceof Error && error.cause instanceof TimeoutError))
      throw new BrokerUnavailableError(`Reading ${subject}`, 'no answer in time', error);
    throw error;
  }
}

/** The headers of a message without its reference. */
export function withoutReference(headers: Readonly<Record<string, string>>): Record<string, string> {
  const rest: Record<string, string> = {};
  for (const name in headers) if (!referenceHeaders.has(name)) rest[name] = headers[name] as string;
  return rest;
}

const referenceHeaders: ReadonlySet<string> = new Set(Object.values(payloadHeader));

/** Whether a message has its body elsewhere. */
export function hasReference(headers: Readonly<Record<string, string>>): boolean {
  return payloadHeader.ref in headers;
}

function readReference(
  subject: string,
  headers: Readonly<Record<string, string>>,
): { readonly name: string; readonly size: number; readonly count: number } {
  const name = headers[payloadHeader.ref] ?? '';
  const size = Number(headers[payloadHeader.size]);
  const count = Number(headers[payloadHeader.chunks]);
  const problems: string[] = [];
  if (!/^payload\.[^.*>\s]+\.[^.*>\s]+\.[0-9a-f]{64}$/.test(name))
    problems.push(`${payloadHeader.ref} is no name of a payload: "${name}"`);
  if (!Number.isInteger(size) || size < 0 || size > MAX_PAYLOAD_BYTES)
    problems.push(`${payloadHeader.size} must be a number up to ${MAX_PAYLOAD_BYTES}`);
  if (!Number.isInteger(count) || count < 1 || count > MAX_PAYLOAD_BYTES / 1_024)
    problems.push(`${payloadHeader.chunks} must be a number from 1 on`);
  if (problems.length > 0) throw new UndecodableMessageError(subject, new Error(problems.join('; ')));
  return { name, size, count };
}
