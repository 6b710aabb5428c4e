import {
  BusinessError,
  contractOf,
  encodeEnvelope,
  hasWildcard,
  isContractClass,
  patternEventSubject,
  patternRequestSubject,
  patternRoute,
  readFailure,
  type Contract,
  type Pattern,
} from '@flotilla/contracts-protocol';
import { backoffDelayMs, errorCode, errorMessage, newId } from '@flotilla/kernel';
import { currentContext, messagingAttributes, traceHeaders, withSpan } from '@flotilla/observability';
import { Logger } from '@nestjs/common';
import { ClientProxy, NatsRecord, type ReadPacket, type WritePacket } from '@nestjs/microservices';
import { SpanKind } from '@opentelemetry/api';
import type { Broker, IncomingMessage, OutgoingMessage, PublishReceipt } from '../broker.ts';
import { DeadlineExceededError } from '../messaging.errors.ts';
import { NatsBroker } from '../nats/nats-broker.ts';
import { VALUES_HEADER } from './answer.ts';
import { ConnectionEvents, type TransportEvents } from './connection-events.ts';
import { nestLog } from './nest-log.ts';
import { HandlerFailedError, TooManyEventsError } from './transport.errors.ts';
import {
  resolveClientOptions,
  type FlotillaClientOptions,
  type ResolvedClientOptions,
} from './transport.options.ts';

const RETRY_PAUSE = { initialMs: 100, maxMs: 2_000 };

/** A packet on its way out, with everything of it known but its subject. */
interface Outbound {
  readonly route: string;
  readonly contract: Contract | undefined;
  readonly id: string;
  readonly key: string;
  readonly body: string;
  readonly headers: Readonly<Record<string, string>>;
}

/**
 * Nest's `ClientProxy` on Flotilla's wire: `ClientsModule.register([{ name: 'BILLING', customClass: FlotillaClient,
 * options: { service: 'shop', servers } }])`.
 *
 * `send` is a request with a deadline. `emit` stores an event in a stream and is done when the stream has it on disk;
 * it is sent whether or not anybody subscribes to what `emit` returns, and tried again while the broker is away. It is
 * not part of a transaction: where an event must go out exactly if a change is committed, use the chassis' `EventBus`.
 */
export class FlotillaClient extends ClientProxy<TransportEvents> {
  readonly #options: ResolvedClientOptions;
  readonly #logger = new Logger(FlotillaClient.name);
  readonly #connectionEvents = new ConnectionEvents((status) => this._status$.next(status));
  /** What waits to be stored, by key: those of one key go one after another. */
  readonly #storing = new Map<string, Promise<unknown>>();
  #pendingEvents = 0;
  #connecting: Promise<Broker> | undefined;
  #broker: Broker | undefined;
  #closed = new AbortController();

  constructor(options: FlotillaClientOptions) {
    super();
    this.#options = resolveClientOptions(options);
  }

  /** Connects, if it has not; `send` and `emit` do it by themselves. */
  connect(): Promise<Broker> {
    this.#connecting ??= this.#connect();
    return this.#connecting;
  }

