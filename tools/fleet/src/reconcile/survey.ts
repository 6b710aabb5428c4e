import { envelopeHeader } from '@flotilla/contracts-protocol';
import { replayHeader } from '@flotilla/messaging';
import type { NatsConnection } from '@nats-io/nats-core';
import { Client } from 'pg';
import type { Service } from '../services.ts';
import { BrokerView } from './broker-view.ts';
import type { Divergence } from './divergence.ts';
import { consumerOf, receiversOf, typeOf, type Receiver } from './receivers.ts';

/** A message as the outbox of its sender has it. */
interface MessageRow {
  readonly position: string;
  readonly id: string;
  readonly key: string;
  readonly subject: string;
  /** The id by which receivers know it. */
  readonly message_id: string;
  /** It was sent again, for one consumer alone. */
  readonly for_one: boolean;
  readonly age_ms: number;
  readonly published: boolean;
  readonly stream: string | null;
  readonly sequence: string | null;
  readonly error: string | null;
}

/** A difference of a view, as its service tells of it. */
interface ExaminedView {
  readonly aggregate: string;
  readonly projection: string;
  readonly differences: readonly {
    readonly table: string;
    readonly kind: string;
    readonly columns: object;
  }[];
  readonly obstacle?: string;
}

/** Has a service compare its views of some aggregates with their events. */
export type Examine = (service: string, aggregates: readonly string[]) => Promise<readonly ExaminedView[]>;

export interface SurveyParts {
  /** Those with a database. */
  readonly services: readonly Service[];
  readonly databases: Readonly<Record<string, string>>;
  readonly nats: NatsConnection;
  readonly examine: Examine;
}

/** Which messages of an outbox are looked at. */
export interface Page {
  readonly after: string;
  readonly limit: number;
  /** Only those that were written so long ago, in milliseconds. */
  readonly olderThanMs: number;
  readonly aggregate?: string | undefined;
}

/** What was looked at, and what was found. */
export interface Surveyed {
  readonly divergences: readonly Divergence[];
  readonly looked: number;
  /** The position of the last message that was looked at. */
  readonly last: string | undefined;
  /** Whether there are more after it. */
  readonly more: boolean;
  /** The aggregates whose views are to be compared, by the service that keeps them; see {@link Survey.views}. */
  readonly shown: ReadonlyMap<string, ReadonlySet<string>>;
}

/** Aggregates that a service is asked about at a time. */
const EXAMINED_AT_ONCE = 50;
const MAX_TIMERS = 500;

const ROWS = `
  SELECT position, id, key, subject, coalesce(headers->>'${envelopeHeader.id}', id) AS message_id,
         headers->>'${replayHeader.replayFor}' IS NOT NULL AS for_one,
         extract(epoch FROM now() - created_at)::float8 * 1000 AS age_ms,
         published_at IS NOT NULL AS published, stream, sequence, error
    FROM outbox`;

const OVERDUE = `
  SELECT saga, id, step, due_at FROM saga_instances
   WHERE due_at < now() - $1 * interval '1 millisecond' AND ($2::text IS NULL OR id = $2)
   ORDER BY due_at LIMIT ${MAX_TIMERS}`;

/** Compares outboxes, streams, inboxes and views, a page of messages at a time. Only reads. */
export class Survey {
  readonly #parts: SurveyParts;
  readonly #clients: ReadonlyMap<string, Client>;
  readonly #receivers: ReadonlyMap<string, readonly Receiver[]>;
  /** The projections of each service: they keep no inbox. */
  readonly #views: ReadonlyMap<string, ReadonlySet<string>>;

  private constructor(
    parts: SurveyParts,
    clients: ReadonlyMap<string, Client>,
    views: ReadonlyMap<string, ReadonlySet<string>>,
  ) {
    this.#parts = parts;
    this.#clients = clients;
    this.#views = views;
    this.#receivers = receiversOf(parts.services.map(({ manifest }) => manifest));
  }

