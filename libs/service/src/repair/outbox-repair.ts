import { newId } from '@flotilla/kernel';
import { replayHeader } from '@flotilla/messaging';
import { OUTBOX_CHANNEL, requireUnitOfWork } from '@flotilla/persistence';
import { jetstreamManager, type JetStreamManager } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/nats-core';
import type { Repaired } from './repair-log.ts';

/** Runs a statement in the unit of work that is under way. */
export type RunQuery = <R>(sql: string, parameters?: readonly unknown[]) => Promise<R[]>;

interface Row {
  readonly position: string;
  readonly id: string;
  readonly key: string;
  readonly subject: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly published: boolean;
  readonly published_ms: number | null;
  readonly stream: string | null;
  readonly sequence: string | null;
  readonly error: string | null;
}

const NANOSECONDS_PER_MS = 1_000_000;

/** Has messages of the service's outbox published again, or handled by a consumer that has lost them. */
export class OutboxRepair {
  readonly #connection: NatsConnection;
  #manager: Promise<JetStreamManager> | undefined;

  constructor(connection: NatsConnection) {
    this.#connection = connection;
  }

  /**
   * Has the relay publish messages that are not published, or whose stream has lost them. In a unit of work. Looks at
   * the stream by itself: whoever asks may be late.
   */
  async republish(query: RunQuery, positions: readonly string[]): Promise<Repaired[]> {
    const repaired: Repaired[] = [];
    for (const row of await this.#rows(query, positions, repaired)) {
      const about = { about: row.key, target: `message ${row.id}` };
      if (!row.published) {
        repaired.push(
          row.error === null
            ? { ...about, outcome: 'repaired', detail: 'the relay takes it at once' }
            : {
                ...about,
                outcome: 'refused',
                detail: `it is tried again; the broker refused it: ${row.error}`,
              },
        );
      } else if (row.stream === null) {
        repaired.push({
          ...about,
          outcome: 'nothing to do',
          detail: 'its receiver has answered it: it is in no stream',
        });
        continue;
      } else {
        const { lost, waitMs } = await this.#isLost(row);
        if (!lost) {
          repaired.push({ ...about, outcome: 'nothing to do', detail: `${row.stream} has it` });
          continue;
        }
        if (waitMs > 0) {
          const seconds = Math.ceil(waitMs / 1_000);
          const detail = `${row.stream} would still take it for a repetition: try again in ${seconds} s`;
          repaired.push({ ...about, outcome: 'refused', detail });
          continue;
        }
        repaired.push({
          ...about,
          outcome: 'repaired',
          detail: `published again: ${row.stream} had lost it`,
        });
      }
      await query(
        `UPDATE outbox SET published_at = NULL, stream = NULL, sequence = NULL, refused_at = NULL, relay = true
          WHERE position = $1`,
        [row.position],
      );
    }
    if (repaired.some(({ outcome }) => outcome !== 'nothing to do'))
      await query('SELECT pg_notify($1, $2)', [OUTBOX_CHANNEL, '']);
    return repaired;
  }

  /**
   * Sends messages once more, for one consumer alone: others acknowledge them unseen, and it knows those that it has
   * handled. In a unit of work: they leave through the outbox.
   */
  async redeliver(query: RunQuery, positions: readonly string[], consumer: string): Promise<Repaired[]> {
    const repaired: Repaired[] = [];
    const unit = requireUnitOfWork('Delivering a message again');
    for (const { id, key, subject, headers, body } of await this.#rows(query, positions, repaired)) {
      const sent = { ...headers, [replayHeader.replayFor]: consumer };
      unit.send({ id: newId(), key, subject, headers: sent, body });
      repaired.push({
        about: key,
        target: `message ${id} for ${consumer}`,
        outcome: 'repaired',
        detail: `sent again, for ${consumer} alone`,
      });
    }
    return repaired;
  }

  async #rows(query: RunQuery, positions: readonly string[], repaired: Repaired[]): Promise<Row[]> {
    const rows = await query<Row>(
      `SELECT position, id, key, subject, headers, body, published_at IS NOT NULL AS published,
              extract(epoch FROM published_at)::float8 * 1000 AS published_ms, stream, sequence, error
         FROM outbox WHERE position = ANY ($1::bigint[]) ORDER BY position FOR UPDATE`,
      [positions],
    );
    const found = new Set(rows.map(({ position }) => position));
    for (const position of positions.filter((each) => !found.has(each))) {
      repaired.push({
        about: 'unknown',
        target: `position ${position}`,
        outcome: 'refused',
        detail: 'the outbox does not have it (any more)',
      });
    }
    return rows;
  }

  /** Whether the stream lacks it; and how long it would take the same message for a repetition. */
  async #isLost({ stream, sequence, id, published_ms }: Row): Promise<{ lost: boolean; waitMs: number }> {
    const manager = await (this.#manager ??= jetstreamManager(this.#connection, { checkAPI: false }));
    const { config, state } = await manager.streams.info(stream ?? '');
    const at = Number(sequence);
    const windowMs = (config.duplicate_window ?? 0) / NANOSECONDS_PER_MS;
    const waitMs = (published_ms ?? 0) + windowMs - Date.now();
    if (at > state.last_seq) return { lost: true, waitMs: 0 };
    if (at < state.first_seq) return { lost: false, waitMs: 0 };
    const stored = await manager.streams.getMessage(stream ?? '', { seq: at });
    // What was handled leaves a queue; elsewhere nothing between the first and the last may be missing.
    if (stored === null) return { lost: config.metadata?.['flotilla-kind'] !== 'queue', waitMs };
    return { lost: stored.header.get('Nats-Msg-Id') !== id, waitMs: 0 };
  }
}
