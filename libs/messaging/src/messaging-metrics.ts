/** Why a consumption had to open its consumer again. */
export type HealReason =
  'reconnected' | 'heartbeats-missed' | 'consumer-missing' | 'refused-pull' | 'no-delivery';

/** What the broker counts. The observability library turns it into metrics; the default counts nothing. */
export interface MessagingMetrics {
  disconnected(): void;
  reconnected(): void;
  /** A publication was refused by the server: permissions, limits, a full stream. */
  publishRefused(subject: string): void;
  /** The client could not keep up with a subscription. */
  slowConsumer(subject: string): void;
  redelivered(consumer: string): void;
  /** A handler failed and its message will be delivered again. */
  retried(consumer: string, errorCode: string): void;
  deadLettered(consumer: string, errorCode: string): void;
  /** A dead letter could not be published; the message was given back. */
  deadLetterFailed(consumer: string): void;
  healed(consumer: string, reason: HealReason): void;
  /** A handler ran longer than allowed. */
  stalled(consumer: string): void;
  /** Messages waiting in the consumer, seen on delivery. */
  pending(consumer: string, count: number): void;
  /** A handler fails on everything: its consumer takes no more. */
  paused(consumer: string, errorCode: string): void;
  /** A paused consumer goes on. */
  resumed(consumer: string): void;
  /** Why a consumer has messages and delivers none; undefined when it does again. */
  stuck(consumer: string, reason: string | undefined): void;
  /** Messages past their attempts whose dead letters could not be written. */
  deadLettersUnwritten(consumer: string, count: number): void;
  /** A request was answered `OVERLOADED`. */
  overloaded(subject: string): void;
}

const nothing = (): void => undefined;

/** Counts nothing. */
export const noMessagingMetrics: MessagingMetrics = {
  disconnected: nothing,
  reconnected: nothing,
  publishRefused: nothing,
  slowConsumer: nothing,
  redelivered: nothing,
  retried: nothing,
  deadLettered: nothing,
  deadLetterFailed: nothing,
  healed: nothing,
  stalled: nothing,
  pending: nothing,
  paused: nothing,
  resumed: nothing,
  stuck: nothing,
  deadLettersUnwritten: nothing,
  overloaded: nothing,
};
