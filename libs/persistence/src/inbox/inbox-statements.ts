import type { PipelinedClient } from '../connection/pipelined-client.ts';
import type { ActiveUnitOfWork } from '../unit-of-work/active-unit-of-work.ts';
import type { InboxEntry } from '../unit-of-work/submission.ts';

/** What is known of a message that was handled before. */
export interface KnownMessage {
  readonly payloadHash: string | null;
  readonly reply: unknown;
}

/** A message that was handled now. `reply` is JSON text. */
export interface HandledMessage {
  readonly entry: InboxEntry;
  readonly reply: string | undefined;
}

/** One name for an entry, in locks and maps. */
export function inboxKey(entry: { readonly consumer: string; readonly messageId: string }): string {
  return `${entry.consumer}/${entry.messageId}`;
}

/**
 * Takes all locks, those of the messages themselves among them, in one order, and finds the messages that were
 * handled before. The function in the database does both, so that it costs one statement, planned once per
 * connection and never with a scan of the table.
 */
export async function enterInbox(
  client: PipelinedClient,
  entries: readonly InboxEntry[],
  locks: readonly string[],
): Promise<Map<string, KnownMessage>> {
  const { rows } = await client.send(
    'SELECT consumer, message_id, payload_hash, reply FROM flotilla_enter($1, $2, $3)',
    [
      [...locks.map(lockName), ...entries.map((entry) => `inbox ${inboxKey(entry)}`)],
      entries.map((entry) => entry.consumer),
      entries.map((entry) => entry.messageId),
    ],
    'flotilla_enter',
  );
  const known = new Map<string, KnownMessage>();
  for (const row of rows as {
    consumer: string;
    message_id: string;
    payload_hash: string | null;
    reply: unknown;
  }[]) {
    known.set(inboxKey({ consumer: row.consumer, messageId: row.message_id }), {
      payloadHash: row.payload_hash,
      reply: row.reply,
    });
  }
  return known;
}

/** Takes locks in the middle of a unit of work. */
export async function lockNow(unit: ActiveUnitOfWork, locks: readonly string[]): Promise<void> {
  await unit.query(`SELECT FROM flotilla_enter($1, '{}', '{}')`, [locks.map(lockName)]);
}

/** The name in the database of a lock that a unit of work asks for. */
export function lockName(lock: string): string {
  return `lock ${lock}`;
}

/**
 * Writes the rows of messages handled now. They cannot be there already: the transaction holds their locks since
 * before it looked. If they were, the primary key would undo the transaction.
 */
export async function addToInbox(client: PipelinedClient, handled: readonly HandledMessage[]): Promise<void> {
  await client.send(
    `INSERT INTO inbox (consumer, message_id, payload_hash, reply)
     SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::json[])`,
    [
      handled.map(({ entry }) => entry.consumer),
      handled.map(({ entry }) => entry.messageId),
      handled.map(({ entry }) => entry.payloadHash ?? null),
      handled.map(({ reply }) => reply ?? null),
    ],
    'flotilla_inbox_add',
  );
}
