import { EventEmitter } from 'node:events';
import type { NatsConnection, Status } from '@nats-io/nats-core';

/** The states of a connection, in the words of Nest's NATS transport. */
export type TransportStatus = 'connected' | 'disconnected' | 'reconnecting';

type ServersChanged = Readonly<{
  added: readonly string[] | undefined;
  deleted: readonly string[] | undefined;
}>;

/** What `on` of server and client takes, as Nest's NATS transport has it. */
export type TransportEvents = {
  disconnect: (server?: string) => void;
  reconnect: (server?: string) => void;
  update: (servers?: ServersChanged) => void;
};

/** Tells of a connection what Nest's NATS transport tells: status and events. */
export class ConnectionEvents {
  readonly #emitter = new EventEmitter();
  readonly #onStatus: (status: TransportStatus) => void;

  constructor(onStatus: (status: TransportStatus) => void) {
    this.#onStatus = onStatus;
  }

  on(event: keyof TransportEvents, callback: TransportEvents[keyof TransportEvents]): void {
    this.#emitter.on(event, callback as (...facts: unknown[]) => void);
  }

  /** Until the connection is closed. */
  watch(connection: NatsConnection): void {
    this.#onStatus('connected');
    void this.#follow(connection);
  }

  async #follow(connection: NatsConnection): Promise<void> {
    for await (const status of connection.status()) this.#tell(status);
    this.#emitter.removeAllListeners();
  }

  #tell(status: Status): void {
    if (status.type === 'disconnect') {
      this.#onStatus('disconnected');
      this.#emitter.emit('disconnect', status.server);
    } else if (status.type === 'reconnecting') {
      this.#onStatus('reconnecting');
    } else if (status.type === 'reconnect') {
      this.#onStatus('connected');
      this.#emitter.emit('reconnect', status.server);
    } else if (status.type === 'update') {
      this.#emitter.emit('update', { added: status.added, deleted: status.deleted });
    }
  }
}
