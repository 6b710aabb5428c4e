import { jetstreamManager, type JetStreamManager } from '@nats-io/jetstream';
import { PermissionViolationError, type Msg, type NatsConnection, type Status } from '@nats-io/nats-core';
import { encodeEnvelope, envelopeHeader, failureBody, type ReplyOutcome } from '@flotilla/contracts-protocol';
import { errorMessage, newId, PARTITIONS, systemClock, type Clock } from '@flotilla/kernel';
import type {
  Broker,
  BrokerHealth,
  ConsumeOptions,
  ConsumerName,
  Consumption,
  Delivery,
  IncomingMessage,
  OutgoingMessage,
  OutgoingReply,
  PublishReceipt,
  RequestOptions,
  ServeOptions,
  ServiceAnnouncement,
  Serving,
  Stoppable,
  StopOptions,
  WatchedMessage,
} from '../broker.ts';
import { resolveConsumeOptions } from '../consume.options.ts';
import { DEAD_LETTER_HEADROOM_BYTES, deadLetterHeader, type DeadLetterMessage } from '../dead-letter.ts';
import { DeliveryRunner } from '../delivery-runner.ts';
import { decodeMessage, decodeReply } from '../message.ts';
import {
  BatchRefusedError,
  BrokerUnavailableError,
  MessageTooLargeError,
  NoRespondersError,
  NoStreamError,
  PublishRefusedError,
  PublishTimeoutError,
  RequestAbortedError,
  RequestTimeoutError,
} from '../messaging.errors.ts';
import { stderrLog, type MessagingLog } from '../messaging-log.ts';
import { noMessagingMetrics, type MessagingMetrics } from '../messaging-metrics.ts';
import { RequestServer } from '../request-server.ts';
import { partitionConsumer, TRIAL_STREAM } from '../topology.ts';
import { Trials } from '../trials.ts';
import { answeredBy } from './answered-by.ts';
import { connectNats, inboxPrefixOf, type ConnectNatsOptions } from './connect-nats.ts';
import { drainSubscription } from './drain-subscription.ts';
import { headersOf, toNatsHeaders } from './nats-headers.ts';
import { bufferSizeFor, NatsConsumption } from './nats-consumption.ts';
import { DEFAULT_INLINE_MAX_BYTES, hasReference, MAX_PAYLOAD_BYTES, PayloadStore } from './payload-store.ts';
import { PullLoop, type PullOptions } from './pull-loop.ts';
import { QueueTrimmer } from './queue-trimmer.ts';
import { StuckDetector } from './stuck-detector.ts';
import { isNoResponders, ReplyDesk } from './reply-desk.ts';
import { announceService, type EndpointFacts } from './service-announcer.ts';

export interface NatsBrokerOptions extends Omit<ConnectNatsOptions, 'inboxPrefix'> {
  /** The service that it works for: the source of its failures, the owner of its dead letters. */
  readonly service: string;
  /** How long a stream may take to acknowledge a message, in milliseconds. Default 5,000. */
  readonly publishTimeoutMs?: number;
  readonly pull?: Partial<PullOptions>;
  /**
   * How often handled messages are taken out of the queues of commands and replies, in milliseconds. Default 5,000;
   * less often costs disk, more often a purge each time.
   */
  readonly trimQueuesEveryMs?: number;
  /**
   * How long a consumer may get nothing before the server is asked whether it should, in milliseconds. Default 60,000;
   * less often finds a stuck one later, more often costs an idle consumer a request each time.
   */
  readonly stuckAfterMs?: number;
  /**
   * Bodies up to this many bytes travel in their message, larger ones in the stream `PAYLOADS`. Default 262,144, and less
   * where the server's `max_payload` wants it. Smaller keeps the streams lean, larger saves a round trip.
   */
  readonly inlineMaxBytes?: number;
  readonly metrics?: MessagingMetrics;
  readonly log?: MessagingLog;
}

const DEFAULT_DRAIN_MS = 10_000;
const PROBE_MS = 2_000;

