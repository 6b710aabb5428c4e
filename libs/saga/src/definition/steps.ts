import type { AnyMessage, AnyMessageClass, FailureBody } from '@flotilla/contracts-protocol';
import type { Fallback, Next } from './next.ts';
import type { CommandPolicy } from './retry-policy.ts';
import type { SagaSignal } from './signal.ts';

/** A compensation by a command. */
export interface CommandCompensation<D> {
  readonly kind: 'command';
  readonly command: AnyMessageClass;
  readonly policy: CommandPolicy;
  /** The command; undefined if there is nothing to undo. Throws if the payload is not valid. */
  readonly make: (data: D) => AnyMessage | undefined;
  /** Refusals that mean that there is nothing left to undo. */
  readonly tolerated: ReadonlySet<string>;
}

/** A compensation inside the owner's database, in the same unit of work. */
export interface LocalCompensation<D, A> {
  readonly kind: 'local';
  readonly run: (data: D, actions: A) => Promise<D | void>;
}

export type Compensation<D, A> = CommandCompensation<D> | LocalCompensation<D, A>;

/**
 * What becomes of a customer's cancellation that comes at a step:
 * - `allow`: the answer of a command in flight is awaited, then everything is undone;
 * - `wait`: it is kept until the step has ended, and the next step's own word decides;
 * - `tooLate`: it is refused at once;
 * - `{ tryUndo }`: the earlier step of that name is undone first. If its owner refuses, so is the cancellation, and
 *   the saga goes on; otherwise the rest is undone too.
 */
export type CancelMode = 'allow' | 'wait' | 'tooLate' | { readonly tryUndo: string };

interface StepBase<D> {
  readonly name: string;
  readonly pivot: boolean;
  readonly when: ((data: D) => boolean) | undefined;
  readonly cancel: CancelMode | undefined;
}

/** A step that sends a durable command and waits for its answer. */
export interface CommandStep<D, A> extends StepBase<D> {
  readonly kind: 'command';
  readonly command: AnyMessageClass;
  readonly policy: CommandPolicy;
  /** Undefined only where a step is taken back that has nothing to undo. */
  readonly make: (data: D) => AnyMessage | undefined;
  /** Throws InvalidReplyError for a body that the contract does not allow. */
  readonly parseReply: (body: unknown) => unknown;
  readonly replied: (data: D, reply: unknown) => Next<D>;
  /** The handler of a declared refusal with its data, or undefined if the step has none for it. */
  readonly refused: (failure: FailureBody) => ((data: D) => Next<D>) | undefined;
  readonly onTimeout: Fallback<D> | undefined;
  readonly onFailed: Fallback<D> | undefined;
  readonly compensation: Compensation<D, A> | undefined;
  /** The command that is tried instead, as a step of its own. */
  readonly fallback: CommandStep<D, A> | undefined;
}

/** A step inside the owner's database, in the same unit of work as the answer that led to it. */
export interface LocalStep<D, A> extends StepBase<D> {
  readonly kind: 'local';
  readonly run: (data: D, actions: A) => Promise<Next<D>>;
  readonly compensation: Compensation<D, A> | undefined;
}

/** A step that waits for an event, or for a signal. */
export interface WaitStep<D> extends StepBase<D> {
  readonly kind: 'wait';
  readonly events: readonly AnyMessageClass[];
  readonly signal: SagaSignal | undefined;
  /** The id of the instance that an event is for. */
  readonly instanceOf: (message: AnyMessage) => string;
  /** What an event adds to the data; of a signal, the `message` is its payload alone. */
  readonly arrived: (data: D, message: AnyMessage) => Next<D>;
  readonly timeoutMs: number;
  readonly onTimeout: Fallback<D> | undefined;
}

/** Steps that are under way at the same time; it ends when all of them have. */
export interface ParallelStep<D, A> extends StepBase<D> {
  readonly kind: 'parallel';
  /** Commands and waits. */
  readonly branches: readonly SagaStep<D, A>[];
  readonly deadline: Deadline<D> | undefined;
}

export type SagaStep<D, A> = CommandStep<D, A> | LocalStep<D, A> | WaitStep<D> | ParallelStep<D, A>;

/** How long something may take as a whole, and what happens then. */
export interface Deadline<D> {
  /** Milliseconds from its beginning. */
  readonly ms: number;
  /** Default: compensate (park, after the pivot). */
  readonly onDeadline: Fallback<D> | undefined;
}

/** Consecutive steps under one deadline. */
export interface SagaScope<D, A> {
  readonly kind: 'scope';
  readonly name: string;
  readonly steps: readonly SagaStep<D, A>[];
  readonly deadline: Deadline<D>;
}

/** What undoes a step, if anything does. */
export function compensationOf<D, A>(step: SagaStep<D, A>): Compensation<D, A> | undefined {
  return step.kind === 'command' || step.kind === 'local' ? step.compensation : undefined;
}

/** The step itself and what is declared within it: branches, and the commands that are tried instead. */
export function withInner<D, A>(step: SagaStep<D, A>): SagaStep<D, A>[] {
  if (step.kind === 'parallel') return [step, ...step.branches.flatMap(withInner)];
  return step.kind === 'command' && step.fallback ? [step, step.fallback] : [step];
}

/** The commands that one step sends, its compensation's included; without those of steps within it. */
export function commandsOf<D, A>(step: SagaStep<D, A>): AnyMessageClass[] {
  const compensation = compensationOf(step);
  return [
    ...(step.kind === 'command' ? [step.command] : []),
    ...(compensation?.kind === 'command' ? [compensation.command] : []),
  ];
}
