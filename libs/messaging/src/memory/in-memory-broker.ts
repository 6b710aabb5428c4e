import { newId, PARTITIONS, systemClock, type Clock } from '@flotilla/kernel';
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
import { DeliveryRunner } from '../delivery-runner.ts';
import { pauseLine } from '../kill-switch.ts';
import { decodeReply } from '../message.ts';
import {
  BrokerUnavailableError,
  MissingTopologyError,
  NoRespondersError,
  NoStreamError,
  RequestAbortedError,
  RequestTimeoutError,
} from '../messaging.errors.ts';
import { stderrLog, type MessagingLog } from '../messaging-log.ts';
import { noMessagingMetrics, type MessagingMetrics } from '../messaging-metrics.ts';
import { RequestServer } from '../request-server.ts';
import { partitionConsumer, TRIAL_STREAM, type Topology } from '../topology.ts';
import { Trials } from '../trials.ts';
import { MemoryStream, type MemoryConsumer } from './memory-stream.ts';
import type { StoredMessage } from './stream-log.ts';
import { subjectMatches } from './subject-match.ts';

interface Served {
  readonly subject: string;
  readonly queue: string;
  readonly server: RequestServer;
}

interface Watcher {
  readonly subject: string;
  readonly handler: (message: WatchedMessage) => void;
}

/** What in-memory brokers share: connect one broker for each service of a test. */
export class InMemoryNetwork {
  readonly clock: Clock;
  readonly announcements = new Set<ServiceAnnouncement>();
  readonly served: Served[] = [];
  readonly watchers = new Set<Watcher>();
  readonly #streams = new Map<string, MemoryStream>();
  #available = true;

  constructor(topology: Topology, options: { readonly clock?: Clock } = {}) {
    this.clock = options.clock ?? systemClock;
    this.provision(topology);
  }

  /** False: everything that needs the broker fails with `BrokerUnavailableError`, as if it were down. */
  get available(): boolean {
    return this.#available;
  }

