import type { NatsConnection } from '@nats-io/nats-core';
import { BrokerUnavailableError, RequestTimeoutError } from '../messaging.errors.ts';
import { fromNatsHeaders } from './nats-headers.ts';

/** A message as a stream keeps it, with the moment at which it was stored. */
export interface StoredPageMessage {
  readonly sequence: number;
  readonly subject: string;
  /** ISO 8601. */
  readonly time: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

const PAGE_BYTES = 4_194_304;
const READ_WITHIN_MS = 10_000;
/** Status of an answer without a body: the end of what was asked for, or nothing at all. */
const END = 204;
const NOT_FOUND = 404;

/**
 * Reads the messages of a stream on a subject from a sequence on, in order, `limit` of them at most and some 4 MB, with one
 * request. None: there is none. The user needs the permission for `$JS.API.DIRECT.GET.<stream>`.
 */
export async function readStored(
  connection: NatsConnection,
  stream: string,
  {
    from,
    subject: filter,
    limit,
  }: { readonly from: number; readonly subject: string; readonly limit: number },
): Promise<StoredPageMessage[]> {
  const subject = `$JS.API.DIRECT.GET.${stream}`;
  const request = JSON.stringify({ seq: from, next_by_subj: filter, batch: limit, max_bytes: PAGE_BYTES });
  const messages: StoredPageMessage[] = [];
  const answers = await connection.requestMany(subject, request, {
    strategy: 'sentinel',
    maxWait: READ_WITHIN_MS,
    noMux: true,
  });
  for await (const { headers, data } of answers) {
    const status = headers?.code ?? 0;
    if (status === END || status === NOT_FOUND) return messages;
    if (status >= 400)
      throw new BrokerUnavailableError(`Reading ${stream}`, headers?.description ?? String(status));
    messages.push({
      sequence: Number(headers?.get('Nats-Sequence')),
      subject: headers?.get('Nats-Subject') ?? '',
      time: headers?.get('Nats-Time-Stamp') ?? '',
      headers: fromNatsHeaders(headers),
      body: data,
    });
  }
  throw new RequestTimeoutError(subject, READ_WITHIN_MS);
}
