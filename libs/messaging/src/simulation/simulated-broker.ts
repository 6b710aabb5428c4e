import { newId, PARTITIONS } from '@flotilla/kernel';
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
  Serving,
  Stoppable,
  StopOptions,
  WatchedMessage,
} from '../broker.ts';
import { resolveConsumeOptions } from '../consume.options.ts';
import type { DeadLetterMessage } from '../dead-letter.ts';
import { DeliveryRunner, type RawDelivery } from '../delivery-runner.ts';
import { decodeReply } from '../message.ts';
import {
  BrokerUnavailableError,
  NoRespondersError,
  PublishTimeoutError,
  RequestAbortedError,
  RequestTimeoutError,
} from '../messaging.errors.ts';
import { stderrLog, type MessagingLog } from '../messaging-log.ts';
import { noMessagingMetrics, type MessagingMetrics } from '../messaging-metrics.ts';
import { RequestServer } from '../request-server.ts';
import { partitionConsumer, TRIAL_STREAM } from '../topology.ts';
import { Trials } from '../trials.ts';
import type { SimulatedHost } from './network.ts';
import type { ConnectOptions, SimulatedJetStream } from './simulated-jetstream.ts';
import type { Subscription } from './simulated-stream.ts';

/** As `NatsBroker`'s. */
const PUBLISH_TIMEOUT_MS = 5_000;
const DEFAULT_DRAIN_MS = 10_000;

/** The {@link Broker} of one simulated process: its connection to the {@link SimulatedJetStream}. */
export class SimulatedBroker implements Broker {
  readonly #server: SimulatedJetStream;
  readonly #service: string;
  readonly #host: SimulatedHost;
  readonly #metrics: MessagingMetrics;
  readonly #log: MessagingLog;
  readonly #running = new Set<Stoppable>();
  readonly #trials: Trials;
  #closed = false;