/** The {@link Broker} on NATS: core NATS for requests, JetStream for everything durable. */
export class NatsBroker implements Broker {
  /** For provisioning, verification and dead letters. */
  readonly connection: NatsConnection;
  readonly #service: string;
  readonly #inboxPrefix: string;
  readonly #clock: Clock;
  readonly #metrics: MessagingMetrics;
  readonly #log: MessagingLog;
  readonly #publishTimeoutMs: number;
  readonly #pull: PullOptions;
  readonly #trimQueuesEveryMs: number;
  readonly #stuckAfterMs: number;
  readonly #replies: ReplyDesk;
  readonly #payloads: PayloadStore;
  readonly #manager: JetStreamManager;
  readonly #trials: Trials;
  readonly #consumptions = new Set<NatsConsumption>();
  readonly #stoppables = new Set<Stoppable>();
  readonly #endpoints = new Map<string, EndpointFacts>();
  #connected = true;
  #disconnectReason = 'disconnected from the server';
  #jetstreamProblem: string | undefined;
  #probing = false;
  #sweeping = false;
  #closing: Promise<void> | undefined;

  private constructor(connection: NatsConnection, manager: JetStreamManager, options: NatsBrokerOptions) {
    this.connection = connection;
    this.#manager = manager;
    this.#service = options.service;
    this.#inboxPrefix = inboxPrefixOf(options.service);
    this.#clock = options.clock ?? systemClock;
    this.#metrics = options.metrics ?? noMessagingMetrics;
    this.#log = options.log ?? stderrLog;
    this.#publishTimeoutMs = options.publishTimeoutMs ?? 5_000;
    this.#pull = { expiresMs: 30_000, heartbeatMs: 3_000, ...options.pull };
    this.#trimQueuesEveryMs = options.trimQueuesEveryMs ?? 5_000;
    this.#stuckAfterMs = options.stuckAfterMs ?? 60_000;
    this.#replies = new ReplyDesk(connection, this.#inboxPrefix, this.#clock);
    this.#payloads = new PayloadStore(connection, {
      inlineMaxBytes: options.inlineMaxBytes ?? DEFAULT_INLINE_MAX_BYTES,
      readTimeoutMs: this.#publishTimeoutMs,
      store: (subject, chunk) => this.#publish(subject, {}, chunk, 0),
    });
    this.#trials = new Trials(options.service, {
      read: async (subject) => {
        const last = { last_by_subj: subject };
        const stored = await answeredBy(TRIAL_STREAM, () => manager.direct.getMessage(TRIAL_STREAM, last));
        return stored?.string();
      },
      write: async (subject, text) => {
        await this.#publish(subject, {}, Buffer.from(text), 0);
      },
    });
    void this.#watchStatus();
    void connection.closed().then((error) => this.#onClosed(error));
  }

  /** Connects; see {@link connectNats} for the errors. From then on it reconnects for ever. */
  static async connect(options: NatsBrokerOptions): Promise<NatsBroker> {
    const connection = await connectNats({ ...options, inboxPrefix: inboxPrefixOf(options.service) });
    const manager = await jetstreamManager(connection, { checkAPI: false });
    return new NatsBroker(connection, manager, options);
  }

  async publish(message: OutgoingMessage): Promise<PublishReceipt> {
    const { subject, id } = message;
    const body = Buffer.from(message.body);
    if (body.length > this.#payloads.inlineBytes) {
      // The body is there before the message is, and the message is as small as a message.
      const headers = { ...message.headers, ...(await this.#putBody(subject, body)), 'Nats-Msg-Id': id };
      return this.#publish(subject, headers, none, DEAD_LETTER_HEADROOM_BYTES);
    }
    return this.#publish(
      subject,
      { ...message.headers, 'Nats-Msg-Id': id },
      body,
      DEAD_LETTER_HEADROOM_BYTES,
    );
  }

  /** One stream stores them in one piece, with consecutive sequences. */
  publishBatch(messages: readonly OutgoingMessage[]): Promise<PublishReceipt[]> {
    const subject = messages[0]?.subject ?? '';
    const batch = newId();
    // What is thrown in here rejects.
    return new Promise((resolve, reject) => {
      this.#assertConnected('Publishing to', subject);
      const encoded = messages.map((message, index) => {
        const body = Buffer.from(message.body);
        const headers: Record<string, string> = {
          ...message.headers,
          'Nats-Msg-Id': message.id,
          'Nats-Batch-Id': batch,
          'Nats-Batch-Sequence': String(index + 1),
        };
        if (index === messages.length - 1) headers['Nats-Batch-Commit'] = '1';
        this.#assertSize(message.subject, headers, body, DEAD_LETTER_HEADROOM_BYTES);
        return { subject: message.subject, body, headers: toNatsHeaders(headers) };
      });
      const reply = this.#replies.expect(
        subject,
        this.#publishTimeoutMs,
        (answer) => resolveWith(() => readBatchReceipt(subject, messages.length, answer), resolve, reject),
        reject,
        () => new PublishTimeoutError(subject, this.#publishTimeoutMs),
      );
      for (const [index, each] of encoded.entries()) {
        const last = index === encoded.length - 1;
        this.#send(each.subject, each.body, each.headers, last ? reply : undefined, (error) => {
          this.#replies.cancel(reply);
          reject(error);
        });
      }
    });
  }

  request(message: OutgoingMessage, options: RequestOptions): Promise<IncomingMessage> {
    const body = Buffer.from(message.body);
    return body.length > this.#payloads.inlineBytes
      ? this.#requestWithStoredBody(message, body, options)
      : this.#request(message, body, options);
  }

  async #requestWithStoredBody(
    message: OutgoingMessage,
    body: Uint8Array,
    options: RequestOptions,
  ): Promise<IncomingMessage> {
    const headers = { ...message.headers, ...(await this.#putBody(message.subject, body)) };
    return this.#request({ ...message, headers }, none, options);
  }

  #request(
    message: OutgoingMessage,
    body: Uint8Array,
    { timeoutMs, signal }: RequestOptions,
  ): Promise<IncomingMessage> {
    const { subject } = message;
    // What is thrown in here rejects.
    return new Promise((resolve, reject) => {
      if (signal?.aborted) throw new RequestAbortedError(subject, signal.reason);
      this.#assertConnected('Request to', subject);
      const headers = toNatsHeaders(message.headers);
      this.#assertSize(subject, message.headers, body, 0);
      const settled = (): void => signal?.removeEventListener('abort', aborted);
      const reply = this.#replies.expect(
        subject,
        timeoutMs,
        (answer) => {
          settled();
          if (isNoResponders(answer)) reject(new NoRespondersError(subject));
          else resolveWith(() => this.#answerOf(answer, message), resolve, reject);
        },
        (error) => {
          settled();
          reject(error);
        },
        () => new RequestTimeoutError(subject, timeoutMs),
      );
      const aborted = (): void => {
        this.#replies.cancel(reply);
        reject(new RequestAbortedError(subject, signal?.reason));
      };
      signal?.addEventListener('abort', aborted, { once: true });
      this.#send(subject, body, headers, reply, (error) => {
        settled();
        reject(error);
      });
    });
  }

  #answerOf(answer: Msg, request: OutgoingMessage): IncomingMessage | Promise<IncomingMessage> {
    const reply = readReply(answer, request);
    // Whatever inbox it came to, the body of an answer is with those of its request's subject.
    return hasReference(reply.headers) ? this.#payloads.resolve(reply) : reply;
  }

  async serve(
    subject: string,
    options: ServeOptions,
    handler: (message: IncomingMessage) => Promise<OutgoingReply>,
  ): Promise<Serving> {
    const server = new RequestServer({
      subject,
      service: this.#service,
      maxInFlight: options.maxInFlight,
      handler,
      complete: (message) => (hasReference(message.headers) ? this.#payloads.resolve(message) : undefined),
      clock: this.#clock,
      metrics: this.#metrics,
      log: this.#log,
    });
    const answer = async (message: Msg): Promise<void> => {
      const headers = headersOf(message);
      let reply = await server.answer(message.subject, headers, message.data);
      // A character is three bytes at most: most answers are known to be small without counting.
      if (reply.body.length * 3 > this.#payloads.inlineBytes)
        reply = await this.#lightened(message.subject, reply, (error) =>
          server.failed(message.subject, headers, error),
        );
      try {
        // The client's own encoding of a text takes three times as long.
        message.respond(Buffer.from(reply.body), { headers: toNatsHeaders(withServiceError(reply.headers)) });
      } catch (error) {
        this.#log.error({ subject, error: errorMessage(error) }, 'An answer could not be sent');
      }
    };
    const subscription = this.connection.subscribe(subject, {
      queue: options.queue,
      callback: (error, message) => {
        if (error === null) void answer(message);
        else this.#log.error({ subject, error: errorMessage(error) }, 'Requests cannot be served');
      },
    });
    this.#endpoints.set(subject, { queue: options.queue, stats: server.stats });
    // The server has the subscription before anybody is told that the service is ready.
    await this.connection.flush();
    const stoppable = this.#stoppable(async (drainMs) => {
      this.#endpoints.delete(subject);
      await drainSubscription(subscription, this.#clock);
      await server.drained(drainMs);
    });
    return { stop: (how) => stoppable.stop(how), setMaxInFlight: (most) => (server.maxInFlight = most) };
  }

  async consume(
    consumer: ConsumerName,
    input: ConsumeOptions,
    handler: (delivery: Delivery) => Promise<void>,
  ): Promise<Consumption> {
    const options = resolveConsumeOptions(consumer.name, this.#service, input);
    // The runner is made first, and has somebody to tell only once messages come.
    const flow: { consumption?: NatsConsumption } = {};
    const runner = new DeliveryRunner({
      trials: this.#trials,
      consumer: consumer.name,
      onPermit: (messages) => {
        if (flow.consumption) flow.consumption.permit = messages;
      },
      options: {
        ...options,
        ...(options.onDeadLetter && { onDeadLetter: this.#withBody(options.onDeadLetter, true) }),
      },
      handler: this.#withBody(handler),
      publishDeadLetter: (message) => this.#publishDeadLetter(message),
      ackWaitMs: () => flow.consumption?.ackWaitMs ?? 30_000,
      clock: this.#clock,
      metrics: this.#metrics,
      log: this.#log,
    });
    const names = options.ordered
      ? Array.from({ length: PARTITIONS }, (_, partition) => partitionConsumer(consumer.name, partition))
      : [consumer.name];
    const consumption = new NatsConsumption(
      consumer.name,
      runner,
      names.map(
        (name) => (receive) =>
          new PullLoop({
            connection: this.connection,
            manager: this.#manager,
            inboxPrefix: this.#inboxPrefix,
            stream: consumer.stream,
            name,
            bufferSize: bufferSizeFor(options.maxInFlight),
            receive,
            clock: this.#clock,
            metrics: this.#metrics,
            log: this.#log,
            ...this.#pull,
          }),
      ),
      {
        onSweep: (pending, unwritten) => {
          this.#metrics.pending(consumer.name, pending);
          this.#metrics.deadLettersUnwritten(consumer.name, unwritten);
        },
        onStopped: (stopped) => this.#consumptions.delete(stopped),
        makeDetector: (loops) =>
          new StuckDetector({
            consumer: consumer.name,
            loops,
            afterMs: this.#stuckAfterMs,
            clock: this.#clock,
            metrics: this.#metrics,
            log: this.#log,
          }),
      },
    );
    flow.consumption = consumption;
    this.#consumptions.add(consumption);
    await consumption.start(() =>
      QueueTrimmer.of({
        manager: this.#manager,
        stream: consumer.stream,
        consumer: consumer.name,
        everyMs: this.#trimQueuesEveryMs,
        clock: this.#clock,
        log: this.#log,
      }),
    );
    this.#keepSweeping();
    return consumption;
  }

  async watch(subject: string, handler: (message: WatchedMessage) => void): Promise<Stoppable> {
    const subscription = this.connection.subscribe(subject, {
      callback: (error, message) => {
        if (error !== null) {
          this.#log.error({ subject, error: errorMessage(error) }, 'The subject cannot be watched');
          return;
        }
        try {
          handler({
            subject: message.subject,
            headers: headersOf(message),
            body: message.data,
          });
        } catch (failure) {
          this.#log.error({ subject, error: errorMessage(failure) }, 'A watcher failed');
        }
      },
    });
    await this.connection.flush();
    return this.#stoppable(async () => {
      await drainSubscription(subscription, this.#clock);
    });
  }

  async announce(announcement: ServiceAnnouncement): Promise<Stoppable> {
    const announced = announceService(
      this.connection,
      announcement,
      (subject) => this.#endpoints.get(subject),
      this.#clock,
      this.#log,
    );
    await this.connection.flush();
    return this.#stoppable(() => announced.stop());
  }

  health(): BrokerHealth {
    if (!this.#connected) return { connected: false, jetstream: false, detail: this.#disconnectReason };
    const problems = [...this.#consumptions].flatMap((consumption) => consumption.problems());
    if (this.connection.info?.jetstream !== true) problems.unshift('the server has JetStream switched off');
    if (this.#jetstreamProblem !== undefined) problems.unshift(this.#jetstreamProblem);
    const degraded = [...this.#consumptions].flatMap((consumption) => consumption.degraded());
    return {
      connected: true,
      jetstream: problems.length === 0,
      ...(problems.length > 0 && { detail: problems.join('; ') }),
      ...(degraded.length > 0 && { degraded }),
    };
  }

  close(options: StopOptions = {}): Promise<void> {
    this.#closing ??= this.#close(options.drainMs ?? DEFAULT_DRAIN_MS);
    return this.#closing;
  }

  async #close(drainMs: number): Promise<void> {
    const running = [...this.#consumptions, ...this.#stoppables];
    const results = await Promise.allSettled(running.map((each) => each.stop({ drainMs })));
    for (const result of results) {
      if (result.status === 'rejected') {
        this.#log.warn({ error: errorMessage(result.reason) }, 'Something did not stop in good order');
      }
    }
    this.#replies.close(new BrokerUnavailableError('Waiting for an answer', 'the broker was closed'));
    if (!this.connection.isClosed()) {
      // Acknowledgements on their way out go first, unless there is nobody to take them.
      if (this.#connected) await this.#flushed();
      await this.connection.close();
    }
  }

  async #flushed(): Promise<void> {
    const patience = new AbortController();
    try {
      await Promise.race([this.connection.flush(), this.#clock.sleep(1_000, patience.signal)]);
    } catch (error) {
      this.#log.warn(
        { error: errorMessage(error) },
        'Disconnected while closing: some messages will come again',
      );
    } finally {
      patience.abort();
    }
  }

  async #publish(
    subject: string,
    headers: Readonly<Record<string, string>>,
    body: Uint8Array,
    headroomBytes: number,
  ): Promise<PublishReceipt> {
    this.#assertConnected('Publishing to', subject);
    const encoded = toNatsHeaders(headers);
    this.#assertSize(subject, headers, body, headroomBytes);
    return new Promise((resolve, reject) => {
      const reply = this.#replies.expect(
        subject,
        this.#publishTimeoutMs,
        (answer) => resolveWith(() => this.#readReceipt(subject, answer), resolve, reject),
        reject,
        () => {
          this.#jetstreamFailed(`no acknowledgement of a message to ${subject}`);
          return new PublishTimeoutError(subject, this.#publishTimeoutMs);
        },
      );
      this.#send(subject, body, encoded, reply, reject);
    });
  }

  async #publishDeadLetter(message: DeadLetterMessage): Promise<void> {
    const headers: Record<string, string> = { ...message.headers, 'Nats-Msg-Id': message.id };
    try {
      await this.#publish(message.subject, headers, message.body, 0);
    } catch (error) {
      if (!(error instanceof MessageTooLargeError)) throw error;
      // It was published by somebody who left no room: why it died matters more than the trace of it.
      const {
        [deadLetterHeader.errorStack]: _stack,
        [deadLetterHeader.history]: _history,
        ...rest
      } = headers;
      await this.#publish(message.subject, rest, message.body, 0);
    }
  }

  /** Stores a body that is too large for its message; what it throws is what a publication would throw. */
  async #putBody(subject: string, body: Uint8Array): Promise<Readonly<Record<string, string>>> {
    this.#assertConnected('Sending to', subject);
    if (body.length > MAX_PAYLOAD_BYTES)
      throw new MessageTooLargeError(subject, body.length, MAX_PAYLOAD_BYTES);
    return this.#payloads.put(subject, body);
  }

  /** An answer as small as a message, its body elsewhere if it has to be; a failure if that is not possible. */
  async #lightened(
    subject: string,
    reply: OutgoingReply,
    failed: (error: unknown) => OutgoingReply,
  ): Promise<OutgoingReply> {
    const body = Buffer.from(reply.body);
    if (body.length <= this.#payloads.inlineBytes) return reply;
    try {
      return { headers: { ...reply.headers, ...(await this.#putBody(subject, body)) }, body: '' };
    } catch (error) {
      this.#log.error({ subject, error: errorMessage(error) }, 'A large answer could not be stored');
      return failed(error);
    }
  }

  /**
   * Gives a handler the whole message where its body is elsewhere; the dead letter keeps the reference. `anyway`: as it
   * came, when the body is not to be had.
   */
  #withBody<A extends unknown[], R>(
    handle: (delivery: Delivery, ...rest: A) => R,
    anyway = false,
  ): (delivery: Delivery, ...rest: A) => R | Promise<Awaited<R>> {
    return (delivery, ...rest) => {
      if (!hasReference(delivery.message.headers)) return handle(delivery, ...rest);
      const complete = async (): Promise<Awaited<R>> => {
        let whole = delivery;
        try {
          whole = withMessage(delivery, await this.#payloads.resolve(delivery.message));
        } catch (error) {
          if (!anyway) throw error;
        }
        return await handle(whole, ...rest);
      };
      return complete();
    };
  }

  #readReceipt(subject: string, answer: Msg): PublishReceipt {
    if (isNoResponders(answer)) throw new NoStreamError(subject);
    const receipt = JSON.parse(answer.string()) as {
      stream?: string;
      seq?: number;
      duplicate?: boolean;
      error?: { code: number; err_code?: number; description?: string };
    };
    if (receipt.error !== undefined) {
      const { code, err_code: errorNumber, description } = receipt.error;
      this.#metrics.publishRefused(subject);
      const reason = `${description ?? 'no reason given'} (${errorNumber ?? code})`;
      this.#log.error({ subject, reason }, 'The stream refused a message');
      throw new PublishRefusedError(subject, reason);
    }
    if (receipt.stream === undefined || receipt.seq === undefined) {
      throw new PublishRefusedError(
        subject,
        `something that is no stream answered: ${answer.string().slice(0, 200)}`,
      );
    }
    return { stream: receipt.stream, sequence: receipt.seq, duplicate: receipt.duplicate === true };
  }

  #send(
    subject: string,
    body: Uint8Array,
    headers: ReturnType<typeof toNatsHeaders>,
    reply: string | undefined,
    reject: (error: Error) => void,
  ): void {
    try {
      this.connection.publish(subject, body, reply === undefined ? { headers } : { headers, reply });
    } catch (error) {
      if (reply !== undefined) this.#replies.cancel(reply);
      reject(new BrokerUnavailableError(`Sending to ${subject}`, errorMessage(error), error));
    }
  }

  #assertConnected(what: string, subject: string): void {
    if (this.#connected) return;
    // Not buffered: the caller has an outbox or a person waiting, and each knows better what to do.
    throw new BrokerUnavailableError(`${what} ${subject}`, this.#disconnectReason);
  }

  #assertSize(
    subject: string,
    headers: Readonly<Record<string, string>>,
    body: Uint8Array,
    headroomBytes: number,
  ): void {
    const maxBytes = (this.connection.info?.max_payload ?? 1_048_576) - headroomBytes;
    // Headers are counted exactly only when it may matter.
    if (body.length + 4_096 <= maxBytes && Object.keys(headers).length < 20) return;
    let bytes = body.length + 12;
    for (const name in headers) bytes += Buffer.byteLength(`${name}: ${headers[name]}\r\n`);
    if (bytes > maxBytes) throw new MessageTooLargeError(subject, bytes, maxBytes);
  }

  #stoppable(stop: (drainMs: number) => Promise<void>): Stoppable {
    let stopped: Promise<void> | undefined;
    const stoppable: Stoppable = {
      stop: (options = {}) => {
        this.#stoppables.delete(stoppable);
        stopped ??= stop(options.drainMs ?? DEFAULT_DRAIN_MS);
        return stopped;
      },
    };
    this.#stoppables.add(stoppable);
    return stoppable;
  }

  /** One timer for the heartbeats of everything in flight and for stalled pulls; none when nothing is consumed. */
  #keepSweeping(): void {
    if (this.#sweeping || this.#consumptions.size === 0) return;
    this.#sweeping = true;
    let everyMs = this.#pull.heartbeatMs;
    for (const consumption of this.#consumptions) everyMs = Math.min(everyMs, consumption.heartbeatMs);
    this.#clock.after(Math.min(1_000, Math.max(50, everyMs / 2)), () => {
      this.#sweeping = false;
      for (const consumption of this.#consumptions) consumption.sweep();
      this.#keepSweeping();
    });
  }

  async #watchStatus(): Promise<void> {
    for await (const status of this.connection.status()) this.#onStatus(status);
  }

  #onStatus(status: Status): void {
    switch (status.type) {
      case 'disconnect':
        this.#connected = false;
        this.#disconnectReason = `disconnected from ${status.server}, reconnecting`;
        this.#metrics.disconnected();
        this.#log.warn({ server: status.server }, 'Disconnected from NATS');
        this.#replies.rejectAll(new BrokerUnavailableError('Waiting for an answer', 'the connection broke'));
        for (const consumption of this.#consumptions) consumption.disconnected();
        break;
      case 'reconnect':
        this.#connected = true;
        this.#metrics.reconnected();
        this.#log.warn({ server: status.server }, 'Reconnected to NATS');
        for (const consumption of this.#consumptions) consumption.reconnected();
        break;
      case 'error':
        this.#onError(status.error);
        break;
      case 'slowConsumer':
        this.#metrics.slowConsumer(status.sub.getSubject());
        this.#log.warn(
          { subject: status.sub.getSubject(), pending: status.pending },
          'A subscription falls behind',
        );
        break;
      case 'staleConnection':
      case 'ldm':
        this.#log.warn({ status: status.type }, 'The NATS server is going away');
        break;
      case 'reconnecting':
      case 'update':
      case 'ping':
      case 'forceReconnect':
      case 'close':
        break;
    }
  }

  #onError(error: Error): void {
    if (error instanceof PermissionViolationError && error.operation === 'publish') {
      this.#metrics.publishRefused(error.subject);
      this.#log.error(
        { subject: error.subject },
        'NATS refused a publication: the user may not publish there',
      );
      this.#replies.reject(
        error.subject,
        new PublishRefusedError(error.subject, 'the user may not publish there'),
      );
      return;
    }
    this.#log.error({ error: errorMessage(error) }, 'NATS reports an error');
  }

  #onClosed(error: void | Error): void {
    this.#connected = false;
    this.#disconnectReason = 'the connection is closed';
    this.#replies.rejectAll(
      new BrokerUnavailableError('Waiting for an answer', this.#disconnectReason, error),
    );
    if (this.#closing === undefined) {
      this.#log.error(
        { error: errorMessage(error ?? 'no reason') },
        'The connection to NATS was closed for good',
      );
    }
  }

  /** Durable messages do not get through: said in the health until the server answers again. */
  #jetstreamFailed(problem: string): void {
    this.#jetstreamProblem = problem;
    if (this.#probing) return;
    this.#probing = true;
    void this.#probe();
  }

  async #probe(): Promise<void> {
    try {
      while (
        this.#jetstreamProblem !== undefined &&
        this.#closing === undefined &&
        !this.connection.isClosed()
      ) {
        try {
          await this.#manager.getAccountInfo();
          this.#jetstreamProblem = undefined;
        } catch (error) {
          this.#jetstreamProblem = `JetStream does not answer: ${errorMessage(error)}`;
          await this.#clock.sleep(PROBE_MS);
        }
      }
    } finally {
      this.#probing = false;
    }
  }
}

