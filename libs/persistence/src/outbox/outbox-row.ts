import { partitionOf } from '@flotilla/kernel';
import type { PipelinedClient } from '../connection/pipelined-client.ts';
import { UnstorableError } from '../persistence.errors.ts';
import type { OutgoingMessage } from './outgoing-message.ts';

/** The channel on which a process without a publisher of its own tells the relays that there is work. */
export const OUTBOX_CHANNEL = 'flotilla_outbox';

/** A committed message that is not known to be published. */
export interface OutboxRow {
  /** Its place in the outbox, a bigint: rows of one key are published in this order. */
  readonly position: string;
  readonly partition: number;
  readonly message: OutgoingMessage;
  /** When it was written, milliseconds since the epoch; exact to some seconds, to find its time partition. */
  readonly writtenAtMs: number;
}

/** A message that is ready to be written. */
export interface PreparedMessage {
  readonly message: OutgoingMessage;
  readonly headers: string;
}

/** Checks, when it is sent and not later at the commit of its whole group, that a message can be stored. */
export function prepareMessage(message: OutgoingMessage): PreparedMessage {
  const headers = JSON.stringify(message.headers);
  for (const [part, text] of [
    ['id', message.id],
    ['subject', message.subject],
    ['key', message.key],
    ['headers', headers],
    ['body', message.body],
  ] as const) {
    if (typeof text !== 'string') {
      throw new UnstorableError(`Message ${message.id}`, `its ${part} is ${typeof text}, not a string`);
    }
    if (text.includes('\u0000')) {
      throw new UnstorableError(
        `Message ${message.id}`,
        `its ${part} contains a NUL character, which Postgres refuses`,
      );
    }
  }
  return { message, headers };
}

/**
 * Writes the rows in one statement and returns them with their positions. `relay`: this process has no publisher of
 * its own, so that a relay elsewhere is to take them at once.
 */
export async function addToOutbox(
  client: PipelinedClient,
  prepared: readonly PreparedMessage[],
  options: { readonly relay: boolean; readonly nowMs: number },
): Promise<OutboxRow[]> {
  const partitions = prepared.map(({ message }) => partitionOf(message.key));
  const inserted = client.send(
    `INSERT INTO outbox (id, partition, key, subject, headers, body, relay)
     SELECT m.*, $7::boolean
       FROM unnest($1::text[], $2::smallint[], $3::text[], $4::text[], $5::json[], $6::text[]) AS m
     RETURNING position`,
    [
      prepared.map(({ message }) => message.id),
      partitions,
      prepared.map(({ message }) => message.key),
      prepared.map(({ message }) => message.subject),
      prepared.map(({ headers }) => headers),
      prepared.map(({ message }) => message.body),
      options.relay,
    ],
    'flotilla_outbox_add',
  );
  const notified = options.relay
    ? client.send('SELECT pg_notify($1, $2)', [OUTBOX_CHANNEL, ''], 'flotilla_outbox_notify')
    : undefined;
  const [{ rows }] = await Promise.all([inserted, notified]);
  return (rows as { position: string }[]).map(({ position }, index) => {
    const { message } = prepared[index] as PreparedMessage;
    return { position, partition: partitions[index] as number, message, writtenAtMs: options.nowMs };
  });
}
