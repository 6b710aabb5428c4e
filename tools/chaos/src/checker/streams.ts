import type { ConsumerInfo, StreamInfo } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/nats-core';
import type { ExpectedPoison } from './access.ts';
import { readStream, type StoredMessage } from './broker.ts';
import { together } from './merge.ts';
import type { Findings } from './report.ts';
import type { Snapshot } from './snapshot.ts';

interface PublishedRow {
  readonly id: string;
  readonly key: string;
  readonly subject: string;
  readonly sequence: string;
  readonly digest: string;
}

interface UnpublishedRow {
  readonly id: string;
  readonly key: string;
  readonly subject: string;
  readonly error: string | null;
  readonly age_s: string;
}

/** Messages of a stream without a row of an outbox at their place that are looked up by their ids. */
const MAX_STRAYS = 10_000;
const place = (sequence: number | string): string => String(sequence).padStart(20, '0');

/** Everything that is committed is published. */
export async function checkOutbox(service: string, database: Snapshot, findings: Findings): Promise<void> {
  const [all] = await database.rows<{ count: string }>('SELECT count(*) FROM outbox');
  findings.count('outboxes', Number(all?.count ?? 0));
  const unpublished = database.stream<UnpublishedRow>(
    `SELECT id, key, subject, error, round(extract(epoch FROM now() - created_at)) AS age_s
       FROM outbox WHERE published_at IS NULL ORDER BY position`,
  );
  for await (const { id, key, subject, error, age_s } of unpublished) {
    const why = error === null ? '' : `; the broker refused it: ${error}`;
    findings.violate('outboxes', key, `${service} has not published ${subject} (${id}) for ${age_s} s${why}`);
  }
}

/** Queues are emptied as they are handled: of them only how far they got is compared. */
export async function checkQueueEnds(
  service: string,
  database: Snapshot,
  streams: ReadonlyMap<string, StreamInfo>,
  findings: Findings,
): Promise<void> {
  const rows = await database.rows<{ stream: string; last: string }>(
    'SELECT stream, max(sequence) AS last FROM outbox WHERE stream IS NOT NULL GROUP BY stream',
  );
  for (const { stream, last } of rows) {
    findings.count('streams');
    const end = streams.get(stream)?.state.last_seq ?? 0;
    if (Number(last) > end)
      findings.violate('streams', stream, `${service} published up to ${last}, and it ends at ${end}`);
  }
}

/** An owner's stream of events, message by message, beside the owner's outbox. */
export async function checkEventStream(
  nats: NatsConnection,
  { config, state }: StreamInfo,
  owner: Snapshot,
  poison: PoisonList,
  findings: Findings,
): Promise<void> {
  const { name } = config;
  const strays = new Map<string, string>();
  let more = 0;
  const sources = {
    messages: {
      rows: readStream(nats, name, state.last_seq),
      keyOf: ({ sequence }: StoredMessage) => place(sequence),
    },
    published: {
      rows: owner.stream<PublishedRow>(
        // What the stream has dropped, because it was old or too much, is not looked for.
        `SELECT id, key, subject, sequence, md5(convert_to(body, 'UTF8')) AS digest FROM outbox
          WHERE stream = '${name}' AND sequence >= ${state.first_seq} ORDER BY sequence`,
      ),
      keyOf: ({ sequence }: PublishedRow) => place(sequence),
    },
  };
  for await (const [at, { messages, published }] of together(sources)) {
    findings.count('streams');
    const [message] = messages;
    const complain = (about: string, what: string): void => findings.violate('streams', about, what);
    for (const { id, key, subject, digest } of published) {
      if (message === undefined)
        complain(key, `${subject} (${id}) was published to ${name} at ${Number(at)}, and is not there`);
      else if (message.id !== id)
        complain(
          key,
          `${subject} (${id}) was published to ${name} at ${Number(at)}, where ${message.id || 'another'} is`,
        );
      else if (message.subject !== subject)
        complain(key, `${id} was published as ${subject}, and is in ${name} as ${message.subject}`);
      else if (message.digest !== digest && message.headers?.get('ce-dataref') === '')
        complain(key, `${id} is in ${name} at ${Number(at)} with another body`);
    }
    if (message === undefined || published.length > 0) continue;
    if (poison.takes(message, name) || message.headers?.get('flotilla-replay-of')) continue;
    if (strays.size < MAX_STRAYS) strays.set(message.id, `${name}:${message.sequence}`);
    else more += 1;
  }
  if (more > 0) findings.violate('streams', name, `${more} further messages were published by nobody`);
  await checkStrays(name, strays, owner, findings);
}