  /** Waits for the events that are being stored, without trying again, then disconnects. It may be connected again. */
  async close(): Promise<void> {
    const connecting = this.#connecting;
    this.#closed.abort();
    this.#closed = new AbortController();
    this.#connecting = undefined;
    const broker = await connecting?.catch(() => undefined);
    await Promise.allSettled([...this.#storing.values()]);
    if (this.#options.broker === undefined) await broker?.close();
    if (this.#broker === broker) this.#broker = undefined;
  }

  override on<Event extends keyof TransportEvents, Callback extends TransportEvents[Event]>(
    event: Event,
    callback: Callback,
  ): void {
    this.#connectionEvents.on(event, callback);
  }

  /** The connection to NATS; over a shared broker of another kind, that broker. */
  unwrap<T>(): T {
    if (this.#broker === undefined) throw new Error('Not initialized: call "connect" before "unwrap"');
    return (this.#broker instanceof NatsBroker ? this.#broker.connection : this.#broker) as T;
  }

  protected override publish(packet: ReadPacket, callback: (packet: WritePacket) => void): () => void {
    const given = new AbortController();
    this.#request(packet, given.signal).then(
      (reply) => {
        if (!given.signal.aborted) deliver(reply, callback);
      },
      (err: unknown) => {
        if (!given.signal.aborted) callback({ err });
      },
    );
    // Nobody waits any more.
    return () => given.abort();
  }

  protected override async dispatchEvent<T = PublishReceipt>(packet: ReadPacket): Promise<T> {
    const { maxPendingEvents } = this.#options;
    const outbound = this.#outbound(packet);
    if (this.#pendingEvents >= maxPendingEvents)
      throw new TooManyEventsError(outbound.route, maxPendingEvents);
    const subject = patternEventSubject(outbound.route, outbound.key);
    const message = this.#message(outbound, subject);
    const before = this.#storing.get(outbound.key);
    this.#pendingEvents++;
    // One that failed does not keep back those behind it.
    const storing = (before?.catch(() => undefined) ?? Promise.resolve()).then(() =>
      this.#store(message, outbound),
    );
    this.#storing.set(outbound.key, storing);
    try {
      return (await storing) as T;
    } finally {
      this.#pendingEvents--;
      if (this.#storing.get(outbound.key) === storing) this.#storing.delete(outbound.key);
    }
  }

  async #connect(): Promise<Broker> {
    const { broker: shared, servers, service, log, ...rest } = this.#options;
    try {
      const broker =
        shared ??
        (await NatsBroker.connect({
          ...rest,
          // Checked with the options.
          servers: servers ?? [],
          service,
          name: `${service} (client)`,
          log: log ?? nestLog(FlotillaClient.name),
        }));
      this.#broker = broker;
      if (broker instanceof NatsBroker) this.#connectionEvents.watch(broker.connection);
      else this._status$.next('connected');
      return broker;
    } catch (error) {
      // The next call tries again.
      this.#connecting = undefined;
      throw error;
    }
  }

  async #request(packet: ReadPacket, signal: AbortSignal): Promise<IncomingMessage> {
    const outbound = this.#outbound(packet);
    const { route, contract } = outbound;
    const subject = patternRequestSubject(route);
    const { clock, timeoutMs } = this.#options;
    const now = clock.now();
    const deadline = Math.min(
      now + (contract?.timeoutMs ?? timeoutMs),
      currentContext()?.deadline ?? Infinity,
    );
    if (deadline <= now) throw new DeadlineExceededError(subject, now - deadline);
    const broker = await this.connect();
    return withSpan(`call ${route}`, spanOf('call', subject, route), () =>
      broker.request(this.#message(outbound, subject, deadline), { timeoutMs: deadline - now, signal }),
    );
  }

  /** Stores an event, trying again while that may help: the stream knows it by its id. */
  async #store(message: OutgoingMessage, { route }: Outbound): Promise<PublishReceipt> {
    const { clock, emitTimeoutMs } = this.#options;
    const giveUpMs = clock.monotonicMs() + emitTimeoutMs;
    const closed = this.#closed.signal;
    return withSpan(`publish ${route}`, spanOf('publish', message.subject, route), async () => {
      for (let attempt = 1; ; attempt++) {
        try {
          const broker = await this.connect();
          return await broker.publish(message);
        } catch (error) {
          const pauseMs = backoffDelayMs(attempt, RETRY_PAUSE);
          const late = clock.monotonicMs() + pauseMs >= giveUpMs;
          if (late || closed.aborted || !mayPass(error)) {
            // Said here, because nobody need look at what `emit` returns.
            this.#logger.error({
              msg: `The event ${route} was not stored: ${errorMessage(error)}`,
              messageId: message.id,
              errorCode: errorCode(error),
            });
            throw error;
          }
          if (attempt === 1) {
            this.#logger.warn({
              msg: `The event ${route} is not stored yet, and is tried again: ${errorMessage(error)}`,
              messageId: message.id,
              errorCode: errorCode(error),
            });
          }
          await clock.sleep(pauseMs, closed);
        }
      }
    });
  }

  #outbound({ pattern, data }: ReadPacket): Outbound {
    const route = patternRoute(pattern as Pattern);
    if (hasWildcard(route)) throw new TypeError(`"${route}" has a wildcard: it is handled by, not sent to`);
    const record =
      data instanceof NatsRecord ? (data as NatsRecord<unknown, Iterable<[string, string[]]>>) : undefined;
    const given: unknown = record === undefined ? data : record.data;
    // The class of a contract validates, and knows the key.
    const message = isContractClass(pattern) ? new pattern(given as never) : undefined;
    const contract = message && contractOf(message);
    const payload = message === undefined ? given : message.payload;
    const { clock, keyOf } = this.#options;
    const id = newId(clock.now());
    const key = contract?.keyOf?.(payload as never) ?? keyOf?.(route, payload) ?? id;
    return {
      route,
      contract,
      id,
      key,
      body: JSON.stringify(payload ?? null),
      headers: { ...ownHeaders(this.#options.headers, route), ...ownHeaders(record?.headers, route) },
    };
  }

  #message({ route, id, key, body, headers }: Outbound, subject: string, deadline?: number): OutgoingMessage {
    const context = currentContext();
    return {
      id,
      subject,
      key,
      headers: {
        ...headers,
        ...encodeEnvelope({
          id,
          type: route,
          source: this.#options.service,
          time: new Date(this.#options.clock.now()).toISOString(),
          subject: key,
          correlationId: context?.correlationId ?? id,
          ...(context?.messageId !== undefined && { causationId: context.messageId }),
          ...(deadline !== undefined && { deadline }),
          ...traceHeaders(),
        }),
      },
      body,
    };
  }
}

function spanOf(operation: string, subject: string, type: string) {
  return {
    kind: operation === 'call' ? SpanKind.CLIENT : SpanKind.PRODUCER,
    attributes: () => messagingAttributes({ operation, operationType: 'send', subject, type }),
    expected: (error: unknown) => error instanceof BusinessError,
  } as const;
}

function mayPass(error: unknown): boolean {
  return !(typeof error === 'object' && error !== null && 'retry' in error && error.retry === 'never');
}

/** Headers that the caller gives; those of the envelope and the server are not its to set. */
function ownHeaders(
  headers: Readonly<Record<string, string>> | Iterable<[string, string[]]> | undefined,
  route: string,
): Record<string, string> {
  const own: Record<string, string> = {};
  if (headers === undefined || headers === null) return own;
  const entries = Symbol.iterator in headers ? [...headers] : Object.entries(headers);
  for (const [name, value] of entries) {
    if (/^(?:ce|nats|flotilla)-|^traceparent$|^tracestate$|^content-type$/i.test(name)) {
      throw new TypeError(`Header "${name}" of ${route} belongs to the envelope: give yours another name`);
    }
    own[name] = typeof value === 'string' ? value : (value[0] ?? '');
  }
  return own;
}

/** Gives an answer to the observable of `send`: each value, then the end or the error. */
function deliver(reply: IncomingMessage, callback: (packet: WritePacket) => void): void {
  let body: unknown;
  try {
    body = reply.json();
  } catch (err) {
    callback({ err });
    return;
  }
  const outcome = reply.envelope.outcome ?? 'ok';
  if (outcome === 'ok') {
    const values = VALUES_HEADER in reply.headers && Array.isArray(body) ? (body as unknown[]) : [body];
    for (const response of values) callback({ response });
    callback({ isDisposed: true });
    return;
  }
  const fields = (typeof body === 'object' && body !== null ? body : {}) as Record<string, unknown>;
  if (Array.isArray(fields['values']))
    for (const response of fields['values'] as unknown[]) callback({ response });
  callback({ err: errorOf(reply, outcome, fields) });
}

function errorOf(reply: IncomingMessage, outcome: string, body: Readonly<Record<string, unknown>>): unknown {
  const { code, message, data, retry } = readFailure(body);
  if (outcome === 'refused') return new BusinessError(reply.envelope.type, code, data, message);
  return 'error' in body ? body['error'] : new HandlerFailedError(reply.envelope.type, code, message, retry);
}
