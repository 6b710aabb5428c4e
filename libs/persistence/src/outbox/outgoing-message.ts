/** A message as the outbox keeps it and the broker publishes it. */
export interface OutgoingMessage {
  /** Unique per message: the broker and the receivers' inboxes recognise a second publishing by it. */
  readonly id: string;
  readonly subject: string;
  /** The ordering key, mostly the aggregate's id: messages with the same key are published in order. */
  readonly key: string;
  /** The encoded envelope. */
  readonly headers: Readonly<Record<string, string>>;
  /** JSON. */
  readonly body: string;
  /**
   * The publisher may give it to its receiver by itself instead of storing it. Known only to the process that sends it:
   * what is read from the table is stored.
   */
  readonly handover?: true;
}

/** Where the broker stored a message. */
export interface PublishReceipt {
  readonly stream: string;
  /** The message's position in the stream, from 1. */
  readonly sequence: number;
  /** Whether the broker had the message already, by its id. */
  readonly duplicate: boolean;
}

/** The receiver has handled the message and what it answered is committed: it is in no stream, and needs to be in none. */
export interface HandoverReceipt {
  readonly handedOver: true;
}

/**
 * The port to the broker. Resolves once the message is stored there, or was handed over. An error whose `retry` is `never` says that
 * the broker will never take this message; after any other error the same message is published again.
 */
export interface OutboxPublisher {
  publish(message: OutgoingMessage): Promise<PublishReceipt | HandoverReceipt>;
  /**
   * Stores messages of one stream and of different keys, all or none of them, or rejects: then they are published one by
   * one. Absent: all always are.
   */
  publishBatch?(messages: readonly OutgoingMessage[]): Promise<readonly PublishReceipt[]>;
}
