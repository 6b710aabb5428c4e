import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/nats-core';
import { newId, systemClock, type Clock } from '@flotilla/kernel';
import { isNotFound } from './nats/pull-loop.ts';
import { readStored } from './nats/read-stored.ts';
import { MissingTopologyError } from './messaging.errors.ts';
import { AUDIT_STREAM } from './topology.ts';

/** Something that an operator did, or tried to. */
export interface AuditEntry {
  /** Its place in the record. */
  readonly sequence: number;
  readonly id: string;
  /** ISO 8601. */
  readonly at: string;
  /** Who did it. */
  readonly by: string;
  /** Where it came from: `cli`, `api`. */
  readonly via: string;
  /** What kind of thing it was done to: `dead-letters`. */
  readonly area: string;
  /** One word: `replay`, `drop`. */
  readonly action: string;
  /** What it was done to. */
  readonly target: string;
  readonly reason?: string;
  /** What was there before, what after, and whatever else says what was done. */
  readonly detail: Readonly<Record<string, unknown>>;
}

export type NewAuditEntry = Omit<AuditEntry, 'sequence' | 'id' | 'at'> & { readonly id?: string };

export interface AuditFilter {
  readonly area?: string;
  readonly action?: string;
  /** Those whose target contains this. */
  readonly target?: string;
  readonly by?: string;
  /** At most so many. Default 50. */
  readonly limit?: number;
}

const PAGE = 500;
/** How far back it is looked for what a filter asks for. */
const LOOK_BACK = 100_000;
/** The largest body that a server takes by default is 1 MiB. */
const MAX_DETAIL_CHARS = 200_000;

/** The durable record of what operators did, in the stream `AUDIT`. Lines can be added, and none taken out. */
export class AuditTrail {
  readonly #connection: NatsConnection;
  readonly #clock: Clock;

  constructor(connection: NatsConnection, clock: Clock = systemClock) {
    this.#connection = connection;
    this.#clock = clock;
  }

  /** Resolves when the entry is stored; do it before the act, so that there is none without its record. */
  async record(entry: NewAuditEntry): Promise<string> {
    const { id = newId(), area, action } = entry;
    const body = JSON.stringify({ ...entry, id, at: new Date(this.#clock.now()).toISOString() });
    const fits = body.length <= MAX_DETAIL_CHARS;
    await jetstream(this.#connection).publish(
      `audit.${area}.${action}`,
      fits
        ? body
        : JSON.stringify({
            ...entry,
            id,
            at: new Date(this.#clock.now()).toISOString(),
            detail: { leftOut: `${body.length} characters of detail are more than ${MAX_DETAIL_CHARS}` },
          }),
      { msgID: id },
    );
    return id;
  }

  /** The latest first. */
  async list(filter: AuditFilter = {}): Promise<AuditEntry[]> {
    const { limit = 50 } = filter;
    const subject = `audit.${filter.area ?? '*'}.${filter.action ?? '*'}`;
    const last = await this.#lastSequence();
    const found: AuditEntry[] = [];
    const least = Math.max(0, last - LOOK_BACK);
    for (let until = last; until > least && found.length < limit; until -= PAGE) {
      const from = Math.max(1, until - PAGE + 1);
      const page = await readStored(this.#connection, AUDIT_STREAM, { from, subject, limit: PAGE });
      const entries = page
        .filter(({ sequence }) => sequence <= until)
        .map(({ sequence, body }) => readEntry(sequence, body))
        .filter(
          ({ target, by }) =>
            (filter.target === undefined || target.includes(filter.target)) &&
            (filter.by === undefined || by === filter.by),
        );
      found.push(...entries.reverse());
    }
    return found.slice(0, limit);
  }

  async #lastSequence(): Promise<number> {
    const manager = await jetstreamManager(this.#connection, { checkAPI: false });
    try {
      return (await manager.streams.info(AUDIT_STREAM)).state.last_seq;
    } catch (error) {
      if (isNotFound(error)) throw new MissingTopologyError([`stream ${AUDIT_STREAM}`]);
      throw error;
    }
  }
}

function readEntry(sequence: number, body: Uint8Array): AuditEntry {
  return { ...(JSON.parse(new TextDecoder().decode(body)) as Omit<AuditEntry, 'sequence'>), sequence };
}
