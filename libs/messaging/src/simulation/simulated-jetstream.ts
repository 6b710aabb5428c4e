import type { PublishReceipt, WatchedMessage } from '../broker.ts';
import { subjectMatches } from '../memory/subject-match.ts';
import { MissingTopologyError, NoStreamError } from '../messaging.errors.ts';
import type { MessagingLog } from '../messaging-log.ts';
import type { MessagingMetrics } from '../messaging-metrics.ts';
import { deadLetterHeader, replayHeader } from '../dead-letter.ts';
import type { StreamView } from '../nats/stream-view.ts';
import type { RequestServer } from '../request-server.ts';
import type { Topology } from '../topology.ts';
import type { SimulatedHost, SimulatedNetwork } from './network.ts';
import { SimulatedBroker } from './simulated-broker.ts';
import type { StoredMessage } from '../memory/stream-log.ts';
import { SimulatedConsumer, SimulatedStream } from './simulated-stream.ts';

/** A process that serves a subject. */
export interface SimulatedEndpoint {
  readonly subject: string;
  readonly host: SimulatedHost;
  readonly server: RequestServer;
}

/** A process that sees messages pass. */
export interface SimulatedWatcher {
  readonly subject: string;
  readonly host: SimulatedHost;
  readonly handler: (message: WatchedMessage) => void;
}

export interface ConnectOptions {
  readonly service: string;
  /** The process behind the connection. */
  readonly host: SimulatedHost;
  readonly metrics?: MessagingMetrics;
  readonly log?: MessagingLog;
}

/**
 * A NATS server with JetStream, as far as Flotilla uses one, in a simulated world: streams with a de-duplication window,
 * durable consumers with acknowledgement wait and bounds, requests. Everything that crosses the network may be late or
 * lost; the server may restart (its streams are on the disk) and lose a stream.
 */
export class SimulatedJetStream {
  readonly network: SimulatedNetwork;
  readonly endpoints: SimulatedEndpoint[] = [];
  readonly #topology: Topology;
  readonly #streams = new Map<string, SimulatedStream>();
  readonly #reconnected = new Set<() => void>();
  readonly #madeAnew = new Map<string, Set<() => void>>();
  readonly #watchers = new Set<SimulatedWatcher>();
  /** How often it has gone away. */
  restarts = 0;
  #up = true;
  #turn = 0;

  constructor(topology: Topology, network: SimulatedNetwork) {
    this.#topology = topology;
    this.network = network;
    for (const { name } of topology.streams) this.#make(name);
  }

  get up(): boolean {
    return this.#up;
  }

  connect(options: ConnectOptions): SimulatedBroker {
    return new SimulatedBroker(this, options);
  }

  /** The server goes away; requests and deliveries that are under way are lost. */
  stop(): void {
    this.restarts += 1;
    this.#up = false;
  }

