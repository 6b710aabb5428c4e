import { errorMessage } from '@flotilla/kernel';
import { streamView } from '@flotilla/messaging';
import type { Outbox } from '@flotilla/persistence';
import type { NatsConnection } from '@nats-io/nats-core';
import { Logger, type OnApplicationBootstrap } from '@nestjs/common';
import type { Jobs } from './jobs.ts';

const JOB = 'outbox-reconciliation';
const EVERY_MS = 3_600_000;

/**
 * Has published again what the broker has lost: asks at the start, after every reconnection (the server may have come
 * back with an empty or an older store) and every hour.
 */
export class OutboxReconciliation implements OnApplicationBootstrap {
  readonly #connection: NatsConnection;
  readonly #outbox: Outbox;
  readonly #jobs: Jobs;
  readonly #logger = new Logger('Outbox');

  constructor(connection: NatsConnection, outbox: Outbox, jobs: Jobs) {
    this.#connection = connection;
    this.#outbox = outbox;
    this.#jobs = jobs;
  }

  onApplicationBootstrap(): void {
    const view = streamView(this.#connection);
    this.#jobs.register(JOB, {
      intervalMs: EVERY_MS,
      run: async () => {
        const { lost, streams } = await this.#outbox.reconcile(view);
        if (lost > 0) {
          this.#logger.warn({
            msg: `The broker has lost ${lost} messages: they are published again`,
            streams,
          });
        }
        return false;
      },
    });
    void this.#onReconnection().catch((error: unknown) =>
      this.#logger.error({ msg: `Reconnections are no longer seen: ${errorMessage(error)}`, err: error }),
    );
  }

  /** Ends with the connection. */
  async #onReconnection(): Promise<void> {
    for await (const { type } of this.#connection.status()) {
      if (type === 'reconnect') this.#jobs.wake(JOB);
    }
  }
}
