import type { Envelope } from '@flotilla/contracts-protocol';
import type { BackoffOptions } from '@flotilla/kernel';
import type { ConsumerPause, KillSwitchOptions } from './kill-switch.ts';

/** A message on its way out: everything is already encoded, so that it can wait in an outbox. */
export interface OutgoingMessage {
  /** The message's id; the broker drops a second publication of it within the stream's window. */
  readonly id: string;
  readonly subject: string;
  /** The ordering key: messages of one key are sent one after another by whoever sends them. */
  readonly key: string;
  /** As `encodeEnvelope` makes them; further headers are allowed. */
  readonly headers: Readonly<Record<string, string>>;
  /** JSON text. */
  readonly body: string;
}

/** Where an acknowledged publication is kept. */
export interface PublishReceipt {
  readonly stream: string;
  readonly sequence: number;
  /** The stream had a message of this id already; `sequence` is that one's. */
  readonly duplicate: boolean;
}

/** A message as it came in, its envelope decoded once. */
export interface IncomingMessage {
  readonly subject: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly envelope: Envelope;
  readonly body: Uint8Array;
  /** The body; throws `UndecodableMessageError` when it is not JSON. An empty body is undefined. */
  json(): unknown;
}

/** What a request is answered with. */
export interface OutgoingReply {
  readonly headers: Readonly<Record<string, string>>;
  /** JSON text, or empty for no value. */
  readonly body: string;
}

/** One delivery of a durable message to a consumer's handler. */
export interface Delivery {
  readonly message: IncomingMessage;
  /** 1 at first; counts every delivery, also those that ended with a crash of the process. */
  readonly attempt: number;
  readonly stream: string;
  readonly sequence: number;
  /** How many messages wait behind this one in the consumer. */
  readonly pending: number;
  /** Tells the broker now that the handler still works; the broker is told regularly in any case. */
  working(): void;
}

export interface StopOptions {
  /** How long to wait for what is being handled, in milliseconds. Default 10,000. */
  readonly drainMs?: number;
}

/** Something that runs until it is stopped; stopping twice does nothing more. */
export interface Stoppable {
  stop(options?: StopOptions): Promise<void>;
}

export interface ConsumptionState {
  /** `healing`: it does not receive at the moment, `detail` says why, and it tries to by itself. */
  readonly status: 'running' | 'healing' | 'stopped';
  readonly detail?: string;
  /** Handlers running now. */
  readonly inFlight: number;
  /** How many messages waited in the consumer behind the last one that was delivered. */
  readonly pending: number;
  /** Set while it takes nothing because its handler fails on everything. */
  readonly paused?: ConsumerPause;
  /** Why messages wait that should not, if it was found out: see {@link StuckReason}. */
  readonly stuck?: StuckReason;
  /** Messages past their attempts whose dead letters could not be written; they are tried again. */
  readonly unwrittenDeadLetters: number;
}

/**
 * Why a consumer has messages and delivers none: `window-full`, as many as it may have are with processes that say
 * nothing; `paused-at-server`, somebody has paused it there; `no-delivery`, neither: it is opened again.
 */
export type StuckReason = 'window-full' | 'paused-at-server' | 'no-delivery';

/** A running consumer. Stopping it stops pulling, waits for its handlers, and gives the rest back. */
export interface Consumption extends Stoppable {
  state(): ConsumptionState;
  /** Changes `maxInFlight` from now on; what runs beyond a smaller limit is finished. */
  setMaxInFlight(maxInFlight: number): void;
  /** While it is paused: tries a message now, not only when it is time. */
  probeNow(): void;
  /** While it is paused: goes on with all messages; those that have failed are ordinary failures from then on. */
  resume(): void;
}

/** A subject that is served. Stopping it takes no more requests and waits for those that run. */
export interface Serving extends Stoppable {
  /** Changes `maxInFlight` from now on; what runs beyond a smaller limit is finished. */
  setMaxInFlight(maxInFlight: number): void;
}

/** Names a durable consumer; `consumer` of a topology. For an ordered consumer without the partition suffix. */
export interface ConsumerName {
  readonly stream: string;
  readonly name: string;
}

