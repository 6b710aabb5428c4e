import type { TopologyOptions } from '../topology.ts';
import type { Broker, ConsumeOptions } from '../broker.ts';
import { InvalidMessagingOptionsError } from '../messaging.errors.ts';
import type { NatsBrokerOptions } from '../nats/nats-broker.ts';
import type { MetricsRecorder } from '@flotilla/observability';
import type { Transport } from '@nestjs/microservices';
import { systemClock, type Clock } from '@flotilla/kernel';

/** How server and client reach the broker: with a connection of their own, or over one that is there. */
export interface TransportConnection extends Partial<
  Pick<
    NatsBrokerOptions,
    'servers' | 'credentials' | 'tls' | 'connectTimeoutMs' | 'publishTimeoutMs' | 'pull' | 'log'
  >
> {
  /** The service that it works for, in kebab-case: queue group, consumers' names, source of what it sends. */
  readonly service: string;
  /** A broker to share, such as the one that `@flotilla/service` provides; whoever made it closes it. */
  readonly broker?: Broker;
  readonly clock?: Clock;
}

export interface FlotillaServerOptions
  extends
    TransportConnection,
    Pick<
      ConsumeOptions,
      'maxInFlight' | 'maxAttempts' | 'backoff' | 'stalledAfterMs' | 'isOutage' | 'killSwitch'
    > {
  /**
   * Makes the streams and consumers of the handlers at the start, with these limits: for developing and for a
   * deployment's step whose NATS user may. Default false: it is checked that they are there.
   */
  readonly provision?: boolean | TopologyOptions;
  /**
   * How long a request without a deadline may take until its handler has completed, in milliseconds. Default 30,000.
   */
  readonly requestTimeoutMs?: number;
  /** Values that an observable may answer a request with. Default 10,000; they are held in memory until all are there. */
  readonly maxValues?: number;
  /** How long `close` waits for the handlers that run, in milliseconds. Default 10,000. */
  readonly drainMs?: number;
  /** The version that the service announces, semantic. Default 0.0.0. Nothing is announced over a shared broker. */
  readonly version?: string;
  /**
   * Which of the handlers that name a transport are its own: `@MessagePattern('x', Transport.NATS)`. Default
   * `Transport.NATS`, because it takes the place of that one.
   */
  readonly transportId?: Transport | symbol;
  /** Counts what is handled. Default: nothing does. */
  readonly metrics?: MetricsRecorder;
}

export interface FlotillaClientOptions extends TransportConnection {
  /** How long `send` waits for an answer, in milliseconds, or less where the current message has a deadline. Default 5,000. */
  readonly timeoutMs?: number;
  /** How long `emit` goes on trying to get an event stored while the broker is away, in milliseconds. Default 30,000. */
  readonly emitTimeoutMs?: number;
  /** Events that wait to be stored, at most; one more fails at once. Default 10,000. */
  readonly maxPendingEvents?: number;
  /**
   * What a message is about, such as an order's id: those of one key are stored and handled one after another.
   * Default: every message is on its own. Contracts given as classes say it themselves.
   */
  readonly keyOf?: (pattern: string, data: unknown) => string | undefined;
  /** Headers of every message. */
  readonly headers?: Readonly<Record<string, string>>;
}

type Defaulted = 'clock' | 'requestTimeoutMs' | 'maxValues' | 'drainMs' | 'version';

/** {@link FlotillaServerOptions} with the defaults that the server itself uses. */
export type ResolvedServerOptions = Required<Pick<FlotillaServerOptions, Defaulted>> &
  Omit<FlotillaServerOptions, Defaulted>;

/** Defaults and checks of {@link FlotillaServerOptions}; all problems are in one error. */
export function resolveServerOptions(input: FlotillaServerOptions): ResolvedServerOptions {
  const options = {
    ...input,
    clock: input.clock ?? systemClock,
    requestTimeoutMs: input.requestTimeoutMs ?? 30_000,
    maxValues: input.maxValues ?? 10_000,
    drainMs: input.drainMs ?? 10_000,
    version: input.version ?? '0.0.0',
  };
  const problems = [
    ...connectionProblems(input),
    ...wholeFrom1(options, ['requestTimeoutMs', 'maxValues', 'maxInFlight']),
  ];
  if (problems.length > 0) throw new InvalidMessagingOptionsError('FlotillaServer', problems);
  return options;
}

type ClientDefaulted = 'clock' | 'timeoutMs' | 'emitTimeoutMs' | 'maxPendingEvents';

/** {@link FlotillaClientOptions} with every default that it has. */
export type ResolvedClientOptions = Required<Pick<FlotillaClientOptions, ClientDefaulted>> &
  Omit<FlotillaClientOptions, ClientDefaulted>;

/** Defaults and checks of {@link FlotillaClientOptions}; all problems are in one error. */
export function resolveClientOptions(input: FlotillaClientOptions): ResolvedClientOptions {
  const options = {
    ...input,
    clock: input.clock ?? systemClock,
    timeoutMs: input.timeoutMs ?? 5_000,
    emitTimeoutMs: input.emitTimeoutMs ?? 30_000,
    maxPendingEvents: input.maxPendingEvents ?? 10_000,
  };
  const problems = [
    ...connectionProblems(input),
    ...wholeFrom1(options, ['timeoutMs', 'emitTimeoutMs', 'maxPendingEvents']),
  ];
  if (problems.length > 0) throw new InvalidMessagingOptionsError('FlotillaClient', problems);
  return options;
}

function connectionProblems({ service, broker, servers }: TransportConnection): string[] {
  const problems: string[] = [];
  if (!/^[a-z][a-z0-9-]*$/.test(service ?? '')) problems.push(`service "${service}" must be kebab-case`);
  if ((broker === undefined) === (servers === undefined))
    problems.push('give either servers to connect to or a broker to share');
  return problems;
}

function wholeFrom1<T extends object>(options: T, names: readonly (keyof T & string)[]): string[] {
  return names
    .filter((name) => {
      const value = options[name];
      return value !== undefined && !(Number.isInteger(value) && Number(value) >= 1);
    })
    .map((name) => `${name} must be a whole number from 1, not ${String(options[name])}`);
}
