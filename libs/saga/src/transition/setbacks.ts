import { SagaPark, type Fallback, type SagaReason } from '../definition/next.ts';
import { call, type Draft, type Place } from './draft.ts';
import { begin, giveUp, goOn } from './forward.ts';
import { parkInstance, parkPlace } from './parking.ts';

/** What happened was not the good end: a refusal, a failure, no answer. */
export interface Setback {
  /** The option that may say what happens now. */
  readonly where: 'onRefused' | 'onTimeout' | 'onFailed' | 'onDeadline';
  readonly reason: SagaReason;
  /** Whether the step may have been done all the same. */
  readonly effectUnknown: boolean;
}

/** Does what the definition says about a setback; where it says nothing, the fallback command's turn has come. */
export function fallBack<D, A>(
  draft: Draft<D, A>,
  place: Place<D, A>,
  { where, reason, effectUnknown }: Setback,
  declared: Fallback<D> | undefined,
): void {
  const { node } = place;
  const { step } = node;
  const stopping = draft.stopping ?? draft.i.cancel;
  // Whether the other step is undone is what the cancellation waits for: only a person can say, or the late answer.
  if (node.role === 'cancel' && draft.stopping === null) return parkInstance(draft, reason);
  if (stopping === null && declared === undefined && step.kind === 'command' && step.fallback) {
    return insteadOf(draft, place, effectUnknown);
  }
  const turnsBack = effectUnknown
    ? draft.compensatesByItself(node)
    : node.index <= draft.definition.pivot && step.kind === 'command';
  const fallback = declared ?? (turnsBack || draft.compensatesByItself(node) ? 'compensate' : 'park');
  if (stopping === null && fallback === 'park') return parkPlace(draft, place, reason);
  if (stopping === null && typeof fallback === 'function') {
    const next = call(step, where, () => fallback(draft.i.data));
    if (next instanceof SagaPark) return parkPlace(draft, place, next.reason);
    if (effectUnknown) draft.mustUndo(step);
    return goOn(draft, place, next);
  }
  if (effectUnknown) draft.mustUndo(step);
  giveUp(draft, place, stopping ?? reason);
}

/** The fallback command's turn; a step that may have been done is taken back before. */
function insteadOf<D, A>(draft: Draft<D, A>, place: Place<D, A>, effectUnknown: boolean): void {
  const { step } = place.node;
  const withdraw = draft.definition.nodes.get(`${step.name}/withdraw`);
  draft.note('fallback', step.name, effectUnknown && withdraw ? { withdrawn: 'first' } : null);
  if (effectUnknown) draft.mustUndo(step);
  const node = effectUnknown && withdraw ? withdraw : draft.node(`${step.name}/fallback`);
  begin(draft, { ...place, node });
}