  constructor(server: SimulatedJetStream, options: ConnectOptions) {
    this.#server = server;
    this.#service = options.service;
    this.#host = options.host;
    this.#metrics = options.metrics ?? noMessagingMetrics;
    this.#log = options.log ?? stderrLog;
    this.#trials = new Trials(options.service, {
      read: (subject) => this.#lastText(TRIAL_STREAM, subject),
      write: async (subject, text) => {
        await this.#store(newId(), subject, {}, Buffer.from(text));
      },
    });
  }

  publish({ id, subject, headers, body }: OutgoingMessage): Promise<PublishReceipt> {
    return this.#store(id, subject, headers, Buffer.from(body));
  }

  request(message: OutgoingMessage, { timeoutMs, signal }: RequestOptions): Promise<IncomingMessage> {
    const { subject, headers } = message;
    const { network } = this.#server;
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) throw new RequestAbortedError(subject, signal.reason);
      this.#assertConnected(`Request to ${subject}`);
      const timer = network.clock.after(timeoutMs, () =>
        settle(() => reject(new RequestTimeoutError(subject, timeoutMs))),
      );
      const settle = (action: () => void): void => {
        timer.cancel();
        signal?.removeEventListener('abort', aborted);
        action();
      };
      const aborted = (): void => settle(() => reject(new RequestAbortedError(subject, signal?.reason)));
      signal?.addEventListener('abort', aborted, { once: true });
      const back = (what: string, action: () => void): void =>
        this.#send('answer', what, () => this.#inHost(() => settle(action)));
      this.#send('request', `request ${subject}`, () => {
        this.#server.show({ subject, headers, body: Buffer.from(message.body) });
        const endpoint = this.#server.endpointOf(subject);
        if (endpoint === undefined) {
          back(`nobody answers ${subject}`, () => reject(new NoRespondersError(subject)));
          return;
        }
        void endpoint.host
          .run(() => endpoint.server.answer(subject, headers, Buffer.from(message.body)))
          .then((reply) => {
            if (!endpoint.host.alive) return;
            back(`answer to ${subject}`, () =>
              resolve(decodeReply(subject, reply.headers, Buffer.from(reply.body), headers)),
            );
          });
      });
    });
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
      clock: this.#server.network.clock,
      metrics: this.#metrics,
      log: this.#log,
    });
    const endpoint = { subject, host: this.#host, server };
    this.#server.endpoints.push(endpoint);
    const stoppable = this.#stoppable(async (drainMs) => {
      this.#server.endpoints.splice(this.#server.endpoints.indexOf(endpoint), 1);
      await server.drained(drainMs);
    });
    return { stop: (how) => stoppable.stop(how), setMaxInFlight: (most) => (server.maxInFlight = most) };
  }

  async consume(
    consumer: ConsumerName,
    input: ConsumeOptions,
    handler: (delivery: Delivery) => Promise<void>,
  ): Promise<Consumption> {
    const server = this.#server;
    const { clock } = server.network;
    const options = resolveConsumeOptions(consumer.name, this.#service, input);
    const names = options.ordered
      ? Array.from({ length: PARTITIONS }, (_, partition) => partitionConsumer(consumer.name, partition))
      : [consumer.name];
    const sources = () => names.map((name) => server.consumer(consumer.stream, name));
    const ackWaitMs = Math.min(...sources().map((source) => source.ackWaitMs));
    const runner = new DeliveryRunner({
      consumer: consumer.name,
      trials: this.#trials,
      options,
      handler,
      publishDeadLetter: (letter) => this.#publishDeadLetter(letter),
      ackWaitMs: () => ackWaitMs,
      clock,
      metrics: this.#metrics,
      log: this.#log,
    });
    let held = 0;
    let open = true;
    let maxInFlight = options.maxInFlight;
    const look = (): void => {
      for (const source of sources()) source.look();
    };
    const receive = (delivery: RawDelivery): void => {
      held++;
      runner.receive({
        ...delivery,
        released: () => {
          held--;
          look();
        },
      });
    };
    const subscribe = (): void => {
      for (const source of sources()) {
        const subscription: Subscription = {
          host: this.#host,
          get open() {
            return open;
          },
          room: () => (open ? maxInFlight * 2 - held : 0),
          receive,
          arrivesMs: 0,
          coming: 0,
        };
        source.subscribe(subscription);
      }
    };
    subscribe();
    const ends = server.onStreamMade(consumer.stream, () => {
      if (this.#host.alive) this.#host.run(subscribe);
    });
    const everyMs = ackWaitMs / 3;
    const sweep = (): void => {
      if (!open) return;
      runner.heartbeat(everyMs);
      clock.after(everyMs / 2, sweep);
    };
    clock.after(everyMs / 2, sweep);
    const stoppable = this.#stoppable(async (drainMs) => {
      open = false;
      ends();
      await runner.stop(drainMs);
    });
    return {
      stop: (how) => stoppable.stop(how),
      setMaxInFlight: (most) => {
        maxInFlight = most;
        runner.maxInFlight = most;
        look();
      },
      probeNow: () => runner.probeNow(),
      resume: () => runner.resume(),
      state: () => ({
        status: open ? (server.up ? 'running' : 'healing') : 'stopped',
        inFlight: runner.inFlight,
        pending: sources().reduce((sum, { waiting }) => sum + waiting, 0),
        unwrittenDeadLetters: runner.unwrittenDeadLetters,
        ...(runner.pause !== undefined && { paused: runner.pause }),
      }),
    };
  }

  async watch(subject: string, handler: (message: WatchedMessage) => void): Promise<Stoppable> {
    const end = this.#server.watch({ subject, host: this.#host, handler });
    return this.#stoppable(async () => end());
  }

  async announce(): Promise<Stoppable> {
    return this.#stoppable(async () => undefined);
  }

  health(): BrokerHealth {
    const connected = this.#server.up && !this.#closed;
    return { connected, jetstream: connected, ...(!connected && { detail: 'not connected' }) };
  }

  async close(options: StopOptions = {}): Promise<void> {
    await Promise.all([...this.#running].map((each) => each.stop(options)));
    this.#closed = true;
  }

  async #publishDeadLetter({ id, subject, headers, body }: DeadLetterMessage): Promise<void> {
    await this.#store(id, subject, headers, body);
  }

  #store(
    id: string,
    subject: string,
    headers: Readonly<Record<string, string>>,
    body: Uint8Array,
  ): Promise<PublishReceipt> {
    const { network } = this.#server;
    return new Promise((resolve, reject) => {
      this.#assertConnected(`Publishing to ${subject}`);
      const timer = network.clock.after(PUBLISH_TIMEOUT_MS, () =>
        reject(new PublishTimeoutError(subject, PUBLISH_TIMEOUT_MS)),
      );
      this.#send('publish', `publish ${subject}`, () => {
        let answer: () => void;
        let place: string;
        try {
          const receipt = this.#server.store(id, subject, headers, body);
          place = `${receipt.stream}/${receipt.sequence}${receipt.duplicate ? ' (again)' : ''}`;
          answer = () => resolve(receipt);
        } catch (error) {
          place = String(error);
          const refusal = error instanceof Error ? error : new Error(place);
          answer = () => reject(refusal);
        }
        this.#send('publish-ack', `stored ${subject} at ${place}`, () =>
          this.#inHost(() => {
            timer.cancel();
            answer();
          }),
        );
      });
    });
  }

  #lastText(stream: string, subject: string): Promise<string | undefined> {
    const { network } = this.#server;
    return new Promise((resolve, reject) => {
      this.#assertConnected(`Reading ${subject}`);
      const timer = network.clock.after(PUBLISH_TIMEOUT_MS, () =>
        reject(new RequestTimeoutError(subject, PUBLISH_TIMEOUT_MS)),
      );
      this.#send('request', `read ${subject}`, () => {
        const last = this.#server.messages(stream).findLast((each) => each.subject === subject);
        this.#send('answer', `${subject} is ${last === undefined ? 'nowhere' : 'read'}`, () =>
          this.#inHost(() => {
            timer.cancel();
            resolve(last && Buffer.from(last.body).toString());
          }),
        );
      });
    });
  }

  /** Sends something across; it does not arrive when the network loses it, or the server is away. */
  #send(kind: 'publish' | 'publish-ack' | 'request' | 'answer', what: string, arrive: () => void): void {
    if (!this.#host.alive && kind !== 'publish-ack' && kind !== 'answer') return;
    const { network } = this.#server;
    const { lost, delayMs } = network.crossing(kind, what);
    if (lost) return;
    const { restarts } = this.#server;
    network.deliver(delayMs, what, () => {
      // What was under way when the server went away was lost with its connection.
      if (this.#server.up && this.#server.restarts === restarts) arrive();
    });
  }

  #inHost(action: () => void): void {
    if (this.#host.alive) this.#host.run(action);
  }

  #assertConnected(what: string): void {
    if (this.#closed) throw new BrokerUnavailableError(what, 'the connection is closed');
    if (!this.#server.up) throw new BrokerUnavailableError(what, 'not connected to the simulated server');
  }

  #stoppable(stop: (drainMs: number) => Promise<void>): Stoppable {
    let stopped: Promise<void> | undefined;
    const stoppable: Stoppable = {
      stop: (options = {}) => {
        this.#running.delete(stoppable);
        stopped ??= stop(options.drainMs ?? DEFAULT_DRAIN_MS);
        return stopped;
      },
    };
    this.#running.add(stoppable);
    return stoppable;
  }
}