  static async open(parts: SurveyParts): Promise<Survey> {
    const clients = new Map<string, Client>();
    const views = new Map<string, ReadonlySet<string>>();
    try {
      for (const { name } of parts.services) {
        const client = new Client({
          connectionString: parts.databases[name],
          application_name: 'fleet verify',
          connectionTimeoutMillis: 10_000,
          statement_timeout: 60_000,
        });
        await client.connect();
        clients.set(name, client);
        await client.query('SET default_transaction_read_only = on');
        const { rows } = await client.query<{ projection: string }>(
          'SELECT projection FROM projection_versions',
        );
        views.set(name, new Set(rows.map(({ projection }) => projection)));
      }
    } catch (error) {
      await Promise.all([...clients.values()].map((client) => client.end()));
      throw error;
    }
    return new Survey(parts, clients, views);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#clients.values()].map((client) => client.end()));
  }

  get services(): readonly string[] {
    return [...this.#clients.keys()];
  }

  /** The broker as it is from now on, until the next round. */
  look(): BrokerView {
    return new BrokerView(this.#parts.nats);
  }

  /** The messages of one outbox from a position on, and all that should have come of them. */
  async page(
    broker: BrokerView,
    service: string,
    { after, limit, olderThanMs, aggregate }: Page,
  ): Promise<Surveyed> {
    const rows = await this.#query<MessageRow>(
      service,
      `${ROWS} WHERE position > $1 AND created_at < now() - $2 * interval '1 millisecond'
         AND ($3::text IS NULL OR key = $3) ORDER BY position LIMIT $4`,
      [after, olderThanMs, aggregate ?? null, limit],
    );
    return {
      divergences: await this.#compare(broker, service, rows),
      looked: rows.length,
      last: rows.at(-1)?.position,
      more: rows.length === limit,
      shown: this.#shown(rows),
    };
  }

  /** Looks again at messages that were found diverging. */
  async again(
    broker: BrokerView,
    service: string,
    positions: readonly string[],
  ): Promise<readonly Divergence[]> {
    const rows = await this.#query<MessageRow>(
      service,
      `${ROWS} WHERE position = ANY ($1::bigint[]) ORDER BY position`,
      [positions],
    );
    return this.#compare(broker, service, rows);
  }

