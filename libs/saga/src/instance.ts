import { deterministicId } from '@flotilla/kernel';
import type { SagaReason } from './definition/next.ts';

/**
 * `running` forward, `compensating` backward, ended as `completed` or `compensated`, or `parked`: neither way goes
 * on without a person (or the answer that did not come).
 */
export type SagaStatus = 'running' | 'compensating' | 'completed' | 'compensated' | 'parked';

/** Which way an instance goes, also while it is parked. */
export type SagaDirection = 'forward' | 'compensation';

/**
 * What an instance waits for: the answer to the command in flight, an event or a signal, the delay before the next try
 * of a failed command, the branches of a group, or (only inside one unit of work) a local action.
 */
export type SagaWaiting = 'reply' | 'event' | 'retry' | 'branches' | 'action';

/** Where something stands: the instance as a whole, or one branch of a group. */
export interface Cursor {
  /** The node that it is at; null once the instance has ended. */
  readonly step: string | null;
  readonly waiting: SagaWaiting | null;
  /** Which try of this step in this direction, from 1. */
  readonly attempt: number;
  /** The command whose answer is still of interest: in flight, or given up on when it was parked. */
  readonly commandId: string | null;
  /** The durable timer. */
  readonly dueAt: number | null;
}

/** One branch of a group that has not ended. */
export interface Branch extends Cursor {
  readonly step: string;
  /** Why it waits for a person; the instance is parked when all its open branches do. */
  readonly parked: SagaReason | null;
}

/** A cancellation, or an operator's abort, that waits for what is in flight. */
export interface PendingCancel extends SagaReason {
  /** The end of the step decides whether it is still possible: see `CancelMode`. */
  readonly lock?: true;
  /** An operator's: nobody waits for its decision. */
  readonly force?: true;
}

/** A cancellation that was refused after it had been taken. */
export interface RefusedCancel {
  readonly reason: string;
  readonly at: number;
}

/** The key of the whole saga's deadline among {@link SagaInstance.deadlines}; no step can be called so. */
export const WHOLE_SAGA = '*';

/** An event or a signal that came before the saga waited for it. */
export interface BufferedEvent {
  readonly id: string;
  /** The event's type, or `signal:<name>`. */
  readonly type: string;
  readonly payload: unknown;
}

/** Why and since when an instance is parked. */
export interface Parked extends SagaReason {
  readonly at: number;
}

/** One saga of one business object: all that is known of it, plain data. Times are milliseconds since the epoch. */
export interface SagaInstance<D = unknown> extends Cursor {
  readonly saga: string;
  /** The id of the business object, for example the order's. Unique per saga. */
  readonly id: string;
  /** The version of the definition that it started with. */
  readonly version: number;
  /** Counts the writes; a write expects the revision that was read. */
  readonly revision: number;
  readonly status: SagaStatus;
  readonly direction: SagaDirection;
  /** Counts the commands made so far; a sending that is repeated unanswered keeps its epoch. */
  readonly epoch: number;
  /** The branches of the group that it is at which have not ended. */
  readonly branches: readonly Branch[];
  /** When the time of the scopes and groups that it is in is over, by name. */
  readonly deadlines: Readonly<Record<string, number>> | null;
  /** Steps to be undone, the latest last. */
  readonly undo: readonly string[];
  readonly buffer: readonly BufferedEvent[];
  /** The ids of signals that were used and that could count once more, so that none does. */
  readonly signals: readonly string[];
  /** Set while a cancellation waits for what is in flight. */
  readonly cancel: PendingCancel | null;
  readonly cancelRefused: RefusedCancel | null;
  /** Why a branch gave up, while the answers of the others are awaited. */
  readonly failing: SagaReason | null;
  /** Why it compensates or has compensated. */
  readonly reason: SagaReason | null;
  readonly parked: Parked | null;
  /**
   * A command of it may be handled later than its answer was waited for, or somebody has interfered: its commands keep
   * to their streams from then on, which keep them in order.
   */
  readonly inDoubt?: true;
  readonly data: D;
  readonly correlationId: string | null;
  /** The trace that it was started in, as a W3C `traceparent`: what its timers do belongs to it too. */
  readonly traceparent: string | null;
  readonly startedAt: number;
  readonly updatedAt: number;
  readonly endedAt: number | null;
}

/** What can be read in an instance's history. */
export type HistoryKind =
  | 'started'
  | 'replied'
  | 'refused'
  | 'failed'
  | 'timed-out'
  | 'resent'
  | 'ran'
  | 'event'
  | 'event-buffered'
  | 'event-ignored'
  | 'reply-ignored'
  | 'signal'
  | 'signal-ignored'
  | 'fallback'
  | 'deadline-passed'
  | 'cancel-requested'
  | 'cancel-refused'
  | 'migrated'
  | 'compensating'
  | 'undone'
  | 'undo-skipped'
  | 'parked'
  | 'resumed'
  | 'completed'
  | 'compensated';

/** One line of an instance's history: small, without the saga's data. */
export interface HistoryEntry {
  readonly at: number;
  readonly kind: HistoryKind;
  readonly step: string | null;
  readonly detail: Readonly<Record<string, unknown>> | null;
}

/** Names an instance. */
export interface SagaRef {
  readonly saga: string;
  readonly id: string;
}

/** The reference as one string, `<saga>:<id>`: what travels with a command and comes back with its answer. */
export function sagaKey({ saga, id }: SagaRef): string {
  return `${saga}:${id}`;
}

/** Reads what {@link sagaKey} wrote; undefined for anything else. */
export function parseSagaKey(key: string): SagaRef | undefined {
  const colon = key.indexOf(':');
  if (colon <= 0 || colon === key.length - 1) return undefined;
  return { saga: key.slice(0, colon), id: key.slice(colon + 1) };
}

/** The id of a saga's command: the same for every sending of one epoch, so that receivers recognise a repetition. */
export function sagaCommandId(ref: SagaRef, step: string, direction: SagaDirection, epoch: number): string {
  return deterministicId('saga', ref.saga, ref.id, step, direction, epoch);
}

/** Whether the instance has ended: it never changes again. */
export function hasEnded({ status }: Pick<SagaInstance, 'status'>): boolean {
  return status === 'completed' || status === 'compensated';
}
