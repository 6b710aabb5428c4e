import { contractOf, type AnyMessage } from '@flotilla/contracts-protocol';
import type { WaitStep } from '../definition/steps.ts';
import { hasEnded } from '../instance.ts';
import { applied, ignored, type HandledAnswer } from './contract.ts';
import { call, type Draft, type Place } from './draft.ts';
import { goOn, settle } from './forward.ts';
import { unpark } from './parking.ts';
import { awaits, keptAs, rememberSignal } from './waits.ts';

/** How many early events and signals an instance keeps. More is a fault in the conversation, not a need. */
export const MAX_BUFFERED_EVENTS = 32;

/** Something that a step may wait for: an event, or a signal. */
interface Arrival {
  readonly kind: 'event' | 'signal';
  readonly id: string;
  /** What it is kept under until its step comes. */
  readonly type: string;
  readonly message: AnyMessage;
  /** How the history names it. */
  readonly detail: Readonly<Record<string, unknown>>;
}

export function onEvent<D, A>(draft: Draft<D, A>, id: string, message: AnyMessage): HandledAnswer {
  const { type } = contractOf(message);
  return arrive(draft, { kind: 'event', id, type, message, detail: { type, eventId: id } });
}

export function onSignal<D, A>(
  draft: Draft<D, A>,
  id: string,
  name: string,
  payload: unknown,
): HandledAnswer {
  if (draft.i.signals.includes(id)) return ignored('it has been used already');
  const detail = { signal: name, id };
  return arrive(draft, { kind: 'signal', id, type: keptAs(name), message: { payload }, detail });
}

function arrive<D, A>(draft: Draft<D, A>, arrival: Arrival): HandledAnswer {
  const { i } = draft;
  const { kind, id, type, message, detail } = arrival;
  const refuse = (why: string): HandledAnswer => {
    draft.note(`${kind}-ignored`, i.step, { ...detail, why });
    return ignored(why);
  };
  if (hasEnded(i)) return refuse(`the saga has ended: ${i.status}`);
  if (i.direction === 'compensation') return refuse('the saga compensates');
  const [place, step] = waitingPlace(draft, type) ?? [];
  if (place !== undefined && step !== undefined) {
    const where = kind === 'event' ? 'onEvent' : 'onSignal';
    const next = call(step, where, () => step.arrived(i.data, message));
    unpark(draft);
    draft.note(kind, step.name, detail);
    if (step.signal) rememberSignal(draft, place.node, step.signal, id, next);
    if (place.branch) place.branch.parked = null;
    goOn(draft, place, next);
    settle(draft);
    return applied;
  }
  if (!isStillToCome(draft, type)) return refuse('no step still to come waits for it');
  if (i.buffer.some((each) => each.id === id)) return ignored('it is kept already');
  if (i.buffer.length >= MAX_BUFFERED_EVENTS)
    return refuse(`${MAX_BUFFERED_EVENTS} early events are kept already`);
  draft.changed = true;
  i.buffer = [...i.buffer, { id, type, payload: message.payload }];
  draft.note('event-buffered', i.step, detail);
  return { outcome: 'buffered' };
}

function waitingPlace<D, A>(draft: Draft<D, A>, type: string): [Place<D, A>, WaitStep<D>] | undefined {
  for (const place of draft.openPlaces) {
    const { step } = place.node;
    if (step.kind === 'wait' && awaits(step, type)) return [place, step];
  }
  return undefined;
}

/** Whether a step after this one waits for it, or this one, once a cancellation that it was asked is decided. */
function isStillToCome<D, A>(draft: Draft<D, A>, type: string): boolean {
  const here = draft.node(draft.i.step);
  for (const { main, index } of draft.definition.nodes.values()) {
    if (main.kind !== 'wait' || !awaits(main, type)) continue;
    if (index > here.index || (here.role === 'cancel' && main === here.main)) return true;
  }
  return false;
}
