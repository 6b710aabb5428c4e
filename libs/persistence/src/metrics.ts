/** How a group of units of work ended. */
export type GroupOutcome = 'committed' | 'rolled_back' | 'failed';

/**
 * What this library measures. Every method is optional and must be quick and never throw: they are called on the
 * hot path.
 */
export interface PersistenceMetrics {
  /** A transaction ended that carried `size` units of work. */
  groupEnded?(group: {
    readonly size: number;
    readonly durationMs: number;
    readonly outcome: GroupOutcome;
  }): void;
  /** How many units of work wait for a connection, told when a group starts. */
  unitsWaiting?(count: number): void;
  /** The broker took a message, `ageMs` after it was handed over for publishing. */
  messagePublished?(message: { readonly ageMs: number; readonly relayed: boolean }): void;
  /** The broker did not take a message; it is published again unless `refused`. */
  publishFailed?(failure: { readonly code: string; readonly refused: boolean }): void;
  /** How many committed messages this process keeps in memory for publishing. */
  outboxBuffered?(count: number): void;
  /** Age of the oldest message that is committed and not published, 0 when there is none. Told by the relay. */
  outboxOldestUnpublished?(ageMs: number): void;
}