  set available(available: boolean) {
    this.#available = available;
    for (const { consumers } of this.#streams.values())
      for (const consumer of consumers.values()) consumer.wake();
  }

  /** Adds streams and consumers that are not there yet. */
  provision(topology: Topology): void {
    for (const spec of topology.streams) {
      if (!this.#streams.has(spec.name)) this.#streams.set(spec.name, new MemoryStream(spec, this.clock));
    }
    for (const spec of topology.consumers) {
      const stream = this.#streams.get(spec.stream);
      if (stream === undefined) throw new MissingTopologyError([`stream ${spec.stream}`]);
      if (!stream.consumers.has(spec.name)) stream.addConsumer(spec);
    }
  }

  connect(service: string, options: Omit<InMemoryBrokerOptions, 'service' | 'network'> = {}): InMemoryBroker {
    return new InMemoryBroker({ ...options, service, network: this });
  }

  /** What a stream keeps at the moment, oldest first. */
  messages(stream: string): StoredMessage[] {
    return [...(this.#streams.get(stream)?.messages.values() ?? [])];
  }

  consumer(name: ConsumerName): MemoryConsumer {
    const consumer = this.#streams.get(name.stream)?.consumers.get(name.name);
    if (consumer === undefined) throw new MissingTopologyError([`consumer ${name.stream}/${name.name}`]);
    return consumer;
  }

  store(
    id: string,
    subject: string,
    headers: Readonly<Record<string, string>>,
    body: Uint8Array,
  ): PublishReceipt {
    this.assertAvailable(`Publishing to ${subject}`);
    const stream = [...this.#streams.values()].find((each) => each.takes(subject));
    this.tell({ subject, headers, body });
    if (stream === undefined) throw new NoStreamError(subject);
    return stream.append(id, subject, headers, body);
  }

  tell(message: WatchedMessage): void {
    for (const { subject, handler } of this.watchers) {
      if (subjectMatches(subject, message.subject)) queueMicrotask(() => handler(message));
    }
  }

  assertAvailable(what: string): void {
    if (!this.available) throw new BrokerUnavailableError(what, 'the in-memory broker is switched off');
  }
}

export interface InMemoryBrokerOptions {
  readonly service: string;
  readonly network: InMemoryNetwork;
  readonly metrics?: MessagingMetrics;
  readonly log?: MessagingLog;
}

const DEFAULT_DRAIN_MS = 10_000;

/**
 * The {@link Broker} without a server: streams, de-duplication, redelivery and dead letters within one process, with
 * the settlement of the real one. For tests; nothing survives the process.
 */
export class InMemoryBroker implements Broker {
  readonly network: InMemoryNetwork;
  readonly #service: string;
  readonly #clock: Clock;
  readonly #metrics: MessagingMetrics;
  readonly #log: MessagingLog;
  readonly #running = new Set<Stoppable>();
  readonly #trials: Trials;
  #sweeping = false;
  readonly #runners = new Map<
    DeliveryRunner,
    { readonly everyMs: number; sweep(): void; paused(): string[] }
  >();
  #turn = 0;
  #closed = false;
  #crashed = false;

  constructor(options: InMemoryBrokerOptions) {
    this.network = options.network;
    this.#service = options.service;
    this.#clock = options.network.clock;
    this.#metrics = options.metrics ?? noMessagingMetrics;
    this.#log = options.log ?? stderrLog;
    this.#trials = new Trials(options.service, {
      read: async (subject) => {
        this.#assertOpen(`Reading ${subject}`);
        this.network.assertAvailable(`Reading ${subject}`);
        const last = this.network.messages(TRIAL_STREAM).findLast((each) => each.subject === subject);
        return last && Buffer.from(last.body).toString();
      },
      write: async (subject, text) => {
        this.#assertOpen(`Publishing to ${subject}`);
        this.network.store(newId(), subject, {}, Buffer.from(text));
      },
    });
  }

  async publish(message: OutgoingMessage): Promise<PublishReceipt> {
    this.#assertOpen(`Publishing to ${message.subject}`);
    return this.network.store(message.id, message.subject, message.headers, Buffer.from(message.body));
  }

  async request(message: OutgoingMessage, { timeoutMs, signal }: RequestOptions): Promise<IncomingMessage> {
    const { subject, headers } = message;
    if (signal?.aborted) throw new RequestAbortedError(subject, signal.reason);
    this.#assertOpen(`Request to ${subject}`);
    this.network.assertAvailable(`Request to ${subject}`);
    const body = Buffer.from(message.body);
    this.network.tell({ subject, headers, body });
    const servers = this.network.served.filter((served) => served.subject === subject);
    const served = servers[this.#turn++ % servers.length];
    if (served === undefined) throw new NoRespondersError(subject);
    return new Promise((resolve, reject) => {
      const timer = this.#clock.after(timeoutMs, () => {
        signal?.removeEventListener('abort', aborted);
        reject(new RequestTimeoutError(subject, timeoutMs));
      });
      const aborted = (): void => {
        timer.cancel();
        reject(new RequestAbortedError(subject, signal?.reason));
      };
      signal?.addEventListener('abort', aborted, { once: true });
      const answered = (reply: OutgoingReply): void => {
        timer.cancel();
        signal?.removeEventListener('abort', aborted);
        resolve(decodeReply(subject, reply.headers, Buffer.from(reply.body), headers));
      };
      served.server.answer(subject, headers, body).then(answered, reject);
    });
  }

  async serve(
    subject: string,
    options: ServeOptions,
    handler: (message: IncomingMessage) => Promise<OutgoingReply>,
  ): Promise<Serving> {
    this.#assertOpen(`Serving ${subject}`);
    const server = new RequestServer({
      subject,
      service: this.#service,
      maxInFlight: options.maxInFlight,
      handler,
      clock: this.#clock,
      metrics: this.#metrics,
      log: this.#log,
    });
    const served: Served = { subject, queue: options.queue, server };
    this.network.served.push(served);
    const stoppable = this.#stoppable(async (drainMs) => {
      this.network.served.splice(this.network.served.indexOf(served), 1);
      await server.drained(drainMs);
    });
    return { stop: (how) => stoppable.stop(how), setMaxInFlight: (most) => (server.maxInFlight = most) };
  }

