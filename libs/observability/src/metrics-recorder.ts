/**
 * What the chassis counts. One recorder serves every lib: each declares the part it calls as its own interface, and
 * this one has all the parts. Calls are synchronous, cheap and never throw. Durations are in milliseconds.
 */
export interface MetricsRecorder {
  // Handlers
  /** A message was handled. `outcome` is one of few words: `ok`, `refused`, `duplicate`, `failed` ... */
  handled(type: string, handler: string, outcome: string, durationMs: number): void;
  /** A request to another service was answered, or was not. */
  requested(type: string, outcome: string, durationMs: number): void;
  /** An HTTP request was answered. `route` is the pattern, never the path. */
  httpServed(method: string, route: string, status: number, durationMs: number): void;

  // Broker
  disconnected(): void;
  reconnected(): void;
  publishRefused(subject: string): void;
  slowConsumer(subject: string): void;
  redelivered(consumer: string): void;
  retried(consumer: string, errorCode: string): void;
  deadLettered(consumer: string, errorCode: string): void;
  deadLetterFailed(consumer: string): void;
  healed(consumer: string, reason: string): void;
  stalled(consumer: string): void;
  /** Messages that wait in a consumer. */
  pending(consumer: string, count: number): void;
  /** A handler fails on everything: its consumer takes no more until a probe succeeds. */
  paused(consumer: string, errorCode: string): void;
  resumed(consumer: string): void;
  /** Why a consumer has messages and delivers none; undefined when it does again. */
  stuck(consumer: string, reason: string | undefined): void;
  /** Messages past their attempts whose dead letters could not be written. */
  deadLettersUnwritten(consumer: string, count: number): void;
  overloaded(subject: string): void;

  // Units of work and outbox
  groupEnded(group: { readonly size: number; readonly durationMs: number; readonly outcome: string }): void;
  unitsWaiting(count: number): void;
  messagePublished(message: { readonly ageMs: number; readonly relayed: boolean }): void;
  publishFailed(failure: { readonly code: string; readonly refused: boolean }): void;
  outboxBuffered(count: number): void;
  outboxOldestUnpublished(ageMs: number): void;

  // Sagas
  sagaStepEnded(saga: string, step: string, outcome: string, durationMs: number): void;
  sagaEnded(saga: string, state: string, durationMs: number): void;

  // Resilience policies
  /** A call through a policy ended: `ok`, `failed`, `timeout`, `breaker-open`, `bulkhead-full` ... */
  policyCalled(policy: string, outcome: string, durationMs: number): void;
  policyRetried(policy: string): void;
  /** A failed attempt was not repeated, for lack of budget or of time. */
  policyRetryDenied(policy: string, reason: string): void;
  /** A fallback answered. */
  policyFellBack(policy: string): void;
}

const nothing = (): void => undefined;

/** Counts nothing: the default wherever a recorder is optional. */
export const noMetrics: MetricsRecorder = {
  handled: nothing,
  requested: nothing,
  httpServed: nothing,
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
  groupEnded: nothing,
  unitsWaiting: nothing,
  messagePublished: nothing,
  publishFailed: nothing,
  outboxBuffered: nothing,
  outboxOldestUnpublished: nothing,
  sagaStepEnded: nothing,
  sagaEnded: nothing,
  policyCalled: nothing,
  policyRetried: nothing,
  policyRetryDenied: nothing,
  policyFellBack: nothing,
};
