import { reasonOf, SagaAbort, SagaPark, type Next, type SagaReason } from '../definition/next.ts';
import { applied, ignored, type HandledAnswer } from './contract.ts';
import type { Draft } from './draft.ts';
import { goOn } from './forward.ts';
import { parkInstance } from './parking.ts';
import { compensate, undone } from './undo.ts';

/** What a local action returned. */
export function onRan<D, A>(draft: Draft<D, A>, result: unknown): HandledAnswer {
  const { i } = draft;
  if (i.waiting !== 'action') return ignored('no local action is running');
  i.waiting = null;
  // The action's own type says what it returns; it came back through the driver as unknown.
  if (i.direction === 'compensation') {
    if (result !== undefined) i.data = result as D;
    undone(draft);
    return applied;
  }
  const { here } = draft;
  draft.note('ran', here.node.name);
  const next = result as Next<D>;
  if (!(next instanceof SagaAbort) && !(next instanceof SagaPark)) draft.mustUndo(here.node.step);
  goOn(draft, here, next);
  return applied;
}

/** A local action threw a BusinessError: it did nothing. */
export function onRunRefused<D, A>(draft: Draft<D, A>, failure: SagaReason): HandledAnswer {
  const { i, definition } = draft;
  if (i.waiting !== 'action') return ignored('no local action is running');
  i.waiting = null;
  const undo = i.direction === 'compensation';
  draft.note('refused', i.step, { ...(undo && { undo }), code: failure.code, message: failure.message });
  if (undo || draft.node(i.step).index > definition.pivot) parkInstance(draft, reasonOf(failure));
  else compensate(draft, reasonOf(failure));
  return applied;
}
