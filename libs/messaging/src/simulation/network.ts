import type { Clock } from '@flotilla/kernel';

/** What crosses the network between a service and the simulated broker. */
export type CrossingKind =
  'publish' | 'publish-ack' | 'delivery' | 'settlement' | 'request' | 'answer' | 'control';

/** What becomes of one crossing. */
export interface Crossing {
  /** It never arrives. */
  readonly lost: boolean;
  /** How long it is under way, in milliseconds. */
  readonly delayMs: number;
}

/** The world around the simulated broker: where the seed decides. */
export interface SimulatedNetwork {
  readonly clock: Clock;
  /** Decides what becomes of something that is sent. */
  crossing(kind: CrossingKind, what: string): Crossing;
  /** Lets `arrive` happen after `delayMs`, whatever becomes of the process that this was called in. */
  deliver(delayMs: number, label: string, arrive: () => void): void;
  /** Whether the broker delivers a message again although it was not asked to: it has lost patience early. */
  impatient(consumer: string): boolean;
}

/** The process behind a connection; when it is dead, nothing reaches it. */
export interface SimulatedHost {
  readonly alive: boolean;
  run<T>(code: () => T): T;
}
