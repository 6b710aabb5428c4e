import type { SagaOptions, Stretch } from './define-saga.ts';
import type { Fallback } from './next.ts';
import { policyProblems } from './retry-policy.ts';
import { commandsOf, compensationOf, withInner, type ParallelStep, type SagaStep } from './steps.ts';

const NAME = /^[a-z][a-z0-9-]*$/;

/** Everything that is inconsistent in a declaration, a line each. */
export function sagaProblems<D, A>(
  { name, version, deadlineMs }: SagaOptions<D, A>,
  steps: readonly SagaStep<D, A>[],
  scopes: readonly Stretch<D>[],
  pivot: number,
): string[] {
  const problems: string[] = [];
  if (!NAME.test(name)) problems.push(`name "${name}" must be kebab-case`);
  if (!Number.isInteger(version) || version < 1) {
    problems.push(`version must be a whole number from 1, not ${version}`);
  }
  if (deadlineMs !== undefined && !(deadlineMs > 0)) {
    problems.push(`deadlineMs must be positive, not ${deadlineMs}`);
  }
  if (steps.length === 0) problems.push('it has no steps');
  const declared = steps.flatMap((step) => (step.kind === 'parallel' ? [step, ...step.branches] : [step]));
  const names = [...declared, ...scopes].map((each) => each.name);
  for (const twice of new Set(names.filter((each, index) => names.indexOf(each) !== index))) {
    problems.push(`step "${twice}" appears twice`);
  }
  const pivots = declared.filter((step) => step.pivot);
  if (pivots.length > 1)
    problems.push(`it has ${pivots.length} pivots: ${pivots.map((step) => step.name).join(', ')}`);
  steps.forEach((step, index) => {
    problems.push(...stepProblems(step, index > pivot));
    const before = steps.slice(0, index);
    problems.push(...cancelProblems(step, before));
  });
  for (const scope of scopes) problems.push(...scopeProblems(scope, pivot));
  return problems;
}

function stepProblems<D, A>(step: SagaStep<D, A>, afterPivot: boolean): string[] {
  const problems: string[] = [];
  const complain = (problem: string): number => problems.push(`step "${step.name}": ${problem}`);
  if (!NAME.test(step.name)) complain('the name must be kebab-case');
  for (const { contract } of withInner(step).flatMap(commandsOf)) {
    if (contract.kind !== 'command') complain(`${contract.type} is a ${contract.kind}, not a command`);
  }
  switch (step.kind) {
    case 'command':
      problems.push(...policyProblems(step.name, step.policy));
      if (step.fallback) problems.push(...exchangeProblems(step.fallback));
      if (step.fallback && step.onTimeout !== undefined && step.onFailed !== undefined) {
        complain('has a fallback that onTimeout and onFailed leave nothing to do for: leave one of them out');
      }
      break;
    case 'wait':
      if (step.events.length === 0 && step.signal === undefined) complain('waits for no event');
      for (const { contract } of step.events) {
        if (contract.kind !== 'event') complain(`${contract.type} is a ${contract.kind}, not an event`);
      }
      if (!(step.timeoutMs > 0)) complain(`timeoutMs must be positive, not ${step.timeoutMs}`);
      break;
    case 'parallel':
      problems.push(...groupProblems(step, afterPivot));
      break;
    case 'local':
      break;
  }
  problems.push(...compensationProblems(step));
  if (afterPivot && undoesByItself(step)) {
    complain(`comes after the pivot, so it cannot say 'compensate': use 'park' or a function`);
  }
  return problems;
}

function exchangeProblems<D, A>(step: SagaStep<D, A> & { kind: 'command' }): string[] {
  return [...policyProblems(step.name, step.policy), ...compensationProblems(step)];
}

function compensationProblems<D, A>(step: SagaStep<D, A>): string[] {
  const compensation = compensationOf(step);
  if (compensation?.kind !== 'command') return [];
  return policyProblems(`${step.name}" (compensation) "`, compensation.policy);
}

function undoesByItself<D, A>(step: SagaStep<D, A>): boolean {
  const fallbacks: (Fallback<D> | undefined)[] =
    step.kind === 'command'
      ? [step.onTimeout, step.onFailed]
      : step.kind === 'wait'
        ? [step.onTimeout]
        : step.kind === 'parallel'
          ? [step.deadline?.onDeadline]
          : [];
  return fallbacks.includes('compensate');
}

function groupProblems<D, A>(group: ParallelStep<D, A>, afterPivot: boolean): string[] {
  const problems: string[] = [];
  const complain = (problem: string): number => problems.push(`step "${group.name}": ${problem}`);
  if (group.branches.length < 2) complain(`has ${group.branches.length} branch(es), and needs at least two`);
  if (group.deadline !== undefined && !(group.deadline.ms > 0)) {
    complain(`deadlineMs must be positive, not ${group.deadline.ms}`);
  }
  for (const branch of group.branches) {
    if (branch.kind === 'local' || branch.kind === 'parallel') {
      complain(`its branch "${branch.name}" is ${branch.kind}: branches are commands and waits`);
    }
    if (branch.pivot) complain(`its branch "${branch.name}" is the pivot: a pivot stands alone`);
    if (branch.cancel !== undefined) complain(`its branch "${branch.name}" has cancel: give it to the group`);
    problems.push(...stepProblems(branch, afterPivot));
  }
  return problems;
}

function cancelProblems<D, A>(step: SagaStep<D, A>, before: readonly SagaStep<D, A>[]): string[] {
  if (typeof step.cancel !== 'object') return [];
  const { tryUndo } = step.cancel;
  const complain = (problem: string): string[] => [`step "${step.name}": cancel.tryUndo ${problem}`];
  if (step.kind !== 'wait') return complain('is for steps that wait for an event or a signal');
  const undone = before.find(({ name }) => name === tryUndo);
  if (undone === undefined) return complain(`names no earlier step: "${tryUndo}"`);
  if (undone.kind !== 'command' || undone.compensation?.kind !== 'command') {
    return complain(`names "${tryUndo}", which is not a command with a compensation`);
  }
  return [];
}

function scopeProblems<D>({ name, from, to, deadline }: Stretch<D>, pivot: number): string[] {
  const problems: string[] = [];
  const complain = (problem: string): number => problems.push(`scope "${name}": ${problem}`);
  if (!NAME.test(name)) complain('the name must be kebab-case');
  if (from === to) complain('it has no steps');
  if (!(deadline.ms > 0)) complain(`deadlineMs must be positive, not ${deadline.ms}`);
  if (from > pivot && deadline.onDeadline === 'compensate') {
    complain(`comes after the pivot, so it cannot say 'compensate': use 'park' or a function`);
  }
  return problems;
}
