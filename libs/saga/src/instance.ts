import { deterministicId } from '@flotilla/kernel';
import type { SagaReason } from './definition.ts';

/**
 * `running` forward, `compensating` backward, ended as `completed` or `compensated`, or `parked`: neither way goes
 * on without a person (or the answer that did not come).
 */
export type SagaStatus = 'running' | 'compensating' | 'completed' | 'compensated' | 'parked';

/** Which way an instance goes, also while it is parked. */
export type SagaDirection = 'forward' | 'compensation';

/**
 * What an instance waits for: the answer to the command in flight, an event, the delay before the next try of a
 * failed command, or (only inside one unit of work) a local action.
 */
export type SagaWaiting = 'reply' | 'event' | 'retry' | 'action';

/** An event that came before the saga waited for it. */
export interface BufferedEvent {
  readonly id: string;
  readonly type: string;
  readonly payload: unknown;
}

/** Why and since when an instance is parked. */
export interface Parked extends SagaReason {
  readonly at: number;
}

/** One saga of one business object: all that is known of it, plain data. Times are milliseconds since the epoch. */
export interface SagaInstance<D = unknown> {
  readonly saga: string;
  /** The id of the business object, for example the order's. Unique per saga. */
  readonly id: string;
  /** The version of the definition that it started with. */
  readonly version: number;
  /** Counts the writes; a write expects the revision that was read. */
  readonly revision: number;
  readonly status: SagaStatus;
  readonly direction: SagaDirection;
  /** The step that it is at; null once it has ended. */
  readonly step: string | null;
  readonly waiting: SagaWaiting | null;
  /** Which try of this step in this direction, from 1. */
  readonly attempt: number;
  /** Counts the commands made so far; a sending that is repeated unanswered keeps its epoch. */
  readonly epoch: number;
  /** The command whose answer is still of interest: in flight, or given up on when the instance was parked. */
  readonly commandId: string | null;
  /** The durable timer. */
  readonly dueAt: number | null;
  /** Steps to be undone, the latest last. */
  readonly undo: readonly string[];
  readonly buffer: readonly BufferedEvent[];
  /** Set while a cancellation waits for the answer of the step in flight. */
  readonly cancel: SagaReason | null;
  /** Why it compensates or has compensated. */
  readonly reason: SagaReason | null;
  readonly parked: Parked | null;
  readonly data: D;
  readonly correlationId: string | null;
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
  | 'cancel-requested'
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
