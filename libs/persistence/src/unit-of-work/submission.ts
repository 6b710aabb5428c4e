import type { BusinessError } from '@flotilla/contracts-protocol';

/** What identifies a message to the consumer that must handle it once. */
export interface InboxEntry {
  /** Who handles it: the same message may go to several consumers of one service. */
  readonly consumer: string;
  readonly messageId: string;
  /** Units with the same key run one after another in this process, in the order they came. */
  readonly key?: string;
  /** Tells another payload under the same message id apart; see {@link IdempotencyConflictError}. */
  readonly payloadHash?: string;
}

export interface RunOptions {
  /** Units with the same key run one after another in this process, in the order they came. */
  readonly key?: string;
  /**
   * Names of what units of work compete for, a hot row for example. Before any work of its group starts, the unit holds
   * all of them, across replicas; as everybody takes them in one order, nobody deadlocks over them.
   */
  readonly locks?: readonly string[];
  /**
   * The work reads and writes only rows that belong to its key and its locks, makes no savepoints, and writes with
   * INSERT, UPDATE and DELETE, not by functions called in a SELECT. Works of a group that all say so, and share neither
   * key nor lock, overlap: their statements travel together, which halves the cost of each. When one of them fails after
   * it has written, those of its group run again, one after another. Default false.
   */
  readonly independent?: boolean;
}

export interface ProcessOptions extends Omit<RunOptions, 'key'> {
  /**
   * Called, in the unit, when the work throws a {@link BusinessError}, after its changes were undone: what it sends and
   * remembers is committed with the inbox entry. Without it a refused message leaves no trace.
   */
  readonly onRefusal?: (error: BusinessError) => void | Promise<void>;
}

/** The outcome of a message: its result, or, for one that was handled before, the reply that was remembered. */
export type Processed<T> =
  { readonly duplicate: false; readonly result: T } | { readonly duplicate: true; readonly reply: unknown };

/** One unit of work on its way through the group committer. */
export interface Submission {
  readonly work: () => Promise<unknown>;
  /** Runs a function in the async context of whoever submitted the work. */
  readonly inContext: <R>(action: () => R) => R;
  readonly entry?: InboxEntry;
  readonly key?: string;
  readonly locks: readonly string[];
  readonly onRefusal?: (error: BusinessError) => void | Promise<void>;
  readonly resolve: (outcome: Processed<unknown>) => void;
  readonly reject: (error: unknown) => void;
  /** May overlap with others that share neither key nor lock; cleared when an overlapping group has failed. */
  independent: boolean;
  /** Runs in a group of its own: set after a group failed for a reason that may lie with one of its members. */
  alone: boolean;
}
