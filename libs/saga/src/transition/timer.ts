import { SagaAbort, SagaPark } from '../definition/next.ts';
import type { Deadline } from '../definition/steps.ts';
import { WHOLE_SAGA } from '../instance.ts';
import { applied, ignored, type HandledAnswer } from './contract.ts';
import { call, type Draft, type Place } from './draft.ts';
import { commandAt, goForward, settle, succeeded } from './forward.ts';
import { parkInstance } from './parking.ts';
import { resend, send } from './sending.ts';
import { fallBack } from './setbacks.ts';
import { compensate, onUndoTimer, unanswered } from './undo.ts';

/** The instance's timer: a deadline is over, or a step's time; of a group, that of every branch that is due. */
export function onTimer<D, A>(draft: Draft<D, A>): HandledAnswer {
  const { i, now } = draft;
  if (i.dueAt === null) return ignored('no timer is set');
  if (i.dueAt > now) return ignored('the timer is not due yet');
  if (i.direction === 'compensation') {
    onUndoTimer(draft);
    return applied;
  }
  const over = passedDeadline(draft);
  if (over !== undefined) {
    onDeadline(draft, over);
    return applied;
  }
  for (const place of draft.openPlaces) {
    const { branch } = place;
    if (branch !== undefined && (branch.dueAt === null || branch.dueAt > now)) continue;
    // One that gave up just now may have turned the others away.
    if (branch === undefined || i.branches.includes(branch)) onDue(draft, place);
  }
  settle(draft);
  return applied;
}

function onDue<D, A>(draft: Draft<D, A>, place: Place<D, A>): void {
  const { at, node } = place;
  const { step } = node;
  if (step.kind === 'wait') {
    const awaited =
      step.signal === undefined
        ? step.events.map(({ contract }) => contract.type).join(' or ')
        : `signal ${step.signal.name}`;
    const reason = { code: 'TIMEOUT', message: `${awaited} did not come within ${step.timeoutMs} ms` };
    draft.note('timed-out', step.name);
    return fallBack(draft, place, { where: 'onTimeout', reason, effectUnknown: true }, step.onTimeout);
  }
  const { command, policy, make, onTimeout } = commandAt(draft, node);
  const message = () => call(step, 'send', () => make(draft.i.data));
  if (at.waiting === 'retry') {
    const again = message();
    if (again === undefined) return succeeded(draft, place, draft.i.data);
    send(draft, at, step.name, again, policy, at.attempt + 1);
    return draft.note('resent', step.name, { attempt: at.attempt });
  }
  draft.note('timed-out', step.name, { attempt: at.attempt });
  if (draft.stopping === null && at.attempt <= policy.retries) {
    const again = message();
    if (again !== undefined) return resend(draft, at, again, policy);
  }
  const reason = unanswered(command.contract.type, at.attempt, policy.timeoutMs);
  fallBack(draft, place, { where: 'onTimeout', reason, effectUnknown: true }, onTimeout);
}

/** A deadline, and the index of the first step behind what it is for. */
interface Over<D> {
  readonly name: string;
  readonly deadline: Deadline<D>;
  readonly behind: number;
}

/** The widest deadline that is over. While an owner is asked whether it can be cancelled, none counts. */
function passedDeadline<D, A>(draft: Draft<D, A>): Over<D> | undefined {
  const { definition, i } = draft;
  const { deadlines } = i;
  const here = draft.node(i.step);
  if (deadlines === null || here.role === 'cancel') return undefined;
  const isOver = (name: string): boolean => {
    const at = deadlines[name];
    return at !== undefined && at <= draft.now;
  };
  if (definition.deadline && isOver(WHOLE_SAGA)) {
    return { name: WHOLE_SAGA, deadline: definition.deadline, behind: definition.steps.length };
  }
  const stretch = definition.scopes.find(({ name }) => isOver(name));
  if (stretch) return { name: stretch.name, deadline: stretch.deadline, behind: stretch.to };
  const group = definition.steps[here.index];
  if (group?.kind === 'parallel' && group.deadline && isOver(group.name)) {
    return { name: group.name, deadline: group.deadline, behind: here.index + 1 };
  }
  return undefined;
}

/** Gives up what is in flight: whatever it was, its effect is unknown now. */
function onDeadline<D, A>(draft: Draft<D, A>, { name, deadline, behind }: Over<D>): void {
  const { i } = draft;
  const here = draft.node(i.step);
  const subject = name === WHOLE_SAGA ? 'The saga' : `"${name}"`;
  const reason = { code: 'DEADLINE', message: `${subject} was not through within ${deadline.ms} ms` };
  draft.changed = true;
  draft.note('deadline-passed', i.step, { of: name === WHOLE_SAGA ? 'saga' : name });
  const rest = Object.entries(i.deadlines ?? {}).filter(([of]) => of !== name);
  i.deadlines = rest.length === 0 ? null : Object.fromEntries(rest);

  const giveUpOpen = (): void => {
    for (const { node } of draft.openPlaces) draft.mustUndo(node.step);
    i.branches = [];
  };
  const stopping = draft.stopping ?? i.cancel;
  const byItself = draft.compensatesByItself(here);
  const declared = deadline.onDeadline ?? 'compensate';
  const fallback = declared === 'compensate' && !byItself ? 'park' : declared;
  if (stopping === null && fallback === 'park') return parkInstance(draft, reason);
  if (stopping === null && typeof fallback === 'function') {
    const next = call({ name }, 'onDeadline', () => fallback(i.data));
    if (next instanceof SagaPark) return parkInstance(draft, next.reason);
    giveUpOpen();
    if (next instanceof SagaAbort) return compensate(draft, next.reason);
    i.data = next;
    return goForward(draft, behind);
  }
  giveUpOpen();
  compensate(draft, stopping ?? reason);
}
