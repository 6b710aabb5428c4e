import {
  contractNameOf,
  defineService,
  isContractClass,
  patternEventFilter,
  patternEventStream,
  patternRequestSubject,
  patternRoute,
  routeOfSubject,
  type AnyMessageClass,
  type MessageKind,
  type Pattern,
} from '@flotilla/contracts-protocol';
import { errorCode } from '@flotilla/kernel';
import { messagingAttributes, runWithContext, withSpan } from '@flotilla/observability';
import {
  Server,
  Transport,
  type BaseRpcContext,
  type CustomTransportStrategy,
  type MessageHandler,
} from '@nestjs/microservices';
import { SpanKind } from '@opentelemetry/api';
import { isObservable, lastValueFrom } from 'rxjs';
import type { Broker, IncomingMessage, OutgoingReply, Stoppable, StopOptions } from '../broker.ts';
import { decodeMessage } from '../message.ts';
import { InvalidMessagingOptionsError } from '../messaging.errors.ts';
import { NatsBroker } from '../nats/nats-broker.ts';
import { provision, verifyTopology } from '../provision.ts';
import { patternConsumer, topologyOf, type Topology, type TopologyOptions } from '../topology.ts';
import { answerOf, collect } from './answer.ts';
import { ConnectionEvents, type TransportEvents, type TransportStatus } from './connection-events.ts';
import { FlotillaContext } from './flotilla-context.ts';
import { failureOf, rememberCauses } from './handler-failure.ts';
import { nestLog } from './nest-log.ts';
import { WrongTypeError } from './transport.errors.ts';
import {
  resolveServerOptions,
  type FlotillaServerOptions,
  type ResolvedServerOptions,
} from './transport.options.ts';

/** The handler of one pattern; of several for one event, the first of their chain. */
interface Registration {
  readonly route: string;
  readonly handler: MessageHandler;
  /** The pattern is a contract's class: the data is validated, and is its payload. */
  readonly message: AnyMessageClass | undefined;
}

const DEFAULT_MAX_IN_FLIGHT = 64;

/**
 * Runs the `@MessagePattern` and `@EventPattern` handlers of a Nest application on Flotilla's wire:
 * `createMicroservice(AppModule, { strategy: new FlotillaServer({ service: 'billing', servers }) })`.
 *
 * A request is answered over core NATS, by one of the service's processes. An event comes from a stream: at least
 * once, to one process of each service, acknowledged when the handler's promise or observable has completed, again
 * after a growing delay when it failed, and a dead letter in the end. `@EventPattern('x', { broadcast: true })` is for
 * hints that every process should see and may miss.
 */
