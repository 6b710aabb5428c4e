import type { Deadline, SagaStep } from '../definition/steps.ts';
import { WHOLE_SAGA } from '../instance.ts';
import type { Draft } from './draft.ts';

/** Starts the deadlines of the scope and the group that begin here, unless they run. */
export function enterDeadlines<D, A>(draft: Draft<D, A>, index: number, step: SagaStep<D, A>): void {
  const { i, definition } = draft;
  const starts = (name: string, { ms }: Deadline<D>): void => {
    if (i.deadlines === null || !Object.hasOwn(i.deadlines, name))
      i.deadlines = { ...i.deadlines, [name]: draft.now + ms };
  };
  for (const { name, from, to, deadline } of definition.scopes) {
    if (index >= from && index < to) starts(name, deadline);
  }
  if (step.kind === 'parallel' && step.deadline) starts(step.name, step.deadline);
}

/** Forgets the deadlines of what does not reach to this step; the whole saga's stays. */
export function leaveDeadlines<D, A>(draft: Draft<D, A>, index: number): void {
  const { i, definition } = draft;
  if (i.deadlines === null) return;
  const name = definition.steps[index]?.name;
  const kept = Object.entries(i.deadlines).filter(
    ([of]) =>
      of === WHOLE_SAGA ||
      of === name ||
      definition.scopes.some((scope) => scope.name === of && index >= scope.from && index < scope.to),
  );
  i.deadlines = kept.length === 0 ? null : Object.fromEntries(kept);
}
