import type { NatsConnection } from '@nats-io/nats-core';
import { errorCode } from '@flotilla/kernel';
import { BrokerUnavailableError, RequestTimeoutError } from '../messaging.errors.ts';
import { fromNatsHeaders } from './nats-headers.ts';
import { hasReference, readPayload, withoutReference } from './payload-store.ts';
import { streamView, type StreamState } from './stream-view.ts';

/** A message as a stream keeps it. */
export interface StreamMessage {
  readonly sequence: number;
  readonly subject: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

/** Reads a stream from any place, without a consumer: for building something again from its history. */
export interface StreamReader {
  /** Undefined: there is no such stream. */
  streamState(stream: string): Promise<StreamState | undefined>;
  /**
   * The messages from a sequence on, in order, `limit` of them at most and some 4 MB. None: the server that answered
   * has none there; a copy of the stream that lags behind says so too, which `streamState` tells apart. `filter`: only
   * those on such subjects.
   */
  read(stream: string, from: number, limit: number, filter?: string): Promise<StreamMessage[]>;
}

const PAGE_BYTES = 4_194_304;
const READ_WITHIN_MS = 10_000;
/** Status of an answer without a body: the end of what was asked for, or nothing at all. */
const END = 204;
const NOT_FOUND = 404;
/** A body that nobody can read any more. */
const LOST: ReadonlySet<string> = new Set(['PAYLOAD_MISSING', 'PAYLOAD_CORRUPT', 'UNDECODABLE_MESSAGE']);

/** With a body that travels apart from its message. One that is gone is left out: nobody can make anything of it. */
async function whole(connection: NatsConnection, message: StreamMessage): Promise<StreamMessage> {
  const { subject, headers } = message;
  if (!hasReference(headers)) return message;
  try {
    const body = await readPayload(connection, subject, headers, READ_WITHIN_MS);
    return { ...message, headers: withoutReference(headers), body };
  } catch (error) {
    if (!LOST.has(errorCode(error))) throw error;
    return message;
  }
}

/**
 * Reads with batched direct gets, which leave nothing on the server. The user needs the permission for
 * `$JS.API.DIRECT.GET.<stream>`: see `replayable` in the manifest.
 */
export function streamReader(connection: NatsConnection): StreamReader {
  const view = streamView(connection);
  return {
    streamState: (stream) => view.streamState(stream),
    async read(stream, from, limit, filter) {
      const subject = `$JS.API.DIRECT.GET.${stream}`;
      const request = JSON.stringify({
        seq: from,
        batch: limit,
        max_bytes: PAGE_BYTES,
        next_by_subj: filter,
      });
      const messages: StreamMessage[] = [];
      const answers = await connection.requestMany(subject, request, {
        strategy: 'sentinel',
        maxWait: READ_WITHIN_MS,
        noMux: true,
      });
      for await (const { headers, data } of answers) {
        const status = headers?.code ?? 0;
        if (status === END || status === NOT_FOUND)
          return Promise.all(messages.map((message) => whole(connection, message)));
        if (status >= 400)
          throw new BrokerUnavailableError(`Reading ${stream}`, headers?.description ?? String(status));
        messages.push({
          sequence: Number(headers?.get('Nats-Sequence')),
          subject: headers?.get('Nats-Subject') ?? '',
          headers: fromNatsHeaders(headers),
          body: data,
        });
      }
      throw new RequestTimeoutError(subject, READ_WITHIN_MS);
    },
  };
}
