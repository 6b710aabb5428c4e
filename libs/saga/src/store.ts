import type { HistoryEntry, SagaInstance, SagaRef, SagaStatus } from './instance.ts';

/** A durable timer. */
export interface DueTimer extends SagaRef {
  readonly dueAt: number;
  /** The trace of the instance, if it has one. */
  readonly traceparent: string | null;
}

export interface SagaFilter {
  readonly saga?: string;
  /** One status, or `open` for all that have not ended. Default: every instance. */
  readonly status?: SagaStatus | 'open';
  /** Those that are at this step. */
  readonly step?: string;
  readonly version?: number;
  /** Those that have not changed since then. */
  readonly unchangedSince?: number;
  /** At most so many. Default 50. */
  readonly limit?: number;
  /** The last instance of the page before. */
  readonly after?: SagaRef;
}

export interface SagaCount {
  readonly saga: string;
  readonly version: number;
  readonly status: SagaStatus;
  readonly count: number;
}

/** Where instances live. Every method works inside the unit of work that the caller is in. */
export interface SagaStore {
  /** Writes a new instance; false if there is one already (then nothing is written). */
  insert(instance: SagaInstance, history: readonly HistoryEntry[]): Promise<boolean>;
  load(ref: SagaRef): Promise<SagaInstance | undefined>;
  /**
   * The instance as this process has last written it, if it still knows: it may have been changed elsewhere since, so only
   * what is saved over it counts. It is given out once.
   */
  recall?(ref: SagaRef): SagaInstance | undefined;
  /**
   * Writes `next` over `before` and adds to the history; false if the stored revision is not `before.revision` any
   * more (then nothing is written).
   */
  save(before: SagaInstance, next: SagaInstance, history: readonly HistoryEntry[]): Promise<boolean>;
  /** Adds to the history of an instance that does not change. */
  record(ref: SagaRef, history: readonly HistoryEntry[]): Promise<void>;
  /** The timers in the order in which they are due, at most `limit`, whether due or not. */
  nextTimers(limit: number): Promise<DueTimer[]>;
  /** The instance, locked, if its timer is due and nobody else has it; undefined otherwise. */
  claimDue(ref: SagaRef, now: number): Promise<SagaInstance | undefined>;
  /** The latest ids first. */
  list(filter: SagaFilter): Promise<SagaInstance[]>;
  /** The oldest line first. */
  history(ref: SagaRef): Promise<HistoryEntry[]>;
  /** How many instances have not ended, by saga, version and status. */
  countOpen(): Promise<SagaCount[]>;
  /** Deletes instances that ended before then, with their history, at most `limit`; says how many. */
  purge(endedBefore: number, limit: number): Promise<number>;
}

export const DEFAULT_LIST_LIMIT = 50;
