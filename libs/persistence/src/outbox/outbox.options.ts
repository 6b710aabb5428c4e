import { PersistenceOptionsError } from '../persistence.errors.ts';

export interface OutboxLimits {
  /** Committed messages kept in memory for publishing at most; what exceeds it is read from the table. Default 10,000. */
  readonly maxBuffered?: number;
  /** Messages that the broker may have unanswered at the same time. Default 256. */
  readonly maxInFlight?: number;
  /** First delay before a message is published again, ms; it doubles up to `retryMaxMs`. Default 100. */
  readonly retryInitialMs?: number;
  /** Default 10,000 ms. */
  readonly retryMaxMs?: number;
  /** How long published messages wait to be marked together, ms. Default 25. */
  readonly markDelayMs?: number;
  /** How often the relay looks for messages left behind, ms. Default 2,000. */
  readonly relayPollMs?: number;
  /**
   * How old an unpublished message must be before the relay takes it from a process that may still be at it, ms. Default
   * 3,000. Lower recovers sooner after a crash, and publishes more messages twice when the broker is slow.
   */
  readonly relayGraceMs?: number;
  /** Messages that the relay reads at a time, per partition. Default 500. */
  readonly relayBatch?: number;
  /** How often a message that the broker refused is tried again, ms. Default 60,000. */
  readonly refusedRetryMs?: number;
  /** Days that published messages are kept, so that a broker that lost them can get them again. Default 7. */
  readonly retentionDays?: number;
  /** Days that inbox entries are kept; at least a day more than messages can come again. Default 8. */
  readonly inboxRetentionDays?: number;
  /** How often partitions are made and old rows dropped, ms. Default 3,600,000 (an hour). */
  readonly maintenanceMs?: number;
}

/** Fills in the defaults; throws {@link PersistenceOptionsError} with everything that is wrong. */
export function resolveOutboxLimits(input: OutboxLimits = {}): Required<OutboxLimits> {
  const limits: Required<OutboxLimits> = {
    maxBuffered: input.maxBuffered ?? 10_000,
    maxInFlight: input.maxInFlight ?? 256,
    retryInitialMs: input.retryInitialMs ?? 100,
    retryMaxMs: input.retryMaxMs ?? 10_000,
    markDelayMs: input.markDelayMs ?? 25,
    relayPollMs: input.relayPollMs ?? 2_000,
    relayGraceMs: input.relayGraceMs ?? 3_000,
    relayBatch: input.relayBatch ?? 500,
    refusedRetryMs: input.refusedRetryMs ?? 60_000,
    retentionDays: input.retentionDays ?? 7,
    inboxRetentionDays: input.inboxRetentionDays ?? 8,
    maintenanceMs: input.maintenanceMs ?? 3_600_000,
  };
  const problems = Object.entries(limits)
    .filter(([, value]) => !(Number.isInteger(value) && value >= 1))
    .map(([name, value]) => `${name} is ${value}, expected a whole number of at least 1`);
  if (limits.inboxRetentionDays <= limits.retentionDays) {
    problems.push(
      `inboxRetentionDays (${limits.inboxRetentionDays}) must be more than retentionDays (${limits.retentionDays}): ` +
        'messages that are published again must still be recognised',
    );
  }
  if (problems.length > 0) throw new PersistenceOptionsError('the outbox', problems);
  return limits;
}