const none = new Uint8Array();

/** https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-50.md: the last sequence, and how many. */
function readBatchReceipt(subject: string, size: number, answer: Msg): PublishReceipt[] {
  if (isNoResponders(answer)) throw new NoStreamError(subject);
  const { stream, seq, count, error } = JSON.parse(answer.string()) as {
    stream?: string;
    seq?: number;
    count?: number;
    error?: { code: number; err_code?: number; description?: string };
  };
  if (error !== undefined || stream === undefined || seq === undefined || count !== size) {
    const reason = `${error?.description ?? answer.string().slice(0, 200)} (${error?.err_code ?? error?.code ?? 'no error'})`;
    throw new BatchRefusedError(subject, size, reason);
  }
  return Array.from({ length: size }, (_, index) => ({
    stream,
    sequence: seq - size + 1 + index,
    duplicate: false,
  }));
}

function withMessage(delivery: Delivery, message: IncomingMessage): Delivery {
  const { attempt, stream, sequence, pending } = delivery;
  return { message, attempt, stream, sequence, pending, working: () => delivery.working() };
}

function resolveWith<T>(read: () => T, resolve: (value: T) => void, reject: (error: unknown) => void): void {
  try {
    resolve(read());
  } catch (error) {
    reject(error);
  }
}

/** The answer to a request. One from a plain client need not have an envelope, or says by NATS's own headers that it failed. */
function readReply(answer: Msg, request: OutgoingMessage): IncomingMessage {
  const headers = headersOf(answer);
  if (envelopeHeader.id in headers) return decodeReply(answer.subject, headers, answer.data, request.headers);
  const errorNumber = headers['Nats-Service-Error-Code'];
  const id = newId();
  const outcome: ReplyOutcome = errorNumber === undefined ? 'ok' : 'failed';
  const envelope = encodeEnvelope({
    id,
    type: request.headers[envelopeHeader.type] ?? 'unknown',
    source: 'unknown',
    time: new Date().toISOString(),
    subject: request.key,
    correlationId: request.headers[envelopeHeader.correlationId] ?? request.id,
    causationId: request.id,
    outcome,
  });
  const body =
    errorNumber === undefined
      ? answer.data
      : Buffer.from(
          JSON.stringify(
            failureBody({
              code: `SERVICE_ERROR_${errorNumber}`,
              message: headers['Nats-Service-Error'] ?? 'the service gave no reason',
            }),
          ),
        );
  return decodeMessage(answer.subject, { ...headers, ...envelope }, body);
}

/** So that `nats request` and clients of the NATS service API see a failure as one. */
function withServiceError(headers: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const outcome = headers[envelopeHeader.outcome];
  if (outcome !== 'failed' && outcome !== 'refused') return headers;
  return {
    ...headers,
    'Nats-Service-Error-Code': outcome === 'refused' ? '409' : '500',
    'Nats-Service-Error': outcome,
  };
}