/** A message that is there once more, because nobody knew that it had arrived, is known by its id. */
async function checkStrays(
  name: string,
  strays: ReadonlyMap<string, string>,
  owner: Snapshot,
  findings: Findings,
): Promise<void> {
  if (strays.size === 0) return;
  const known = new Set(
    (await owner.rows<{ id: string }>('SELECT id FROM outbox WHERE id = ANY ($1)', [[...strays.keys()]])).map(
      ({ id }) => id,
    ),
  );
  if (known.size > 0)
    findings.notes.push(`${known.size} messages are more than once in ${name}: receivers know them`);
  for (const [id, at] of strays) {
    if (!known.has(id))
      findings.violate('streams', at, `${id || 'a message without an id'} was published by nobody`);
  }
}

/** No consumer has anything to do, and nothing is in a queue for nobody. */
export function checkConsumers(
  { config, state }: StreamInfo,
  consumers: readonly ConsumerInfo[],
  findings: Findings,
): void {
  for (const { name, num_pending, num_ack_pending } of consumers) {
    findings.count('consumers');
    if (num_pending + num_ack_pending > 0)
      findings.violate(
        'consumers',
        `${config.name}/${name}`,
        `${num_pending} messages wait, ${num_ack_pending} are not acknowledged`,
      );
  }
  if (config.metadata?.['flotilla-kind'] === 'queue' && consumers.length === 0 && state.messages > 0)
    findings.violate('consumers', config.name, `${state.messages} messages, and nobody handles them`);
}

/** The messages that are known to be poison, and what became of them. */
export class PoisonList {
  readonly #ids: ReadonlySet<string>;

  constructor(poison: readonly ExpectedPoison[]) {
    this.#ids = new Set(poison.map(({ id }) => id));
  }

  takes({ id, headers, sequence }: StoredMessage, stream: string): boolean {
    return [id, headers?.get('ce-id') ?? '', `${stream}:${sequence}`].some((each) => this.#ids.has(each));
  }

  /** The dead letters are the poison, all of it, each once per consumer, and nothing else. */
  async checkDeadLetters(
    nats: NatsConnection,
    { config, state }: StreamInfo,
    findings: Findings,
  ): Promise<void> {
    const left = new Set(this.#ids);
    const seen = new Set<string>();
    for await (const { sequence, headers } of readStream(nats, config.name, state.last_seq)) {
      findings.count('dead letters');
      const of = (name: string): string => headers?.get(name) ?? '';
      const where = `${of('flotilla-original-stream')}:${of('flotilla-original-sequence')}`;
      const id = [of('ce-id'), where].find((each) => this.#ids.has(each));
      const consumer = `${of('flotilla-service')}/${of('flotilla-consumer')}`;
      if (id === undefined) {
        findings.violate(
          'dead letters',
          of('ce-subject') || where,
          `${of('ce-type') || 'a message'} (${of('ce-id')}) died in ${consumer}: ${of('flotilla-error-code')} ${of('flotilla-error-message')}`,
        );
        continue;
      }
      left.delete(id);
      if (seen.has(`${consumer} ${id}`))
        findings.violate('dead letters', id, `the poison died again in ${consumer}, as ${sequence}`);
      seen.add(`${consumer} ${id}`);
    }
    findings.count('dead letters', left.size);
    for (const id of left) findings.violate('dead letters', id, 'the poison is not among the dead letters');
  }
}
