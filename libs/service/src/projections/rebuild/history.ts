import {
  encodeEnvelope,
  eventStream,
  parseWith,
  readFailure,
  InvalidMessageError,
} from '@flotilla/contracts-protocol';
import { errorMessage, newId, type Clock } from '@flotilla/kernel';
import {
  decodeMessage,
  type Broker,
  type IncomingMessage,
  type Stoppable,
  type StreamState,
} from '@flotilla/messaging';
import type { UnitOfWork } from '@flotilla/persistence';
import { Logger } from '@nestjs/common';
import { SpanKind } from '@opentelemetry/api';
import { z } from 'zod';
import type { Handling } from '../../inbound/handling.ts';
import type { OutgoingMessages } from '../../outgoing.ts';
import { RemoteFailureError } from '../../service.errors.ts';

/** Where a service answers for the events that it has published. */
export function historySubject(service: string): string {
  return `ops.${service}.history`;
}

const streamState = z.object({
  createdAtMs: z.number(),
  firstSequence: z.int(),
  lastSequence: z.int(),
});
const request = z.object({
  /** Contract types, of this service's events. */
  types: z
    .array(z.string().regex(/^[\w.-]+$/))
    .min(1)
    .max(1_000),
  /** What the stream of its events has: the rest is asked for. Absent: everything. */
  stream: streamState.optional(),
  /** The position of the last event that the caller has. */
  after: z
    .string()
    .regex(/^\d{1,19}$/)
    .default('0'),
  limit: z.int().min(1).max(2_000).default(1_000),
});

const page = z.object({
  events: z.array(
    z.object({ subject: z.string(), headers: z.record(z.string(), z.string()), body: z.string() }),
  ),
  /** Where to go on; absent: this was the last page. */
  next: z.string().optional(),
});
export type HistoryPage = z.output<typeof page>;

/** Bytes of the events on one page: well within a broker's usual `max_payload`, whatever JSON adds to it. */
const PAGE_BYTES = 262_144;
const ANSWER_WITHIN_MS = 10_000;

/**
 * Answers what the outbox still has of the service's events and their stream has no more, a page at a time: for
 * services that build a view of them again.
 */
export class HistoryServer {
  readonly #logger = new Logger(HistoryServer.name);
  readonly #service: string;
  readonly #broker: Broker;
  readonly #unitOfWork: UnitOfWork;
  readonly #outgoing: OutgoingMessages;
  readonly #handling: Handling;

  constructor(
    service: string,
    broker: Broker,
    unitOfWork: UnitOfWork,
    outgoing: OutgoingMessages,
    handling: Handling,
  ) {
    this.#service = service;
    this.#broker = broker;
    this.#unitOfWork = unitOfWork;
    this.#outgoing = outgoing;
    this.#handling = handling;
  }

  start(): Promise<Stoppable> {
    return this.#broker.serve(
      historySubject(this.#service),
      { queue: this.#service, maxInFlight: 2 },
      async (message) => {
        try {
          const answer = await this.#handling.run(
            message,
            { handler: 'history', kind: SpanKind.SERVER },
            () => this.#page(message),
          );
          return this.#outgoing.reply(message.envelope, newId(), 'ok', answer);
        } catch (error) {
          this.#logger.warn({ msg: `The history could not be read: ${errorMessage(error)}`, err: error });
          return this.#outgoing.failedReply(message.envelope, newId(), error);
        }
      },
    );
  }

  async #page(message: IncomingMessage): Promise<HistoryPage> {
    const { types, stream, after, limit } = parseWith(
      request,
      message.json(),
      (problems) => new InvalidMessageError(historySubject(this.#service), problems),
    );
    // What is not published yet comes by itself; it is given too, because a reconciler may have taken its mark away.
    const rows = await this.#unitOfWork.query<{
      position: string;
      subject: string;
      headers: Record<string, string>;
      body: string;
    }>(
      `SELECT position, subject, headers, body FROM outbox
       WHERE position > $1 AND subject LIKE ANY ($2)
         AND ($3::timestamptz IS NULL OR published_at IS NULL OR stream IS DISTINCT FROM $4
              OR published_at < $3 OR sequence < $5 OR sequence > $6)
       ORDER BY position LIMIT $7`,
      [
        after,
        types.map((type) => `evt.${type.replaceAll('_', '\\_')}.%`),
        stream ? new Date(stream.createdAtMs).toISOString() : null,
        eventStream(this.#service),
        stream?.firstSequence ?? 0,
        stream?.lastSequence ?? 0,
        limit,
      ],
    );
    let bytes = 0;
    const fits = rows.findIndex(({ headers, body }, index) => {
      bytes += Buffer.byteLength(body) + JSON.stringify(headers).length;
      return index > 0 && bytes > PAGE_BYTES;
    });
    const given = fits === -1 ? rows : rows.slice(0, fits);
    const last = given.at(-1);
    return {
      events: given.map(({ subject, headers, body }) => ({ subject, headers, body })),
      ...(last && (fits !== -1 || rows.length === limit) && { next: last.position }),
    };
  }
}

/** Asks owners for what their streams no longer have. */
export class HistoryClient {
  readonly #service: string;
  readonly #broker: Broker;
  readonly #clock: Clock;

  constructor(service: string, broker: Broker, clock: Clock) {
    this.#service = service;
    this.#broker = broker;
    this.#clock = clock;
  }

  /** Throws what the broker throws when the owner does not answer, and {@link RemoteFailureError} when it cannot. */
  async page(
    owner: string,
    asked: {
      readonly types: readonly string[];
      readonly stream: StreamState | undefined;
      readonly after: string;
    },
  ): Promise<{ messages: IncomingMessage[]; next: string | undefined }> {
    const id = newId();
    const subject = historySubject(owner);
    const type = `ops.${owner}.history`;
    const reply = await this.#broker.request(
      {
        id,
        subject,
        key: id,
        headers: encodeEnvelope({
          id,
          type,
          source: this.#service,
          time: new Date(this.#clock.now()).toISOString(),
          subject: id,
          correlationId: id,
        }),
        body: JSON.stringify(asked),
      },
      { timeoutMs: ANSWER_WITHIN_MS },
    );
    if (reply.envelope.outcome !== 'ok') {
      const { code, message, retry } = readFailure(reply.json());
      throw new RemoteFailureError(type, code, message, retry);
    }
    const { events, next } = parseWith(
      page,
      reply.json(),
      (problems) => new InvalidMessageError(`The answer to ${subject}`, problems),
    );
    const encoder = new TextEncoder();
    return {
      messages: events.map((event) =>
        decodeMessage(event.subject, event.headers, encoder.encode(event.body)),
      ),
      next,
    };
  }
}