  /** It is back with all its streams. */
  start(): void {
    this.#up = true;
    for (const { consumers } of this.#streams.values())
      for (const consumer of consumers.values()) consumer.look();
    for (const tell of [...this.#reconnected]) tell();
  }

  /** Calls `tell` each time that the server is back; returns the function that ends it. */
  onReconnection(tell: () => void): () => void {
    this.#reconnected.add(tell);
    return () => this.#reconnected.delete(tell);
  }

  /** The stream is gone with all it held, and provisioned again, empty; who consumed it goes on with the new one. */
  loseStream(name: string): void {
    this.#make(name);
    for (const tell of [...(this.#madeAnew.get(name) ?? [])]) tell();
  }

  /** Calls `tell` whenever the stream was made anew. */
  onStreamMade(name: string, tell: () => void): () => void {
    const listeners = this.#madeAnew.get(name) ?? new Set();
    this.#madeAnew.set(name, listeners.add(tell));
    return () => listeners.delete(tell);
  }

  get streams(): readonly SimulatedStream[] {
    return [...this.#streams.values()];
  }

  messages(stream: string): StoredMessage[] {
    return [...(this.#streams.get(stream)?.messages.values() ?? [])];
  }

  consumer(stream: string, name: string): SimulatedConsumer {
    const consumer = this.#streams.get(stream)?.consumers.get(name);
    if (consumer === undefined) throw new MissingTopologyError([`consumer ${stream}/${name}`]);
    return consumer;
  }

  store(
    id: string,
    subject: string,
    headers: Readonly<Record<string, string>>,
    body: Uint8Array,
  ): PublishReceipt {
    this.show({ subject, headers, body });
    for (const stream of this.#streams.values()) {
      if (stream.takes(subject)) return stream.append(id, subject, headers, body);
    }
    throw new NoStreamError(subject);
  }

  /** Returns the function that ends it. */
  watch(watcher: SimulatedWatcher): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  /** Lets watchers see a message. */
  show(message: WatchedMessage): void {
    for (const { subject, host, handler } of this.#watchers) {
      if (!subjectMatches(subject, message.subject)) continue;
      const { lost, delayMs } = this.network.crossing('delivery', `watch ${message.subject}`);
      if (lost) continue;
      this.network.deliver(delayMs, '', () => {
        if (host.alive) host.run(() => handler(message));
      });
    }
  }

  /** Who gets a request: one of those that serve the subject, in turn. */
  endpointOf(subject: string): SimulatedEndpoint | undefined {
    const serving = this.endpoints.filter((each) => each.subject === subject && each.host.alive);
    return serving[this.#turn++ % serving.length];
  }

  /** Sends a dead letter back to the consumer that could not handle it, as `fleet dlq replay` does. */
  replay(sequence: number): void {
    const letters = this.#streams.get('DLQ');
    const letter = letters?.messages.get(sequence);
    if (letters === undefined || letter === undefined) return;
    const own: ReadonlySet<string> = new Set(Object.values(deadLetterHeader));
    const headers: Record<string, string> = {};
    for (const [name, value] of Object.entries(letter.headers)) if (!own.has(name)) headers[name] = value;
    headers[replayHeader.replayOf] = String(sequence);
    headers[replayHeader.replayFor] = letter.headers[deadLetterHeader.consumer] ?? '';
    letters.messages.delete(sequence);
    this.store(
      `replay-${sequence}`,
      letter.headers[deadLetterHeader.originalSubject] ?? '',
      headers,
      letter.body,
    );
  }

  /** What the reconciler asks; an answer takes its time like any other. */
  view(): StreamView {
    const ask = <T>(what: string, answer: () => T): Promise<T> =>
      new Promise((resolve) => {
        const { delayMs } = this.network.crossing('control', what);
        this.network.deliver(delayMs, what, () => resolve(answer()));
      });
    return {
      streamState: (name) =>
        ask(`state of ${name}`, () => {
          const stream = this.#streams.get(name);
          if (stream === undefined) return undefined;
          const [first] = stream.messages.keys();
          return {
            createdAtMs: stream.createdAtMs,
            firstSequence: first ?? stream.lastSequence + 1,
            lastSequence: stream.lastSequence,
          };
        }),
      exists: (name, sequence, id) =>
        ask(`is ${name}/${sequence} there`, () => {
          const stream = this.#streams.get(name);
          if (stream === undefined || sequence > stream.lastSequence) return false;
          const stored = stream.messages.get(sequence);
          return stored === undefined || stored.id === id;
        }),
    };
  }

  #make(name: string): void {
    const spec = this.#topology.streams.find((each) => each.name === name);
    if (spec === undefined) throw new MissingTopologyError([`stream ${name}`]);
    const stream = new SimulatedStream(spec, this.network);
    const kept = this.#streams.get(name)?.messages;
    // In its old place, so that the order in which streams are looked at does not change.
    this.#streams.set(name, stream);
    kept?.clear();
    for (const consumer of this.#topology.consumers) {
      if (consumer.stream !== name) continue;
      stream.consumers.set(
        consumer.name,
        new SimulatedConsumer(
          stream,
          consumer,
          this.network,
          () => this.#up && this.#streams.get(name) === stream,
        ),
      );
    }
  }
}