export interface ConsumeOptions {
  /** Whose dead letters they are: `dlq.<service>.<consumer>`. Default: the broker's service. */
  readonly service?: string;
  /**
   * Handlers that run at the same time, at most. Default 64. Twice as many messages are held; more in flight means
   * larger commit groups and more memory.
   */
  readonly maxInFlight?: number;
  /**
   * Failures before a message becomes a dead letter. Default 6. Of one that leaves no error, because its process ends:
   * half of them beside others, the other half alone.
   */
  readonly maxAttempts?: number;
  /** Delay before each further delivery. Default 250 ms, doubling up to 30,000 ms, half of it random. */
  readonly backoff?: BackoffOptions;
  /**
   * The consumer is one per partition (`<name>-p00` to `-p15`), each with one message at a time: the order of each
   * aggregate holds across processes. Must be what the topology says. Default false.
   */
  readonly ordered?: boolean;
  /**
   * How long a handler may take before the broker is no longer told that it works, in milliseconds, so that
   * another process gets the message. Default 600,000.
   */
  readonly stalledAfterMs?: number;
  /**
   * Whether a handler's error means that something it needs, such as its database, is away: no fault of the message.
   * The message is then held, the handler runs again with growing pauses until it is back, and no attempt is counted.
   * Default: no error does.
   */
  readonly isOutage?: (error: unknown) => boolean;
  /**
   * Pauses the consumer when its handler fails on everything, instead of sending a whole stream to the dead letters.
   * Default false: it never does.
   */
  readonly killSwitch?: KillSwitchOptions | false;
  /**
   * Awaited before a message is published as a dead letter: for answering whoever waits for it. When it throws, the
   * message is delivered again instead. Not called for a message whose envelope cannot be read.
   */
  readonly onDeadLetter?: (delivery: Delivery, error: unknown) => Promise<void> | void;
}

export interface RequestOptions {
  /** How long to wait for the answer, in milliseconds. */
  readonly timeoutMs: number;
  /** Stops waiting; the request may still be handled. */
  readonly signal?: AbortSignal;
}

export interface ServeOptions {
  /** Of all servers of a subject with one queue name, one gets each request. */
  readonly queue: string;
  /** Requests handled at the same time; one more is answered `OVERLOADED` at once. */
  readonly maxInFlight: number;
}

/** A message seen by {@link Broker.watch}: a hint, never the only way to learn something. */
export interface WatchedMessage {
  readonly subject: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

/** What a service says of itself to the NATS service API (`nats micro ls`). */
export interface ServiceAnnouncement {
  readonly name: string;
  /** Semantic version. */
  readonly version: string;
  readonly description: string;
  /** The request subjects that it serves. */
  readonly endpoints: readonly string[];
}

export interface BrokerHealth {
  readonly connected: boolean;
  /** Durable messages can be sent and every consumption runs. */
  readonly jetstream: boolean;
  /** What is wrong, if anything. */
  readonly detail?: string;
  /** What does not stop the service from working, but wants to be looked at: paused and stuck consumers, a line each. */
  readonly degraded?: readonly string[];
}

/** The seam between Flotilla and its message broker. Implemented on NATS and in memory. */
export interface Broker {
  /**
   * Stores a message durably and returns where. Throws `BrokerUnavailableError` or `PublishTimeoutError` when the
   * outcome is unknown (publishing again is safe: the id is recognised), `NoStreamError`, `PublishRefusedError`
   * or `MessageTooLargeError` when it was not stored.
   */
  publish(message: OutgoingMessage): Promise<PublishReceipt>;

  /**
   * Stores messages of one stream, of different keys, all or none of them, at the price of one flush. Throws
   * `BatchRefusedError` when the stream does not take them together (it has one of them already, for example), and as
   * {@link publish} does: then they are published one by one. Absent: the broker knows no batches.
   */
  publishBatch?(messages: readonly OutgoingMessage[]): Promise<PublishReceipt[]>;

  /**
   * Sends a request and waits for its answer, whatever its outcome. Throws `NoRespondersError` at once when nobody
   * serves the subject, `RequestTimeoutError`, `RequestAbortedError` or `BrokerUnavailableError`.
   */
  request(message: OutgoingMessage, options: RequestOptions): Promise<IncomingMessage>;

  /**
   * Answers requests. One whose deadline has passed, or that comes when `maxInFlight` run, is answered with a
   * failure and not handled; what the handler throws is answered as a failure.
   */
  serve(
    subject: string,
    options: ServeOptions,
    handler: (message: IncomingMessage) => Promise<OutgoingReply>,
  ): Promise<Serving>;

  /**
   * Runs `handler` for every message of a durable consumer that exists: one after another per key, keys
   * concurrently. When it resolves the message is acknowledged; when it throws, the error decides between another
   * delivery and a dead letter. Rejects when the consumer is not there; heals by itself from then on.
   */
  consume(
    consumer: ConsumerName,
    options: ConsumeOptions,
    handler: (delivery: Delivery) => Promise<void>,
  ): Promise<Consumption>;

  /** Sees messages as they pass, none of the past, none twice, some perhaps never. */
  watch(subject: string, handler: (message: WatchedMessage) => void): Promise<Stoppable>;

  announce(announcement: ServiceAnnouncement): Promise<Stoppable>;

  health(): BrokerHealth;

  /** Stops everything that was started here, waiting up to `drainMs` for handlers, then disconnects. */
  close(options?: StopOptions): Promise<void>;
}
