import type { Node } from '../definition/nodes.ts';
import type { CancelMode } from '../definition/steps.ts';
import type { Draft } from './draft.ts';

/** What becomes of a cancellation at this node. */
export function cancelModeAt<D, A>({ definition }: Draft<D, A>, node: Node<D, A>): CancelMode {
  const declared = definition.steps[node.index]?.cancel;
  return declared ?? (node.index < definition.cancellableUntil ? 'allow' : 'tooLate');
}

/** The saga has got past the point where it could be cancelled; whoever asked is told. */
export function refuseCancel<D, A>(draft: Draft<D, A>, reason: string): void {
  const { i } = draft;
  i.cancel = null;
  i.cancelRefused = { reason, at: draft.now };
  draft.note('cancel-refused', i.step, { reason });
  draft.effects.push({ type: 'cancel-decided', decision: { accepted: false, reason } });
}