  /** Messages that nobody has published, wherever they are in the outbox. */
  async unpublished(service: string, olderThanMs: number, limit: number): Promise<readonly Divergence[]> {
    const rows = await this.#query<MessageRow>(
      service,
      `${ROWS} WHERE published_at IS NULL AND created_at < now() - $1 * interval '1 millisecond'
        ORDER BY position LIMIT $2`,
      [olderThanMs, limit],
    );
    return rows.map((row) => unpublishedOf(service, row));
  }

  /** Sagas whose timer should have fired so long ago. */
  async overdue(service: string, sinceMs: number, aggregate?: string): Promise<readonly Divergence[]> {
    const rows = await this.#query<{ saga: string; id: string; step: string | null; due_at: Date }>(
      service,
      OVERDUE,
      [sinceMs, aggregate ?? null],
    );
    return rows.map(({ saga, id, step, due_at }) => ({
      id: `timer ${service} ${saga} ${id}`,
      kind: 'timer',
      service,
      aggregate: id,
      what: `the timer of saga ${saga} at ${step ?? 'its end'} was due at ${due_at.toISOString()}`,
      repair: { action: 'fire', saga },
    }));
  }

  /** The views of some aggregates, as the services that keep them compare them. */
  async views(service: string, aggregates: readonly string[]): Promise<readonly Divergence[]> {
    const divergences: Divergence[] = [];
    for (let from = 0; from < aggregates.length; from += EXAMINED_AT_ONCE) {
      const some = aggregates.slice(from, from + EXAMINED_AT_ONCE);
      for (const { aggregate, projection, differences, obstacle } of await this.#parts.examine(
        service,
        some,
      )) {
        const [first] = differences;
        const rows = differences.length === 1 ? 'a row' : `${differences.length} rows`;
        const columns = Object.keys(first?.columns ?? {}).join(', ');
        divergences.push({
          id: `view ${service} ${projection} ${aggregate}`,
          kind: 'view',
          service,
          aggregate,
          what: `the view ${projection} has ${rows} otherwise than its events say: ${first?.table} ${first?.kind}${columns === '' ? '' : ` (${columns})`}`,
          ...(obstacle === undefined ? { repair: { action: 'mend' } } : { advice: obstacle }),
        });
      }
    }
    return divergences;
  }

  async #compare(broker: BrokerView, service: string, rows: readonly MessageRow[]): Promise<Divergence[]> {
    const divergences: Divergence[] = [];
    const stored: MessageRow[] = [];
    for (const row of rows) {
      if (row.published) stored.push(row);
      else divergences.push(unpublishedOf(service, row));
    }
    // What was handed to its receiver is in no stream, and done.
    const kept = stored.filter(({ stream }) => stream === null);
    const streamed = stored.filter(({ stream }) => stream !== null);
    for (const [stream, some] of Map.groupBy(streamed, (row) => row.stream ?? '')) {
      const facts = await broker.stream(stream);
      const ids =
        facts === undefined || facts.queue
          ? undefined
          : await broker.idsAt(
              stream,
              some.map(({ sequence }) => Number(sequence)).filter((at) => at >= facts.first),
            );
      for (const row of some) {
        const at = Number(row.sequence);
        // What the stream has dropped, because it was old or too much, is nobody's loss.
        if (facts !== undefined && at < facts.first && !facts.queue) continue;
        const found = ids?.get(at);
        if (facts === undefined || at > facts.last)
          divergences.push(lostOf(service, row, 'and it does not reach that far'));
        else if (ids !== undefined && found !== row.id)
          divergences.push(
            lostOf(service, row, found === undefined ? 'where nothing is' : `where ${found} is`),
          );
        else kept.push(row);
      }
    }
    return [...divergences, ...(await this.#unhandled(broker, service, kept))];
  }

  /** What its receivers have acknowledged and not handled, or not even acknowledged. */
  async #unhandled(broker: BrokerView, origin: string, rows: readonly MessageRow[]): Promise<Divergence[]> {
    const divergences: Divergence[] = [];
    const awaited = new Map<Receiver, MessageRow[]>();
    for (const row of rows) {
      // One that was sent again for one consumer is about a message that is looked at by itself.
      if (row.for_one) continue;
      for (const receiver of this.#receivers.get(typeOf(row.subject) ?? '') ?? []) {
        if (this.#views.get(receiver.service)?.has(receiver.inbox) === true) continue;
        if (!this.#clients.has(receiver.service)) continue;
        if (row.stream !== null && receiver.stream !== row.stream) continue;
        awaited.set(receiver, [...(awaited.get(receiver) ?? []), row]);
      }
    }
    for (const [receiver, some] of awaited) {
      // In this order: what is acknowledged by now has its row in the inbox by then.
      const consumers = new Map<string, Awaited<ReturnType<BrokerView['consumer']>>>();
      for (const { subject } of some) {
        const name = consumerOf(receiver, subject);
        if (!consumers.has(name)) consumers.set(name, await broker.consumer(receiver.stream, name));
      }
      const handled = await this.#handled(receiver, some);
      for (const row of some.filter(({ message_id }) => !handled.has(message_id))) {
        const name = consumerOf(receiver, row.subject);
        const facts = consumers.get(name);
        divergences.push(await missingOf(broker, origin, row, receiver, name, facts));
      }
    }
    return divergences;
  }

  async #handled({ service, inbox }: Receiver, rows: readonly MessageRow[]): Promise<ReadonlySet<string>> {
    const found = await this.#query<{ message_id: string }>(
      service,
      'SELECT message_id FROM inbox WHERE consumer = $1 AND message_id = ANY ($2)',
      [inbox, rows.map(({ message_id }) => message_id)],
    );
    return new Set(found.map(({ message_id }) => message_id));
  }

  /** The views of the aggregates that the messages are about. */
  #shown(rows: readonly MessageRow[]): ReadonlyMap<string, ReadonlySet<string>> {
    const aggregates = new Map<string, Set<string>>();
    for (const { subject, key } of rows) {
      for (const { service, inbox } of this.#receivers.get(typeOf(subject) ?? '') ?? []) {
        if (this.#views.get(service)?.has(inbox) !== true) continue;
        aggregates.set(service, (aggregates.get(service) ?? new Set()).add(key));
      }
    }
    return aggregates;
  }

  async #query<R>(service: string, sql: string, parameters: readonly unknown[]): Promise<R[]> {
    const client = this.#clients.get(service);
    if (client === undefined) throw new Error(`The database of ${service} is not open`);
    return (await client.query(sql, [...parameters])).rows as R[];
  }
}

