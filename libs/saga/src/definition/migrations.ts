import { WHOLE_SAGA, type SagaInstance } from '../instance.ts';
import type { SagaDefinition } from './define-saga.ts';
import type { Node } from './nodes.ts';
import type { SagaStep } from './steps.ts';

/** How an instance of an older version becomes one of the newer. */
export interface SagaMigration<D> {
  /**
   * Old step names to new ones. An instance is carried over where this names everything that it refers to: the step it
   * is at, its branches, and what is still to be undone. Elsewhere it finishes on its own version.
   */
  readonly steps: Readonly<Record<string, string>>;
  /** What its data becomes. Default: it stays as it is. */
  readonly data?: (old: never) => D;
}

/** Declares the data's change with the type that it had. */
export function migration<Old, D>(
  steps: Readonly<Record<string, string>>,
  data?: (old: Old) => D,
): SagaMigration<D> {
  // What was stored under the old version is what its definition made of it.
  return { steps, ...(data && { data: data }) };
}

/** What is wrong with a definition's migrations, a line each. */
export function migrationProblems<D, A>(
  version: number,
  migrations: Readonly<Record<number, SagaMigration<D>>>,
  nodes: ReadonlyMap<string, Node<D, A>>,
): string[] {
  return Object.entries(migrations).flatMap(([from, { steps }]) => {
    const problems: string[] = [];
    const complain = (problem: string): number => problems.push(`migration from ${from}: ${problem}`);
    if (!(Number(from) < version)) complain(`is not from a version before ${version}`);
    const targets = Object.values(steps);
    for (const target of targets.filter((name) => !nodes.has(name))) complain(`names no step: "${target}"`);
    for (const twice of new Set(targets.filter((name, index) => targets.indexOf(name) !== index))) {
      complain(`makes several steps one: "${twice}"`);
    }
    return problems;
  });
}

/**
 * What is wrong with a migration once the older definition is known too, a line each: what is in flight must be
 * understood by the step that it becomes, and what is to be undone must still be undone by something.
 */
export function mismatches<D, A>(old: SagaDefinition<D, A>, next: SagaDefinition<D, A>): string[] {
  const steps = next.migrations[old.version]?.steps ?? {};
  return Object.entries(steps).flatMap(([from, to]) => {
    const [before, after] = [old.nodes.get(from), next.nodes.get(to)];
    const complain = (problem: string): string[] => [
      `${next.name}: migration from ${old.version} to ${next.version}, "${from}" to "${to}": ${problem}`,
    ];
    if (before === undefined) return complain('the old version has no such step');
    if (after === undefined) return [];
    if (before.step.kind !== after.step.kind) {
      return complain(`${before.step.kind} cannot become ${after.step.kind}`);
    }
    if (sentBy(before.step) !== sentBy(after.step)) {
      return complain(`the answer to ${sentBy(before.step)} is not one to ${sentBy(after.step)}`);
    }
    if (undoOf(before.step) !== undefined && undoOf(after.step) === undefined) {
      return complain('it has a compensation that the new step has not');
    }
    return [];
  });
}

/**
 * The instance as one of `next`'s; undefined where no migration covers it. Throws what the migration's own function
 * throws.
 */
export function migrated<D, A>(
  instance: SagaInstance<D>,
  next: SagaDefinition<D, A>,
): SagaInstance<D> | undefined {
  const declared = Object.hasOwn(next.migrations, instance.version)
    ? next.migrations[instance.version]
    : undefined;
  if (declared === undefined) return undefined;
  // What the engine derives from a step (`ship/fallback`) goes where the step goes.
  const renamed = (name: string): string => {
    const [base = name, derived] = name.split('/');
    const to = Object.hasOwn(declared.steps, base) ? declared.steps[base] : undefined;
    return to === undefined ? '' : derived === undefined ? to : `${to}/${derived}`;
  };
  const named = [instance.step ?? [], instance.undo, instance.branches.map(({ step }) => step)].flat();
  if (!named.every((name) => next.nodes.has(renamed(name)))) return undefined;
  const deadlines = Object.entries(instance.deadlines ?? {}).filter(
    ([of]) => of === WHOLE_SAGA || next.scopes.some(({ name }) => name === of) || next.nodes.has(of),
  );
  const dues = instance.branches.flatMap(({ dueAt }) => dueAt ?? []);
  return {
    ...instance,
    version: next.version,
    step: instance.step === null ? null : renamed(instance.step),
    dueAt: dues.length === 0 ? instance.dueAt : Math.min(...dues, ...deadlines.map(([, at]) => at)),
    branches: instance.branches.map((branch) => ({ ...branch, step: renamed(branch.step) })),
    undo: instance.undo.map(renamed),
    deadlines: deadlines.length === 0 ? null : Object.fromEntries(deadlines),
    data: declared.data === undefined ? instance.data : declared.data(instance.data as never),
  };
}

function sentBy<D, A>(step: SagaStep<D, A>): string | undefined {
  return step.kind === 'command' ? step.command.contract.type : undefined;
}

function undoOf<D, A>(step: SagaStep<D, A>): object | undefined {
  return step.kind === 'command' || step.kind === 'local' ? step.compensation : undefined;
}
