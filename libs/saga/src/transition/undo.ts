import { readFailure } from '@flotilla/contracts-protocol';
import { reasonOf, type SagaReason } from '../definition/next.ts';
import { retriesFailure } from '../definition/retry-policy.ts';
import { compensationOf, type CommandCompensation, type SagaStep } from '../definition/steps.ts';
import type { ReplyInput } from './contract.ts';
import { call, type Draft } from './draft.ts';
import { parkInstance } from './parking.ts';
import { resend, retryLater, send } from './sending.ts';

/**
 * Turns around: undoes everything on the stack, one after another, the latest first; also the branches of a group, in
 * the order in which they ended. A cancellation that was pending is thereby accepted, and is the reason.
 */
export function compensate<D, A>(draft: Draft<D, A>, reason: SagaReason): void {
  const { i } = draft;
  draft.changed = true;
  const { cancel } = i;
  const why = cancel === null ? reason : reasonOf(cancel);
  if (cancel !== null && cancel.force === undefined) acceptCancel(draft, cancel.message);
  i.status = 'compensating';
  i.direction = 'compensation';
  i.reason = why;
  i.cancel = null;
  forgetTheWay(draft);
  draft.note('compensating', i.step, { code: why.code, message: why.message });
  goBack(draft, 1);
}

/** Tells whoever asked that the cancellation is carried out. */
export function acceptCancel<D, A>(draft: Draft<D, A>, reason: string): void {
  draft.effects.push({ type: 'cancel-decided', decision: { accepted: true, reason } });
}

/** Undoes the latest step that is still to be undone; ends the saga when none is left. */
export function goBack<D, A>(draft: Draft<D, A>, attempt: number): void {
  const { i } = draft;
  draft.changed = true;
  i.attempt = attempt;
  i.commandId = null;
  i.dueAt = null;
  i.waiting = null;
  const name = i.undo.at(-1);
  if (name === undefined) return end(draft, 'compensated');
  i.step = name;
  const step = draft.undoStep;
  const undo = compensationOf(step);
  if (undo?.kind === 'local') {
    i.waiting = 'action';
    draft.effects.push({ type: 'run', step: name, direction: 'compensation' });
    return;
  }
  const message = undo && call(step, 'compensate.send', () => undo.make(i.data));
  if (message === undefined || undo === undefined) {
    i.undo = i.undo.slice(0, -1);
    return goBack(draft, 1);
  }
  send(draft, i, name, message, undo.policy, attempt);
}

/** The step that was being undone has been; the next one's turn. */
export function undone<D, A>(draft: Draft<D, A>, detail: Record<string, unknown> | null = null): void {
  draft.note('undone', draft.undoStep.name, detail);
  draft.i.undo = draft.i.undo.slice(0, -1);
  goBack(draft, 1);
}

/** Leaves the step that cannot be undone as it is. */
export function skipUndo<D, A>(draft: Draft<D, A>, reason: string): void {
  draft.note('undo-skipped', draft.i.step, { reason });
  draft.i.undo = draft.i.undo.slice(0, -1);
  goBack(draft, 1);
}

/** The answer to a compensation. */
export function onUndoReply<D, A>(draft: Draft<D, A>, { outcome, body }: ReplyInput): void {
  const { i } = draft;
  const [step, undo] = undoing(draft);
  i.commandId = null;
  i.dueAt = null;
  i.waiting = null;
  if (outcome === 'ok') return undone(draft);
  const failure = readFailure(body);
  const detail = { undo: true, code: failure.code, message: failure.message };
  if (outcome === 'refused') {
    if (undo.tolerated.has(failure.code)) return undone(draft, { tolerated: failure.code });
    draft.note('refused', step.name, detail);
    return parkInstance(draft, reasonOf(failure));
  }
  draft.note('failed', step.name, detail);
  if (i.attempt <= undo.policy.retries && retriesFailure(undo.policy, failure, true)) {
    return retryLater(draft, i, undo.policy);
  }
  parkInstance(draft, reasonOf(failure));
}

/** The timer of a compensation: the answer did not come, or a failed one is due again. */
export function onUndoTimer<D, A>(draft: Draft<D, A>): void {
  const { i } = draft;
  if (i.waiting === 'retry') {
    const { epoch } = i;
    goBack(draft, i.attempt + 1);
    if (i.epoch > epoch) draft.note('resent', i.step, { attempt: i.attempt });
    return;
  }
  const [step, { command, policy, make }] = undoing(draft);
  draft.note('timed-out', step.name, { attempt: i.attempt, undo: true });
  if (i.attempt <= policy.retries) {
    const again = call(step, 'compensate.send', () => make(i.data));
    if (again !== undefined) return resend(draft, i, again, policy);
  }
  parkInstance(draft, unanswered(command.contract.type, i.attempt, policy.timeoutMs));
}

/** The reason of a command that nobody answered. */
export function unanswered(type: string, attempt: number, timeoutMs: number): SagaReason {
  return {
    code: 'TIMEOUT',
    message: `${type} was sent ${attempt} time(s) and not answered within ${timeoutMs} ms`,
  };
}

/** The saga is over. */
export function end<D, A>(draft: Draft<D, A>, status: 'completed' | 'compensated'): void {
  const { i } = draft;
  i.status = status;
  i.step = null;
  i.waiting = null;
  i.commandId = null;
  i.dueAt = null;
  i.attempt = 0;
  i.endedAt = draft.now;
  forgetTheWay(draft);
  draft.note(status, null);
  if (status === 'completed') draft.effects.push({ type: 'completed' });
  else {
    const reason = i.reason ?? { code: 'compensated', message: 'compensated' };
    draft.effects.push({ type: 'compensated', reason });
  }
}

/** What is of use only on the way forward. */
function forgetTheWay<D, A>({ i }: Draft<D, A>): void {
  i.buffer = [];
  i.branches = [];
  i.signals = [];
  i.deadlines = null;
  i.failing = null;
}

function undoing<D, A>(draft: Draft<D, A>): [SagaStep<D, A>, CommandCompensation<D>] {
  const step = draft.undoStep;
  const undo = compensationOf(step);
  if (undo?.kind !== 'command') throw draft.stepGone(step.name);
  return [step, undo];
}
