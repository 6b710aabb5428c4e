import type { AnyMessage, ReplyOutcome } from '@flotilla/contracts-protocol';
import type { CancelDecision } from '../definition/define-saga.ts';
import type { SagaReason } from '../definition/next.ts';
import type { HistoryEntry, SagaDirection, SagaInstance } from '../instance.ts';

/** The answer to a saga's command. */
export interface ReplyInput {
  readonly type: 'reply';
  readonly commandId: string;
  readonly outcome: ReplyOutcome;
  readonly body: unknown;
}

/** Everything that can happen to an instance. */
export type SagaInput =
  | ReplyInput
  | { readonly type: 'event'; readonly id: string; readonly message: AnyMessage }
  /** What the owner's code tells it; the payload is what the signal's schema has read. */
  | { readonly type: 'signal'; readonly id: string; readonly name: string; readonly payload: unknown }
  | { readonly type: 'timer' }
  /** A customer's cancellation; `force` (an operator's abort) also goes past `cancellableUntil` and out of a park. */
  | { readonly type: 'cancel'; readonly reason: SagaReason; readonly force: boolean }
  /** An operator's decision; the reason is kept in the history. */
  | { readonly type: 'retry'; readonly reason?: string }
  | { readonly type: 'park'; readonly reason: SagaReason }
  /** What a `run` effect came to; never from outside. */
  | { readonly type: 'ran'; readonly result: unknown }
  | { readonly type: 'run-refused'; readonly failure: SagaReason };

/** What has to be done, in the same unit of work that writes the instance. */
export type SagaEffect =
  | {
      readonly type: 'send';
      readonly command: AnyMessage;
      readonly commandId: string;
      /** From 2 on, the same command is sent again: it needs a transport id of its own. */
      readonly attempt: number;
    }
  /** Run a local action and feed the outcome back as `ran` or `run-refused`, before anything is written. */
  | { readonly type: 'run'; readonly step: string; readonly direction: SagaDirection }
  | { readonly type: 'cancel-decided'; readonly decision: CancelDecision }
  | { readonly type: 'completed' }
  | { readonly type: 'compensated'; readonly reason: SagaReason };

/** What became of an answer, an event or a timer. */
export type HandledAnswer =
  | { readonly outcome: 'applied' }
  | { readonly outcome: 'buffered' }
  | { readonly outcome: 'ignored'; readonly why: string };

/** What became of a cancellation or an abort. */
export type CancelAnswer =
  /** `after-reply`: what is in flight is awaited first, because its effect must be known to be undone. */
  | { readonly outcome: 'accepted'; readonly when: 'now' | 'after-reply' }
  /** It is decided when the step has ended; `onCancelDecided` says how. */
  | { readonly outcome: 'pending'; readonly step: string }
  /** It was taken before, and refused then. */
  | { readonly outcome: 'refused'; readonly reason: string }
  | { readonly outcome: 'tooLate'; readonly step: string }
  | { readonly outcome: 'alreadyCompensating'; readonly reason: SagaReason }
  | { readonly outcome: 'alreadyEnded'; readonly status: 'completed' | 'compensated' }
  | DefinitionMissing;

/** What became of an operator's retry. */
export type RetryAnswer =
  | { readonly outcome: 'resumed' }
  /** It could not go on for the reason given, and is parked again. */
  | { readonly outcome: 'parkedAgain'; readonly reason: SagaReason }
  | { readonly outcome: 'notParked'; readonly status: SagaInstance['status'] }
  | DefinitionMissing;

/** The version that the instance started with is not registered in this process. */
export interface DefinitionMissing {
  readonly outcome: 'definitionMissing';
  readonly version: number;
}

export type SagaAnswer = HandledAnswer | CancelAnswer | RetryAnswer;

export interface Transition<D> {
  /** The very object that went in, if nothing changed. */
  readonly instance: SagaInstance<D>;
  readonly effects: readonly SagaEffect[];
  readonly history: readonly HistoryEntry[];
  readonly answer: SagaAnswer;
}

export const applied: HandledAnswer = { outcome: 'applied' };
export const ignored = (why: string): HandledAnswer => ({ outcome: 'ignored', why });