function unpublishedOf(
  service: string,
  { position, id, key, subject, age_ms, error }: MessageRow,
): Divergence {
  const why = error === null ? '' : `; the broker refused it: ${error}`;
  return {
    id: `unpublished ${service} ${position}`,
    kind: 'unpublished',
    service,
    aggregate: key,
    what: `${subject} (${id}) is in the outbox of ${service} for ${Math.round(age_ms / 1_000)} s and not published${why}`,
    repair: { action: 'republish', position },
    position,
    origin: service,
  };
}

function lostOf(
  service: string,
  { position, id, key, subject, stream, sequence }: MessageRow,
  why: string,
): Divergence {
  return {
    id: `lost ${service} ${position}`,
    kind: 'lost',
    service,
    aggregate: key,
    what: `${subject} (${id}) was published by ${service} to ${stream} at ${sequence}, ${why}`,
    repair: { action: 'republish', position },
    position,
    origin: service,
  };
}

async function missingOf(
  broker: BrokerView,
  origin: string,
  { position, key, subject, message_id, stream: sentTo, sequence }: MessageRow,
  { service, stream, consumer }: Receiver,
  name: string,
  facts: { readonly floor: number; readonly waiting: number } | undefined,
): Promise<Divergence> {
  const about = { service: origin, aggregate: key, position, origin };
  const id = `${service}/${consumer} ${origin} ${position}`;
  if (facts === undefined && sentTo !== null) {
    return {
      ...about,
      id: `waiting ${id}`,
      kind: 'waiting',
      what: `${subject} (${message_id}) is for ${consumer}, a consumer that ${stream} does not have`,
      advice: 'fleet provision makes it',
    };
  }
  const letter = await broker.deadLetter(service, consumer, message_id);
  if (letter !== undefined) {
    return {
      ...about,
      id: `dead letter ${id}`,
      kind: 'dead letter',
      what: `${subject} (${message_id}) could not be handled by ${consumer}: it is dead letter ${letter}`,
      advice: `fleet dlq show ${letter}, then replay or drop it`,
    };
  }
  if (facts !== undefined && Number(sequence) > facts.floor) {
    return {
      ...about,
      id: `waiting ${id}`,
      kind: 'waiting',
      what: `${subject} (${message_id}) waits in ${name}, with ${facts.waiting} messages`,
      advice: `look at ${service}: fleet status, fleet logs ${service}`,
    };
  }
  return {
    ...about,
    id: `unhandled ${id}`,
    kind: 'unhandled',
    what: `${subject} (${message_id}) was ${sentTo === null ? 'answered' : 'acknowledged'} by ${name}, and ${service} has not handled it`,
    repair: { action: 'redeliver', position, consumer },
  };
}
