import type { SagaDefinition } from '../definition/define-saga.ts';
import type { SagaReason } from '../definition/next.ts';
import type { Node } from '../definition/nodes.ts';
import { compensationOf, type SagaStep } from '../definition/steps.ts';
import type { Branch, Cursor, HistoryEntry, HistoryKind, SagaInstance } from '../instance.ts';
import { SagaDefinitionFaultError } from '../saga.errors.ts';
import type { SagaAnswer, SagaEffect, Transition } from './contract.ts';

type Writable<T> = { -readonly [K in keyof T]: T[K] };

/** A node and the cursor that stands there: the instance itself, or one of its branches. */
export interface Place<D, A> {
  readonly node: Node<D, A>;
  readonly at: Writable<Cursor>;
  /** The branch that `at` is, if it is one. */
  readonly branch: Writable<Branch> | undefined;
}

/** One transition being worked out: what the instance becomes, what is to be done, and what is noted. */
export class Draft<D, A> {
  readonly definition: SagaDefinition<D, A>;
  readonly now: number;
  readonly i: Writable<SagaInstance<D>> & { branches: Writable<Branch>[] };
  readonly effects: SagaEffect[] = [];
  changed = false;
  readonly #before: SagaInstance<D>;
  readonly #history: HistoryEntry[] = [];

  constructor(definition: SagaDefinition<D, A>, instance: SagaInstance<D>, now: number) {
    this.definition = definition;
    this.now = now;
    this.#before = instance;
    this.i = { ...instance, branches: instance.branches.map((branch) => ({ ...branch })) };
  }

  finish(answer: SagaAnswer): Transition<D> {
    if (this.changed) {
      this.i.updatedAt = this.now;
      if (this.i.status === 'running') this.i.dueAt = this.#nextDue();
    }
    return {
      instance: this.changed ? this.i : this.#before,
      effects: this.effects,
      history: this.#history,
      answer,
    };
  }

  note(kind: HistoryKind, step: string | null, detail: Record<string, unknown> | null = null): void {
    this.#history.push({ at: this.now, kind, step, detail });
  }

  /** Whether the way forward is at its end, once the answers in flight are there; and why. */
  get stopping(): SagaReason | null {
    const { failing, cancel } = this.i;
    return failing ?? (cancel?.lock === undefined ? cancel : null);
  }

  /** Where the instance stands on its way forward. */
  get here(): Place<D, A> {
    return { node: this.node(this.i.step), at: this.i, branch: undefined };
  }

  /** Where it waits: its own place, or those of its open branches. */
  get openPlaces(): Place<D, A>[] {
    if (this.i.branches.length === 0) return [this.here];
    return this.i.branches.map((branch) => this.#placeOf(branch));
  }

  /** The place that waits, or waited, for the answer to this command. */
  placeWaitingFor(commandId: string): Place<D, A> | undefined {
    const { i } = this;
    if (i.commandId === commandId) return this.here;
    const branch = i.branches.find((each) => each.commandId === commandId);
    return branch && this.#placeOf(branch);
  }

  node(name: string | null): Node<D, A> {
    const node = name === null ? undefined : this.definition.nodes.get(name);
    if (node === undefined) throw this.stepGone(name);
    return node;
  }

  /** The step that is being undone. */
  get undoStep(): SagaStep<D, A> {
    return this.node(this.i.undo.at(-1) ?? null).step;
  }

  /** Notes that the step was done, or may have been. */
  mustUndo(step: SagaStep<D, A>): void {
    const { i } = this;
    if (compensationOf(step) === undefined || i.undo.includes(step.name)) return;
    i.undo = [...i.undo, step.name];
  }

  /** Whether what goes wrong at this node is undone, unless the definition says otherwise. */
  compensatesByItself({ index, main }: Node<D, A>): boolean {
    const { pivot } = this.definition;
    // A pivot that cannot be undone is, once its effect is unknown, as good as passed.
    return index < pivot || (index === pivot && compensationOf(main) !== undefined);
  }

  /** Takes the branch out of its group: it has ended, or is given up. */
  close(branch: Writable<Branch>): void {
    this.i.branches = this.i.branches.filter((each) => each !== branch);
  }

  stepGone(step: string | null): SagaDefinitionFaultError {
    const { name, version } = this.definition;
    return new SagaDefinitionFaultError(
      step ?? '',
      `${name} v${version}`,
      new TypeError(
        'the step is no longer what the instance was at: a changed definition needs a new version',
      ),
    );
  }

  #placeOf(branch: Writable<Branch>): Place<D, A> {
    return { node: this.node(branch.step), at: branch, branch };
  }

  /** The step's own time, or the end of a deadline if that is sooner. */
  #nextDue(): number | null {
    const { waiting, branches, deadlines, dueAt, step } = this.i;
    if (waiting === 'action') return dueAt;
    let due = dueAt;
    if (waiting === 'branches') {
      due = branches.reduce<number | null>((least, branch) => sooner(least, branch.dueAt), null);
    }
    if (deadlines === null || this.definition.nodes.get(step ?? '')?.role === 'cancel') return due;
    return Object.values(deadlines).reduce<number | null>(sooner, due);
  }
}

function sooner(a: number | null, b: number | null): number | null {
  if (a === null || b === null) return a ?? b;
  return Math.min(a, b);
}

/** Calls a function of the definition; what it throws is a fault of the definition at this step. */
export function call<T>(step: { readonly name: string }, where: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw new SagaDefinitionFaultError(step.name, where, error);
  }
}
