import type { SagaReason } from '../definition/next.ts';
import { hasEnded } from '../instance.ts';
import { applied, ignored, type CancelAnswer, type HandledAnswer, type RetryAnswer } from './contract.ts';
import { cancelModeAt } from './cancellation.ts';
import type { Draft } from './draft.ts';
import { begin, goForward, settle, tryUndo } from './forward.ts';
import { parkInstance, unpark } from './parking.ts';
import { acceptCancel, compensate, goBack, skipUndo } from './undo.ts';

/** A customer's cancellation, or an operator's abort, which asks no step's leave. */
export function onCancel<D, A>(draft: Draft<D, A>, reason: SagaReason, force: boolean): CancelAnswer {
  const { i } = draft;
  if (i.status === 'completed' || i.status === 'compensated')
    return { outcome: 'alreadyEnded', status: i.status };
  const parked = i.status === 'parked';
  if (i.direction === 'compensation') {
    if (!parked || !force) return { outcome: 'alreadyCompensating', reason: i.reason ?? reason };
    unpark(draft);
    skipUndo(draft, reason.message);
    return { outcome: 'accepted', when: 'now' };
  }
  if (i.failing !== null && !parked) return { outcome: 'alreadyCompensating', reason: i.failing };
  const { node } = draft.here;
  if (!force) {
    if (i.cancelRefused !== null) return { outcome: 'refused', reason: i.cancelRefused.reason };
    if (i.cancel?.lock) return { outcome: 'pending', step: node.main.name };
  }
  if (i.cancel !== null && i.cancel.lock === undefined && !parked) {
    return { outcome: 'accepted', when: 'after-reply' };
  }
  const mode = force ? 'allow' : cancelModeAt(draft, node);
  if (mode === 'tooLate') return { outcome: 'tooLate', step: node.main.name };

  draft.changed = true;
  draft.note('cancel-requested', i.step, { code: reason.code, message: reason.message });
  // A customer who still waits for a decision has it now.
  if (force && i.cancel !== null && i.cancel.force === undefined) acceptCancel(draft, i.cancel.message);
  i.cancel = { ...reason, ...(force && { force: true }), ...(mode !== 'allow' && { lock: true }) };
  if (mode === 'wait') return { outcome: 'pending', step: node.main.name };
  if (mode === 'allow') cancelNow(draft, parked);
  else {
    unpark(draft);
    tryUndo(draft, node, mode.tryUndo);
    if (draft.i.cancel !== null) return { outcome: 'pending', step: node.main.name };
  }
  return { outcome: 'accepted', when: i.cancel === null ? 'now' : 'after-reply' };
}

/** Turns around, unless an answer is in flight: whatever comes then does it. */
function cancelNow<D, A>(draft: Draft<D, A>, parked: boolean): void {
  const { i } = draft;
  if (!parked && i.waiting === 'reply') return;
  if (!parked && i.waiting === 'branches') return settle(draft);
  unpark(draft);
  undoEverything(draft);
}

/** An operator has a parked instance go on: what it is at is tried again, under new command ids. */
export function onRetry<D, A>(draft: Draft<D, A>, reason: string | undefined): RetryAnswer {
  const { i } = draft;
  if (i.status !== 'parked') return { outcome: 'notParked', status: i.status };
  unpark(draft, reason === undefined ? null : { reason });
  if (i.direction === 'compensation') goBack(draft, 1);
  else if (draft.stopping !== null) undoEverything(draft);
  else {
    liftPassedDeadlines(draft);
    tryAgain(draft);
  }
  return { outcome: 'resumed' };
}

function tryAgain<D, A>(draft: Draft<D, A>): void {
  const { here } = draft;
  if (draft.i.branches.length > 0) {
    for (const place of draft.openPlaces) if (place.at.waiting === null) begin(draft, place);
    return settle(draft);
  }
  if (here.node.role === 'step') return goForward(draft, here.node.index);
  begin(draft, here);
}

/** Whoever has it go on although the time is over has decided that it is still worth it. */
function liftPassedDeadlines<D, A>(draft: Draft<D, A>): void {
  const { i } = draft;
  const left = Object.entries(i.deadlines ?? {}).filter(([, at]) => at > draft.now);
  i.deadlines = left.length === 0 ? null : Object.fromEntries(left);
}

/** Stops it for a person to look at. */
export function onPark<D, A>(draft: Draft<D, A>, reason: SagaReason): HandledAnswer {
  if (hasEnded(draft.i)) return ignored(`the saga has ended: ${draft.i.status}`);
  if (draft.i.status === 'parked') return ignored('the saga is parked already');
  parkInstance(draft, reason);
  return applied;
}

/** Parked or between two tries: whether what it is at had an effect is not known, so it is undone too. */
function undoEverything<D, A>(draft: Draft<D, A>): void {
  const reason = draft.stopping;
  if (reason === null) return;
  if (draft.i.step !== null) for (const { node } of draft.openPlaces) draft.mustUndo(node.step);
  compensate(draft, reason);
}
