import { SagaAbort, SagaPark, type Next, type SagaReason } from '../definition/next.ts';
import type { Node } from '../definition/nodes.ts';
import type { CommandStep, SagaStep, WaitStep } from '../definition/steps.ts';
import type { Branch, BufferedEvent } from '../instance.ts';
import { cancelModeAt, refuseCancel } from './cancellation.ts';
import { enterDeadlines, leaveDeadlines } from './deadlines.ts';
import { call, type Draft, type Place } from './draft.ts';
import { parkInstance, parkPlace } from './parking.ts';
import { send } from './sending.ts';
import { compensate, end } from './undo.ts';
import { awaits, rememberSignal } from './waits.ts';

/** Enters the step at `index`, or the first after it that is not skipped, and goes as far as it can. */
export function goForward<D, A>(draft: Draft<D, A>, index: number): void {
  const { i, definition } = draft;
  draft.changed = true;
  const step = definition.steps[index];
  leaveDeadlines(draft, index);
  if (step === undefined) {
    if (i.cancel !== null) refuseCancel(draft, 'it has completed');
    return end(draft, 'completed');
  }
  i.step = step.name;
  i.attempt = 1;
  i.commandId = null;
  i.dueAt = null;
  i.waiting = null;
  const { when } = step;
  if (when !== undefined && !call(step, 'when', () => when(i.data))) return goForward(draft, index + 1);
  enterDeadlines(draft, index, step);
  if (i.cancel !== null && decideCancel(draft, draft.node(step.name))) return;
  begin(draft, draft.here);
  settle(draft);
}

/** Does what there is to do at a place that has just been reached, or is tried again. */
export function begin<D, A>(draft: Draft<D, A>, place: Place<D, A>): void {
  const { at, node } = place;
  const { step } = node;
  draft.changed = true;
  at.step = node.name;
  at.attempt = 1;
  at.commandId = null;
  at.dueAt = null;
  at.waiting = null;
  if (place.branch) place.branch.parked = null;
  switch (step.kind) {
    case 'command': {
      const message = call(step, 'send', () => step.make(draft.i.data));
      if (message === undefined) return succeeded(draft, place, draft.i.data);
      return send(draft, at, step.name, message, step.policy, 1);
    }
    case 'local':
      at.waiting = 'action';
      draft.effects.push({ type: 'run', step: step.name, direction: 'forward' });
      return;
    case 'wait': {
      const kept = draft.i.buffer.find(({ type }) => awaits(step, type));
      if (kept !== undefined) return takeKept(draft, place, step, kept);
      at.waiting = 'event';
      at.dueAt = draft.now + step.timeoutMs;
      return;
    }
    case 'parallel':
      return beginBranches(draft, step.branches);
  }
}

/** A command was answered well, or there was nothing to send: what comes next follows from the node's role. */
export function succeeded<D, A>(draft: Draft<D, A>, place: Place<D, A>, next: Next<D>): void {
  const { node } = place;
  switch (node.role) {
    case 'withdraw':
      takenBack(draft, node.main.name);
      if (draft.stopping !== null) return giveUp(draft, place, draft.stopping);
      return begin(draft, { ...place, node: draft.node(`${node.main.name}/fallback`) });
    case 'cancel':
      if (typeof node.main.cancel === 'object') takenBack(draft, node.main.cancel.tryUndo);
      // The reason is the cancellation that made the saga ask.
      return compensate(draft, draft.i.cancel ?? { code: 'cancelled', message: 'cancelled' });
    case 'step':
    case 'fallback':
      // A parked step is undone only if the person who looks at it decides so.
      if (!(next instanceof SagaPark && draft.stopping === null)) draft.mustUndo(node.step);
      goOn(draft, place, next);
  }
}

/** The place has ended with this result: on to the next step, or out of the group. */
export function goOn<D, A>(draft: Draft<D, A>, place: Place<D, A>, next: Next<D>): void {
  const { stopping } = draft;
  if (stopping !== null) return giveUp(draft, place, stopping);
  if (next instanceof SagaAbort) return giveUp(draft, place, next.reason);
  if (next instanceof SagaPark) return parkPlace(draft, place, next.reason);
  // An untyped action may return nothing: then the data stays as it is.
  draft.i.data = next ?? draft.i.data;
  if (place.branch) draft.close(place.branch);
  else goForward(draft, place.node.index + 1);
}

