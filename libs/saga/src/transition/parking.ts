import type { SagaReason } from '../definition/next.ts';
import type { Draft, Place } from './draft.ts';

/** Stops the instance for a person. A command that was not answered stays noted: its answer may still move it. */
export function parkInstance<D, A>(draft: Draft<D, A>, reason: SagaReason): void {
  const { i } = draft;
  draft.changed = true;
  i.status = 'parked';
  i.parked = { ...reason, at: draft.now };
  i.waiting = null;
  i.dueAt = null;
  for (const branch of i.branches) parkBranch(branch, branch.parked ?? reason);
  draft.note('parked', i.step, { code: reason.code, message: reason.message });
}

/** Stops one place for a person; of a group the others go on, and the instance is parked when none is left. */
export function parkPlace<D, A>(draft: Draft<D, A>, { branch }: Place<D, A>, reason: SagaReason): void {
  if (branch === undefined) return parkInstance(draft, reason);
  draft.changed = true;
  parkBranch(branch, reason);
}

/** Ends a park, if there is one; `detail` says on whose word. */
export function unpark<D, A>(draft: Draft<D, A>, detail: Record<string, unknown> | null = null): void {
  const { i } = draft;
  draft.changed = true;
  if (i.status !== 'parked') return;
  i.status = i.direction === 'forward' ? 'running' : 'compensating';
  i.parked = null;
  if (i.branches.length > 0) i.waiting = 'branches';
  draft.note('resumed', i.step, detail);
}

function parkBranch(branch: NonNullable<Place<unknown, unknown>['branch']>, reason: SagaReason): void {
  branch.parked = reason;
  branch.waiting = null;
  branch.dueAt = null;
}