  async consume(
    consumer: ConsumerName,
    input: ConsumeOptions,
    handler: (delivery: Delivery) => Promise<void>,
  ): Promise<Consumption> {
    this.#assertOpen(`Consuming ${consumer.name}`);
    const options = resolveConsumeOptions(consumer.name, this.#service, input);
    const names = options.ordered
      ? Array.from({ length: PARTITIONS }, (_, partition) => partitionConsumer(consumer.name, partition))
      : [consumer.name];
    const sources = names.map((name) => this.network.consumer({ stream: consumer.stream, name }));
    const ackWaitMs = Math.min(...sources.map((source) => source.ackWaitMs));
    const runner = new DeliveryRunner({
      consumer: consumer.name,
      trials: this.#trials,
      options,
      handler,
      publishDeadLetter: async (letter) => {
        this.network.store(letter.id, letter.subject, letter.headers, letter.body);
      },
      ackWaitMs: () => ackWaitMs,
      clock: this.#clock,
      metrics: this.#metrics,
      log: this.#log,
    });
    let held = 0;
    let maxInFlight = options.maxInFlight;
    const unsubscribe = sources.map((source) =>
      source.subscribe({
        room: () => (this.network.available && !this.#crashed ? maxInFlight * 2 - held : 0),
        receive: (delivery) => {
          held++;
          runner.receive({
            ...delivery,
            ack: () => this.#unlessCrashed(() => delivery.ack()),
            nak: (delayMs) => this.#unlessCrashed(() => delivery.nak(delayMs)),
            term: (reason) => this.#unlessCrashed(() => delivery.term(reason)),
            working: () => this.#unlessCrashed(() => delivery.working()),
            released: () => {
              held--;
              for (const each of sources) each.wake();
            },
          });
        },
      }),
    );
    const pending = (): number => sources.reduce((sum, source) => sum + source.waiting, 0);
    const everyMs = ackWaitMs / 3;
    this.#runners.set(runner, {
      everyMs,
      sweep: () => {
        runner.heartbeat(everyMs);
        this.#metrics.pending(consumer.name, pending());
      },
      paused: () => (runner.pause === undefined ? [] : [pauseLine(consumer.name, runner.pause)]),
    });
    this.#keepSweeping();
    let stopped = false;
    const stoppable = this.#stoppable(async (drainMs) => {
      stopped = true;
      for (const end of unsubscribe) end();
      await runner.stop(drainMs);
      this.#runners.delete(runner);
    });
    return {
      stop: (stopOptions) => stoppable.stop(stopOptions),
      setMaxInFlight: (most) => {
        maxInFlight = most;
        runner.maxInFlight = most;
        for (const each of sources) each.wake();
      },
      probeNow: () => runner.probeNow(),
      resume: () => runner.resume(),
      state: () => ({
        status: stopped ? 'stopped' : this.network.available ? 'running' : 'healing',
        ...(!stopped && !this.network.available && { detail: 'the in-memory broker is switched off' }),
        inFlight: runner.inFlight,
        pending: pending(),
        unwrittenDeadLetters: runner.unwrittenDeadLetters,
        ...(runner.pause !== undefined && { paused: runner.pause }),
      }),
    };
  }

  async watch(subject: string, handler: (message: WatchedMessage) => void): Promise<Stoppable> {
    const watcher: Watcher = { subject, handler };
    this.network.watchers.add(watcher);
    return this.#stoppable(async () => {
      this.network.watchers.delete(watcher);
    });
  }

  async announce(announcement: ServiceAnnouncement): Promise<Stoppable> {
    this.network.announcements.add(announcement);
    return this.#stoppable(async () => {
      this.network.announcements.delete(announcement);
    });
  }

  health(): BrokerHealth {
    if (this.#closed) return { connected: false, jetstream: false, detail: 'the broker is closed' };
    if (this.network.available) {
      const degraded = [...this.#runners.values()].flatMap((runner) => runner.paused());
      return { connected: true, jetstream: true, ...(degraded.length > 0 && { degraded }) };
    }
    return { connected: false, jetstream: false, detail: 'the in-memory broker is switched off' };
  }

  async close(options: StopOptions = {}): Promise<void> {
    await Promise.all([...this.#running].map((each) => each.stop(options)));
    this.#closed = true;
  }

  /** Ends as a process does that is killed: what it holds comes again in its time, and what it still does is void. */
  crash(): void {
    this.#crashed = true;
    this.#closed = true;
  }

  #unlessCrashed(action: () => void): void {
    if (!this.#crashed) action();
  }

  #assertOpen(what: string): void {
    if (this.#closed) throw new BrokerUnavailableError(what, 'the broker is closed');
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

  #keepSweeping(): void {
    if (this.#sweeping || this.#runners.size === 0) return;
    this.#sweeping = true;
    const everyMs = Math.min(...[...this.#runners.values()].map((runner) => runner.everyMs));
    this.#clock.after(Math.min(1_000, Math.max(20, everyMs / 2)), () => {
      this.#sweeping = false;
      for (const running of this.#runners.values()) running.sweep();
      this.#keepSweeping();
    });
  }
}
