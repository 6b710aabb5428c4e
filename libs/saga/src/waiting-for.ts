import { formatDurationMs } from '@flotilla/kernel';
import type { SagaDefinition } from './definition/define-saga.ts';
import { compensationOf, type SagaStep } from './definition/steps.ts';
import type { Branch, SagaInstance } from './instance.ts';

/** What an instance waits for, in one plain sentence. Without its definition it says what can be said. */
export function waitingFor<D, A>(
  definition: Pick<SagaDefinition<D, A>, 'nodes'> | undefined,
  instance: Omit<SagaInstance, 'data'>,
  now: number,
): string {
  const { status, step: name, parked, reason, endedAt, cancel, failing, branches } = instance;
  const ago = (at: number): string => `${formatDurationMs(Math.max(0, now - at))} ago`;
  if (status === 'completed') return `Nothing: it completed ${ago(endedAt ?? now)}.`;
  if (status === 'compensated') {
    return `Nothing: it was compensated ${ago(endedAt ?? now)} (${reason?.code ?? 'no reason kept'}).`;
  }
  const undo = instance.direction === 'compensation';
  const at = undo ? `undoing step "${name ?? ''}"` : `step "${name ?? ''}"`;
  if (status === 'parked') {
    const choices = undo
      ? 'retry undoes the step again, abort leaves it as it is and undoes the rest'
      : 'retry goes on with the step, abort undoes what was done';
    return `A person: ${at} was parked ${ago(parked?.at ?? now)} because of ${parked?.code ?? 'an unknown reason'}: ${parked?.message ?? ''}; ${choices}.`;
  }
  const then =
    failing !== null
      ? `; then it compensates (${failing.code})`
      : cancel === null
        ? ''
        : cancel.lock
          ? '; then its cancellation is decided'
          : `; then it compensates (${cancel.code})`;
  const stepOf = (node: string | null): SagaStep<D, A> | undefined => definition?.nodes.get(node ?? '')?.step;
  if (branches.length > 0) {
    const each = branches.map((branch) => branchSentence(stepOf(branch.step), branch, now));
    return `${each.join('; ')} (${at})${then}.`;
  }
  const sentence = cursorSentence(stepOf(name), instance, now, undo, at);
  return `${sentence}${then}.`;
}

function branchSentence<D, A>(step: SagaStep<D, A> | undefined, branch: Branch, now: number): string {
  if (branch.parked !== null) {
    return `A person, for branch "${branch.step}": ${branch.parked.code}: ${branch.parked.message}`;
  }
  return cursorSentence(step, branch, now, false, `branch "${branch.step}"`);
}

function cursorSentence<D, A>(
  step: SagaStep<D, A> | undefined,
  { waiting, attempt, dueAt }: Pick<Branch, 'waiting' | 'attempt' | 'dueAt'>,
  now: number,
  undo: boolean,
  at: string,
): string {
  const within =
    dueAt === null ? '' : dueAt <= now ? ', due now' : `, for ${formatDurationMs(dueAt - now)} more`;
  switch (waiting) {
    case 'reply': {
      const compensation = step && compensationOf(step);
      const undoing = compensation?.kind === 'command' ? compensation : undefined;
      const sent = undo ? undoing : step?.kind === 'command' ? step : undefined;
      const what = sent?.command.contract.type ?? 'its command';
      const tries = sent === undefined ? `${attempt}` : `${attempt} of ${sent.policy.retries + 1}`;
      return `The answer to ${what} (${at}, sending ${tries}${within})`;
    }
    case 'event':
      return `${awaitedBy(step)} (${at}${within})`;
    case 'retry':
      return `The next try after a technical failure (${at}, sending ${attempt + 1}${within})`;
    case 'branches':
    case 'action':
    case null:
      return `Its own service (${at})`;
  }
}

function awaitedBy<D, A>(step: SagaStep<D, A> | undefined): string {
  if (step?.kind !== 'wait') return 'Its event';
  if (step.signal) return `The signal ${step.signal.name}`;
  return `The event ${step.events.map(({ contract }) => contract.type).join(' or ')}`;
}