/** The way forward ends here: the saga turns around, once a group's other answers are there. */
export function giveUp<D, A>(draft: Draft<D, A>, { branch }: Place<D, A>, reason: SagaReason): void {
  if (branch === undefined) return compensate(draft, reason);
  draft.changed = true;
  draft.close(branch);
  if (draft.stopping === null) draft.i.failing = reason;
}

/** After every change of a group: ends it if all have ended, parks it if nothing moves, turns around if one gave up. */
export function settle<D, A>(draft: Draft<D, A>): void {
  const { i } = draft;
  if (i.waiting !== 'branches' || i.direction === 'compensation') return;
  const { stopping } = draft;
  if (stopping !== null) {
    // Only answers in flight are worth waiting for: an effect that is known need not be guessed at.
    for (const { node, branch } of draft.openPlaces) {
      if (branch === undefined || branch.waiting === 'reply') continue;
      draft.mustUndo(node.step);
      draft.close(branch);
    }
    if (i.branches.length === 0) compensate(draft, stopping);
    return;
  }
  const [first] = i.branches;
  if (first === undefined) {
    i.waiting = null;
    return goForward(draft, draft.node(i.step).index + 1);
  }
  if (i.branches.every(({ waiting }) => waiting === null) && first.parked !== null) {
    parkInstance(draft, first.parked);
  }
}

function beginBranches<D, A>(draft: Draft<D, A>, steps: readonly SagaStep<D, A>[]): void {
  const { i } = draft;
  const wanted = steps.filter((step) => {
    const { when } = step;
    return when === undefined || call(step, 'when', () => when(i.data));
  });
  i.branches = wanted.map(({ name: step }) => ({
    step,
    waiting: null,
    attempt: 1,
    commandId: null,
    dueAt: null,
    parked: null,
  }));
  i.waiting = 'branches';
  for (const branch of i.branches) beginBranch(draft, branch);
}

/** Begins a branch; one that has not begun when another gives up is not begun any more. */
function beginBranch<D, A>(draft: Draft<D, A>, branch: Branch): void {
  if (draft.stopping !== null) return draft.close(branch);
  begin(draft, { node: draft.node(branch.step), at: branch, branch });
}

function takeKept<D, A>(
  draft: Draft<D, A>,
  place: Place<D, A>,
  step: WaitStep<D>,
  kept: BufferedEvent,
): void {
  const { i } = draft;
  const known = step.events.find(({ contract }) => contract.type === kept.type);
  const next = call(step, step.signal ? 'onSignal' : 'onEvent', () =>
    step.arrived(i.data, known ? new known(kept.payload as never) : { payload: kept.payload }),
  );
  i.buffer = i.buffer.filter((each) => each !== kept);
  if (step.signal) rememberSignal(draft, place.node, step.signal, kept.id, next);
  const detail = step.signal
    ? { signal: step.signal.name, id: kept.id }
    : { type: kept.type, eventId: kept.id };
  draft.note(step.signal ? 'signal' : 'event', step.name, { ...detail, early: true });
  goOn(draft, place, next);
}

/** A pending cancellation reaches the next step, whose word decides. Says whether the step is not begun. */
function decideCancel<D, A>(draft: Draft<D, A>, node: Node<D, A>): boolean {
  const { cancel } = draft.i;
  const mode = cancelModeAt(draft, node);
  if (cancel === null || mode === 'wait') return false;
  if (mode === 'allow') {
    compensate(draft, cancel);
    return true;
  }
  if (mode === 'tooLate') {
    refuseCancel(draft, `it is too late, at step "${node.name}"`);
    return false;
  }
  tryUndo(draft, node, mode.tryUndo);
  return true;
}

/** Undoes an earlier step to find out whether the cancellation is still possible. */
export function tryUndo<D, A>(draft: Draft<D, A>, node: Node<D, A>, undone: string): void {
  const { i } = draft;
  const asking = i.undo.includes(undone) ? draft.definition.nodes.get(`${node.name}/cancel`) : undefined;
  // What was skipped has no owner to ask.
  if (asking === undefined) return compensate(draft, i.cancel ?? { code: 'cancelled', message: 'cancelled' });
  begin(draft, { node: asking, at: i, branch: undefined });
}

/** Takes what was to be taken back off the stack: it has been. */
function takenBack<D, A>(draft: Draft<D, A>, name: string): void {
  draft.note('undone', name);
  draft.i.undo = draft.i.undo.filter((each) => each !== name);
}

/** A command's node, whose answer this is. */
export function commandAt<D, A>(draft: Draft<D, A>, { step }: Node<D, A>): CommandStep<D, A> {
  if (step.kind !== 'command') throw draft.stepGone(step.name);
  return step;
}
