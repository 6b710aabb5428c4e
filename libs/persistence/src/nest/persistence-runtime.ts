import type { OnApplicationBootstrap, OnApplicationShutdown } from '@nestjs/common';
import type { DataSource } from 'typeorm';
import type { Outbox } from '../outbox/outbox.ts';
import type { OutboxPublisher } from '../outbox/outgoing-message.ts';
import type { UnitOfWork } from '../unit-of-work/unit-of-work.ts';

/** Starts publishing when the application has started, and ends everything in the right order when it stops. */
export class PersistenceRuntime implements OnApplicationBootstrap, OnApplicationShutdown {
  readonly #parts: {
    readonly dataSource: DataSource;
    readonly unitOfWork: UnitOfWork;
    readonly outbox: Outbox;
    readonly publisher: OutboxPublisher | undefined;
    readonly drainMs: number;
  };
  #closed: Promise<void> | undefined;

  constructor(parts: {
    readonly dataSource: DataSource;
    readonly unitOfWork: UnitOfWork;
    readonly outbox: Outbox;
    readonly publisher: OutboxPublisher | undefined;
    readonly drainMs: number;
  }) {
    this.#parts = parts;
  }

  async onApplicationBootstrap(): Promise<void> {
    const { outbox, publisher } = this.#parts;
    if (publisher !== undefined) await outbox.start(publisher);
  }

  onApplicationShutdown(): Promise<void> {
    return this.close();
  }

  /** Waits until everything committed here is published; returns false if `withinMs` was not enough. */
  flush(withinMs: number): Promise<boolean> {
    return this.#parts.outbox.flush(withinMs);
  }

  /** Lets units of work end, publishes what they committed, and closes all connections. Once. */
  close(): Promise<void> {
    return (this.#closed ??= this.#close());
  }

  async #close(): Promise<void> {
    const { unitOfWork, outbox, dataSource, drainMs } = this.#parts;
    await unitOfWork.close({ withinMs: drainMs });
    await outbox.close({ drainMs });
    if (dataSource.isInitialized) await dataSource.destroy();
  }
}
