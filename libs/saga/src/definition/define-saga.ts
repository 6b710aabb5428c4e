import type { AnyMessageClass } from '@flotilla/contracts-protocol';
import { migrationProblems, type SagaMigration } from './migrations.ts';
import type { SagaReason } from './next.ts';
import { nodesOf, type Node } from './nodes.ts';
import { sagaProblems } from './problems.ts';
import type { SagaSignal } from './signal.ts';
import { commandsOf, withInner, type Deadline, type SagaScope, type SagaStep } from './steps.ts';

/** How a cancellation that had to wait was decided. */
export interface CancelDecision {
  readonly accepted: boolean;
  /** Why it was wished for if it was accepted; why not if it was refused. */
  readonly reason: string;
}

export interface SagaOptions<D, A> {
  /** Kebab-case; part of every command id and of the stored instances: never rename it. */
  readonly name: string;
  /**
   * Counts changes that running instances could not follow (steps added, removed or put in another order).
   * Instances finish on the version that they started with: keep the old definition registered until none is left,
   * or say in `migrations` how they are carried over.
   */
  readonly version: number;
  /**
   * The first step at which a customer's cancellation comes too late, unless a step says otherwise in `cancel`.
   * Default: the pivot; without a pivot a saga can be cancelled until it ends.
   */
  readonly cancellableUntil?: string;
  /** How long the whole saga may take, in milliseconds. Default: as long as its steps do. */
  readonly deadlineMs?: number;
  /** When that time is over. Default `compensate`; after the pivot it is parked whatever this says. */
  readonly onDeadline?: 'compensate' | 'park';
  /** By version: how the instances of older versions are carried over to this one. Default: not at all. */
  readonly migrations?: Readonly<Record<number, SagaMigration<D>>>;
  /** Runs in the unit of work that ends the saga well. An error fails the unit, which is then tried again. */
  readonly onCompleted?: (data: D, actions: A) => Promise<void>;
  /** Runs in the unit of work in which the last compensation is done. */
  readonly onCompensated?: (data: D, actions: A, reason: SagaReason) => Promise<void>;
  /**
   * Runs in the unit of work that decides a cancellation which was taken: `accepted` when undoing begins, refused
   * when the saga has got past the point where it could. A cancellation that is too late at once is only answered.
   */
  readonly onCancelDecided?: (data: D, actions: A, decision: CancelDecision) => Promise<void>;
}

/** A scope as a stretch of {@link SagaDefinition.steps}. */
export interface Stretch<D> {
  readonly name: string;
  /** Indices of its first step and of the first behind it. */
  readonly from: number;
  readonly to: number;
  readonly deadline: Deadline<D>;
}

/** A saga as declared: data, safe to share, run by the engine, drawn, simulated and tested from the same object. */
export interface SagaDefinition<D, A> {
  readonly name: string;
  readonly version: number;
  /** The steps in order, those of scopes among them. */
  readonly steps: readonly SagaStep<D, A>[];
  readonly scopes: readonly Stretch<D>[];
  /** Every place where an instance can stand, by name. */
  readonly nodes: ReadonlyMap<string, Node<D, A>>;
  readonly deadline: Deadline<D> | undefined;
  readonly migrations: Readonly<Record<number, SagaMigration<D>>>;
  /** Index of the first step that cannot be cancelled any more; the number of steps if all can. */
  readonly cancellableUntil: number;
  /** Index of the pivot; the number of steps if there is none. */
  readonly pivot: number;
  /** The commands that it sends, for the service's manifest: `sends: [...fulfilment.sends]`. */
  readonly sends: readonly AnyMessageClass[];
  /** The events that it waits for, for the service's manifest. */
  readonly awaits: readonly AnyMessageClass[];
  /** The signals that it waits for. */
  readonly signals: readonly SagaSignal[];
  readonly onCompleted: ((data: D, actions: A) => Promise<void>) | undefined;
  readonly onCompensated: ((data: D, actions: A, reason: SagaReason) => Promise<void>) | undefined;
  readonly onCancelDecided: ((data: D, actions: A, decision: CancelDecision) => Promise<void>) | undefined;
}

/**
 * Declares a saga: its steps in order, of data `D` (plain JSON) with the owner's actions `A`. Throws a TypeError
 * that lists everything inconsistent in the declaration.
 */
export function defineSaga<D extends object, A = unknown>(
  options: SagaOptions<D, A>,
  entries: readonly (SagaStep<D, A> | SagaScope<D, A>)[],
): SagaDefinition<D, A> {
  const { steps, scopes } = laidOut(entries);
  const pivotAt = steps.findIndex((step) => step.pivot);
  const pivot = pivotAt < 0 ? steps.length : pivotAt;
  const cancellableUntil =
    options.cancellableUntil === undefined
      ? pivot
      : steps.findIndex(({ name }) => name === options.cancellableUntil);
  const nodes = nodesOf(steps);
  const problems = [
    ...sagaProblems(options, steps, scopes, pivot),
    ...(cancellableUntil < 0 ? [`cancellableUntil names no step: "${options.cancellableUntil}"`] : []),
    ...migrationProblems(options.version, options.migrations ?? {}, nodes),
  ];
  if (problems.length > 0) {
    throw new TypeError(`Saga "${options.name}" is not consistent:\n- ${problems.join('\n- ')}`);
  }
  const all = steps.flatMap(withInner);
  const waits = all.filter((step) => step.kind === 'wait');
  return Object.freeze({
    name: options.name,
    version: options.version,
    steps: Object.freeze(steps),
    scopes: Object.freeze(scopes),
    nodes,
    deadline:
      options.deadlineMs === undefined
        ? undefined
        : { ms: options.deadlineMs, onDeadline: options.onDeadline },
    migrations: options.migrations ?? {},
    cancellableUntil,
    pivot,
    sends: [...new Set(all.flatMap(commandsOf))],
    awaits: [...new Set(waits.flatMap(({ events }) => events))],
    signals: [...new Set(waits.flatMap(({ signal }) => signal ?? []))],
    onCompleted: options.onCompleted,
    onCompensated: options.onCompensated,
    onCancelDecided: options.onCancelDecided,
  });
}

/** The steps in one row, and the scopes as stretches of it. */
function laidOut<D, A>(entries: readonly (SagaStep<D, A> | SagaScope<D, A>)[]) {
  const steps: SagaStep<D, A>[] = [];
  const scopes: Stretch<D>[] = [];
  for (const entry of entries) {
    if (entry.kind !== 'scope') {
      steps.push(entry);
      continue;
    }
    const from = steps.length;
    steps.push(...entry.steps);
    scopes.push({ name: entry.name, from, to: steps.length, deadline: entry.deadline });
  }
  return { steps, scopes };
}