export class FlotillaServer
  extends Server<TransportEvents, TransportStatus>
  implements CustomTransportStrategy
{
  override readonly transportId: Transport | symbol;
  /** An error of an event handler decides what becomes of the event, and is reported with that. */
  override readonly propagatesEventHandlerErrors = true;
  readonly #options: ResolvedServerOptions;
  readonly #requests = new Map<string, Registration>();
  readonly #events = new Map<string, Registration>();
  readonly #broadcasts = new Map<string, Registration>();
  readonly #problems: string[] = [];
  readonly #connectionEvents = new ConnectionEvents((status) => this._status$.next(status));
  #broker: Broker | undefined;
  #running: Stoppable[] = [];
  #closing: Promise<void> | undefined;

  constructor(options: FlotillaServerOptions) {
    super();
    this.#options = resolveServerOptions(options);
    this.transportId = options.transportId ?? Transport.NATS;
    rememberCauses();
  }

  /** Called by Nest for every handler before it listens. */
  override addHandler(
    pattern: Pattern,
    callback: MessageHandler,
    isEventHandler = false,
    extras: Record<string, unknown> = {},
  ): void {
    const route = patternRoute(pattern);
    const message = isContractClass(pattern) ? pattern : undefined;
    if (message) this.#checkKind(message, isEventHandler ? ['event'] : ['command', 'query']);
    callback.isEventHandler = isEventHandler;
    callback.extras = extras;
    if (!this.messageHandlers.has(route)) this.messageHandlers.set(route, callback);
    const registrations = !isEventHandler
      ? this.#requests
      : extras['broadcast'] === true
        ? this.#broadcasts
        : this.#events;
    const before = registrations.get(route);
    if (!isEventHandler || before === undefined) {
      registrations.set(route, { route, handler: callback, message });
      return;
    }
    // Nest's own way to run several handlers of an event: each calls the next one of the chain.
    let tail = before.handler;
    while (tail.next !== undefined) tail = tail.next as MessageHandler;
    tail.next = callback;
  }

  /** The streams and consumers that the handlers need; complete once Nest has registered them. */
  topology(options: TopologyOptions = {}): Topology {
    const reacts = [...this.#events.values()].map(({ route }) => route);
    const manifest = defineService({ name: this.#options.service, database: false, patterns: { reacts } });
    return topologyOf([manifest], options);
  }

  /** The patterns that the handlers take, as a manifest lists them. */
  get patterns(): { readonly answers: readonly string[]; readonly reacts: readonly string[] } {
    return { answers: [...this.#requests.keys()], reacts: [...this.#events.keys()] };
  }

  async listen(callback: (error?: unknown) => void): Promise<void> {
    try {
      await this.#start();
    } catch (error) {
      await this.close();
      callback(error);
      return;
    }
    callback();
  }

  /** Takes nothing new, waits for the handlers that run, gives the rest back and disconnects. */
  close(options: StopOptions = {}): Promise<void> {
    this.#closing ??= this.#close(options.drainMs ?? this.#options.drainMs);
    return this.#closing;
  }

  on<Event extends keyof TransportEvents, Callback extends TransportEvents[Event]>(
    event: Event,
    callback: Callback,
  ): void {
    this.#connectionEvents.on(event, callback);
  }

  /** The connection to NATS; over a shared broker of another kind, that broker. */
  unwrap<T>(): T {
    if (this.#broker === undefined)
      throw new Error('Not initialized: call "listen" or "startAllMicroservices" before "unwrap"');
    return (this.#broker instanceof NatsBroker ? this.#broker.connection : this.#broker) as T;
  }

  #checkKind({ contract }: AnyMessageClass, kinds: readonly MessageKind[]): void {
    if (kinds.includes(contract.kind)) return;
    const decorator = contract.kind === 'event' ? '@EventPattern' : '@MessagePattern';
    this.#problems.push(`${contract.type} is ${article(contract.kind)}: its handler has ${decorator}`);
  }

  async #start(): Promise<void> {
    const { service, provision: provisioning, version } = this.#options;
    if (this.#problems.length > 0)
      throw new InvalidMessagingOptionsError(`The handlers of ${service}`, this.#problems);
    const broker = await this.#connect();
    this.#broker = broker;
    if (broker instanceof NatsBroker) {
      this.#connectionEvents.watch(broker.connection);
      if (provisioning !== undefined && provisioning !== false) {
        await provision(broker.connection, this.topology(provisioning === true ? {} : provisioning));
      } else if (this.#events.size > 0) {
        await verifyTopology(broker.connection, this.topology(), { service });
      }
    } else {
      this._status$.next('connected');
    }
    const start = async (starting: Promise<Stoppable>): Promise<void> => {
      // Kept at once: what runs is stopped although something else does not start.
      this.#running.push(await starting);
    };
    const results = await Promise.allSettled([
      ...[...this.#requests.values()].map((each) => start(this.#serve(broker, each))),
      ...[...this.#events.values()].map((each) => start(this.#consume(broker, each))),
      ...[...this.#broadcasts.values()].map((each) => start(this.#watch(broker, each))),
    ]);
    const failed = results.find((result) => result.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
    if (this.#options.broker !== undefined) return;
    const endpoints = [...this.#requests.keys()].map(patternRequestSubject);
    await start(
      broker.announce({ name: service, version, description: `Nest service ${service}`, endpoints }),
    );
  }

  async #connect(): Promise<Broker> {
    const { broker, servers, service, log, ...rest } = this.#options;
    if (broker !== undefined) return broker;
    return NatsBroker.connect({
      ...rest,
      // Checked with the options.
      servers: servers ?? [],
      service,
      name: service,
      log: log ?? nestLog(FlotillaServer.name),
    });
  }

  async #close(drainMs: number): Promise<void> {
    const results = await Promise.allSettled(this.#running.splice(0).map((each) => each.stop({ drainMs })));
    if (this.#options.broker === undefined) await this.#broker?.close({ drainMs });
    const failed = results.find((result) => result.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
  }

  #serve(broker: Broker, registration: Registration): Promise<Stoppable> {
    const { service, maxInFlight = DEFAULT_MAX_IN_FLIGHT } = this.#options;
    const queue: unknown = registration.handler.extras?.['queue'] ?? service;
    return broker.serve(
      patternRequestSubject(registration.route),
      { queue: String(queue), maxInFlight },
      (message) => this.#answer(message, registration),
    );
  }

  #consume(broker: Broker, registration: Registration): Promise<Stoppable> {
    const { service, maxInFlight, maxAttempts, backoff, stalledAfterMs, isOutage, killSwitch } =
      this.#options;
    const { route } = registration;
    const name = patternConsumer(service, route);
    return broker.consume(
      { stream: patternEventStream(route), name },
      {
        service,
        ...(maxInFlight !== undefined && { maxInFlight }),
        ...(maxAttempts !== undefined && { maxAttempts }),
        ...(backoff && { backoff }),
        ...(stalledAfterMs !== undefined && { stalledAfterMs }),
        ...(isOutage && { isOutage }),
        ...(killSwitch !== undefined && { killSwitch }),
      },
      ({ message, attempt }) => this.#react(message, registration, name, attempt),
    );
  }

  /** A hint: seen by every process, lost where nobody looks, and never again when its handler fails. */
  #watch(broker: Broker, registration: Registration): Promise<Stoppable> {
    return broker.watch(patternEventFilter(registration.route), ({ subject, headers, body }) => {
      const message = decodeMessage(subject, headers, body);
      this.#react(message, registration, 'broadcast', 1).catch((error: unknown) => {
        this.logger.error(error);
      });
    });
  }

  async #react(
    message: IncomingMessage,
    registration: Registration,
    consumer: string,
    attempt: number,
  ): Promise<void> {
    await this.#handle(message, consumer, SpanKind.CONSUMER, async () => {
      const context = this.#contextOf(message, attempt);
      const data = dataOf(message, registration);
      try {
        await this.#hooked(context, async () => {
          const result: unknown = await registration.handler(data, context);
          if (isObservable(result)) await lastValueFrom(result, { defaultValue: undefined });
        });
      } catch (thrown) {
        throw failureOf(context.getSubject(), thrown);
      }
      return 'ok';
    });
  }

  async #answer(message: IncomingMessage, registration: Registration): Promise<OutgoingReply> {
    const { service, clock, requestTimeoutMs, maxValues } = this.#options;
    const { envelope } = message;
    let reply: OutgoingReply | undefined;
    await this.#handle(message, 'requests', SpanKind.SERVER, async () => {
      const context = this.#contextOf(message, 1);
      const data = dataOf(message, registration);
      const collected = await this.#hooked(context, async () => {
        const options = {
          pattern: context.getSubject(),
          deadline: envelope.deadline ?? clock.now() + requestTimeoutMs,
          maxValues,
          clock,
        };
        try {
          return await collect(registration.handler(data, context), options);
        } catch (error) {
          return { values: [], failure: { error } };
        }
      });
      reply = answerOf(collected, envelope, service, clock);
      return reply.headers['ce-outcome'] ?? 'ok';
    });
    return reply as unknown as OutgoingReply;
  }

  /** In the context of the message: its correlation, trace and deadline are those of what the handler sends. */
  async #handle(
    message: IncomingMessage,
    handler: string,
    kind: SpanKind,
    work: () => Promise<string>,
  ): Promise<void> {
    const { envelope, subject } = message;
    const { correlationId, id: messageId, type, deadline } = envelope;
    const { metrics, clock } = this.#options;
    const startedMs = clock.monotonicMs();
    let outcome = 'failed';
    try {
      outcome = await runWithContext({ correlationId, messageId, type, deadline }, () =>
        withSpan(
          `process ${type}`,
          {
            kind,
            parent: envelope,
            attributes: () =>
              messagingAttributes({
                operation: 'process',
                operationType: 'process',
                subject,
                type,
                messageId,
                correlationId,
                consumer: handler,
              }),
          },
          work,
        ),
      );
    } catch (error) {
      if (errorCode(error) === 'UNKNOWN_MESSAGE') outcome = 'unknown';
      throw error;
    } finally {
      metrics?.handled(type, handler, outcome, clock.monotonicMs() - startedMs);
    }
  }

  /** Runs between Nest's hooks, whether or not the start hook returns what it is given. */
  #hooked<T>(context: BaseRpcContext, work: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.runWithProcessingHooks(context, async (runEndHook) => {
        await work().then(resolve, reject);
        runEndHook();
      });
    });
  }

  #contextOf(message: IncomingMessage, attempt: number): FlotillaContext {
    return new FlotillaContext(routeOfSubject(message.subject) ?? message.subject, message, attempt);
  }
}

function article(kind: MessageKind): string {
  return kind === 'event' ? 'an event' : `a ${kind}`;
}

/** The body; of a contract's class its payload, validated. */
function dataOf(message: IncomingMessage, { message: type, route }: Registration): unknown {
  if (contractNameOf(route) !== undefined && message.envelope.type !== route)
    throw new WrongTypeError(message.envelope.type, message.subject);
  const data = message.json();
  return type === undefined ? data : new type(data as never).payload;
}
