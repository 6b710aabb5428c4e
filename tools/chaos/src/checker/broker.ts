import { createHash } from 'node:crypto';
import { jetstreamManager, type ConsumerInfo, type StreamInfo } from '@nats-io/jetstream';
import type { MsgHdrs, NatsConnection } from '@nats-io/nats-core';
import { connect } from '@nats-io/transport-node';
import type { CheckAccess } from './access.ts';

/** A message as a stream has it. */
export interface StoredMessage {
  readonly sequence: number;
  readonly subject: string;
  /** `Nats-Msg-Id`, or without one the `ce-id`; empty without either. */
  readonly id: string;
  readonly headers: MsgHdrs | undefined;
  readonly digest: string;
}

const PAGE = 1_000;
const PAGE_BYTES = 4_194_304;
const PAGE_WITHIN_MS = 20_000;
/** Statuses of an answer without a message: the end of what was asked for, or nothing there. */
const END: ReadonlySet<number> = new Set([204, 404]);

export async function connectBroker({ natsUrl, natsCredentials }: CheckAccess): Promise<NatsConnection> {
  return connect({
    servers: natsUrl.split(',').map((url) => url.trim()),
    name: 'checker',
    timeout: 10_000,
    // A user with permissions gets answers where only it may listen.
    ...(natsCredentials && {
      user: natsCredentials.user,
      pass: natsCredentials.password,
      inboxPrefix: `_INBOX_${natsCredentials.user}`,
    }),
  });
}

/** All streams with their consumers. */
export async function readTopology(
  nats: NatsConnection,
): Promise<{ readonly stream: StreamInfo; readonly consumers: readonly ConsumerInfo[] }[]> {
  const manager = await jetstreamManager(nats, { checkAPI: false });
  const found = [];
  for await (const stream of manager.streams.list()) {
    const consumers: ConsumerInfo[] = [];
    for await (const consumer of manager.consumers.list(stream.config.name)) consumers.push(consumer);
    found.push({ stream, consumers });
  }
  return found;
}

/** The messages of a stream from its first to that sequence, in order, a page of them in memory. */
export async function* readStream(
  nats: NatsConnection,
  stream: string,
  upTo: number,
): AsyncGenerator<StoredMessage> {
  for (let from = 1; from <= upTo;) {
    let read = 0;
    for (const message of await readPage(nats, stream, from)) {
      if (message.sequence > upTo) return;
      from = message.sequence + 1;
      read += 1;
      yield message;
    }
    if (read === 0) return;
  }
}

async function readPage(nats: NatsConnection, stream: string, from: number): Promise<StoredMessage[]> {
  const messages: StoredMessage[] = [];
  const answers = await nats.requestMany(
    `$JS.API.DIRECT.GET.${stream}`,
    JSON.stringify({ seq: from, batch: PAGE, max_bytes: PAGE_BYTES }),
    { strategy: 'sentinel', maxWait: PAGE_WITHIN_MS, noMux: true },
  );
  for await (const { headers, data } of answers) {
    const status = headers?.code ?? 0;
    if (END.has(status)) return messages;
    if (status >= 400) throw new Error(`${stream} cannot be read: ${status} ${headers?.description ?? ''}`);
    messages.push({
      sequence: Number(headers?.get('Nats-Sequence')),
      subject: headers?.get('Nats-Subject') ?? '',
      id: headers?.get('Nats-Msg-Id') || headers?.get('ce-id') || '',
      headers,
      digest: createHash('md5').update(data).digest('hex'),
    });
  }
  throw new Error(`${stream} was not read within ${PAGE_WITHIN_MS / 1_000} s, from ${from} on`);
}
