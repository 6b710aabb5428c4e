import { errorMessage } from '@flotilla/kernel';
import { PAYLOAD_STREAM, PayloadStore, streamView, type StreamView } from '@flotilla/messaging';
import type { Outbox, UnitOfWork } from '@flotilla/persistence';
import { jetstream } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/nats-core';
import { Logger, type OnApplicationBootstrap } from '@nestjs/common';
import type { Jobs } from './jobs.ts';

const JOB = 'outbox-reconciliation';
const EVERY_MS = 3_600_000;

const READ_TIMEOUT_MS = 5_000;
/** Bodies that are read from the outbox at a time; each may be large. */
const BODIES_AT_ONCE = 20;

export interface OutboxReconciliationParts {
  readonly connection: NatsConnection;
  readonly outbox: Outbox;
  readonly unitOfWork: UnitOfWork;
  readonly jobs: Jobs;
  readonly inlineMaxBytes: number;
  /** How far back the outbox goes, in milliseconds. */
  readonly retentionMs: number;
}

/**
 * Has published again what the broker has lost, and writes large bodies again where their stream was lost: asks at the start, after every reconnection (the server may have come
 * back with an empty or an older store) and every hour.
 */
export class OutboxReconciliation implements OnApplicationBootstrap {
  readonly #parts: OutboxReconciliationParts;
  readonly #logger = new Logger('Outbox');
  #refilledFor: number | undefined;

  constructor(parts: OutboxReconciliationParts) {
    this.#parts = parts;
  }

  onApplicationBootstrap(): void {
    const { connection, outbox, jobs } = this.#parts;
    const view = streamView(connection);
    jobs.register(JOB, {
      intervalMs: EVERY_MS,
      run: async () => {
        const { lost, streams } = await outbox.reconcile(view);
        if (lost > 0) {
          this.#logger.warn({
            msg: `The broker has lost ${lost} messages: they are published again`,
            streams,
          });
        }
        await this.#refillBodies(view);
        return false;
      },
    });
    void this.#onReconnection().catch((error: unknown) =>
      this.#logger.error({ msg: `Reconnections are no longer seen: ${errorMessage(error)}`, err: error }),
    );
  }

  /**
   * Messages that their streams still have may refer to bodies that were in a stream which is a new one now: those are
   * written again, from the outbox and as long as it goes back. Once for each time that the stream was made.
   */
  async #refillBodies(view: StreamView): Promise<void> {
    const { connection, unitOfWork, inlineMaxBytes, retentionMs } = this.#parts;
    const state = await view.streamState(PAYLOAD_STREAM);
    const madeAt = state?.createdAtMs;
    if (madeAt === undefined || madeAt === this.#refilledFor || Date.now() - madeAt > retentionMs) return;
    const payloads = new PayloadStore(connection, {
      inlineMaxBytes,
      readTimeoutMs: READ_TIMEOUT_MS,
      store: (subject, chunk) => jetstream(connection).publish(subject, chunk),
    });
    let after = '0';
    let written = 0;
    for (;;) {
      const rows = await unitOfWork.query<{ position: string; subject: string; body: string }>(
        `SELECT position, subject, body FROM outbox
          WHERE position > $1 AND published_at < $2 AND octet_length(body) > $3 ORDER BY position LIMIT ${BODIES_AT_ONCE}`,
        [after, new Date(madeAt), payloads.inlineBytes],
      );
      for (const { position, subject, body } of rows) {
        await payloads.put(subject, Buffer.from(body));
        after = position;
        written += 1;
      }
      if (rows.length < BODIES_AT_ONCE) break;
    }
    this.#refilledFor = madeAt;
    if (written > 0)
      this.#logger.warn(
        `The stream ${PAYLOAD_STREAM} was made anew: ${written} large bodies are written again`,
      );
  }

  /** Ends with the connection. */
  async #onReconnection(): Promise<void> {
    const { connection, jobs } = this.#parts;
    for await (const { type } of connection.status()) {
      if (type === 'reconnect') jobs.wake(JOB);
    }
  }
}
