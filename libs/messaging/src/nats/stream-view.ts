import { jetstreamManager, type JetStreamManager } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/nats-core';
import { isNotFound } from './pull-loop.ts';

/** What a stream says of itself. */
export interface StreamState {
  /** When it was made, milliseconds since the epoch. */
  readonly createdAtMs: number;
  readonly firstSequence: number;
  /** The last sequence that it gave out; 0 when it is new. */
  readonly lastSequence: number;
}

/** Finds out what the broker still has: for the outbox, which publishes again what was lost. */
export interface StreamView {
  /** Undefined: there is no such stream. */
  streamState(stream: string): Promise<StreamState | undefined>;
  /**
   * False when the stream has certainly not kept the message: it has never got that far, or another one is there. A
   * message that was handled or became too old, and was removed, counts as kept.
   */
  exists(stream: string, sequence: number, id: string): Promise<boolean>;
}

export function streamView(connection: NatsConnection): StreamView {
  let manager: Promise<JetStreamManager> | undefined;
  const jsm = (): Promise<JetStreamManager> =>
    (manager ??= jetstreamManager(connection, { checkAPI: false }));
  const streamState = async (stream: string): Promise<StreamState | undefined> => {
    try {
      const { created, state } = await (await jsm()).streams.info(stream);
      return {
        createdAtMs: Date.parse(created),
        firstSequence: state.first_seq,
        lastSequence: state.last_seq,
      };
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  };
  return {
    streamState,
    async exists(stream, sequence, id) {
      const state = await streamState(stream);
      if (state === undefined || sequence > state.lastSequence) return false;
      const stored = await (await jsm()).streams.getMessage(stream, { seq: sequence });
      return stored === null || stored.header.get('Nats-Msg-Id') === id;
    },
  };
}
