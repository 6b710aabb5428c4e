import { SagaPark, type Next } from '../definition/next.ts';
import type { Node } from '../definition/nodes.ts';
import type { SagaSignal } from '../definition/signal.ts';
import type { WaitStep } from '../definition/steps.ts';
import type { Draft } from './draft.ts';

/**
 * The id of a used signal is kept while it could count once more: another step to come waits for the same, or this one
 * goes on waiting because its own function parked it.
 */
export function rememberSignal<D, A>(
  draft: Draft<D, A>,
  used: Node<D, A>,
  { name }: SagaSignal,
  id: string,
  next: Next<D>,
): void {
  const again = [...draft.definition.nodes.values()].some(
    ({ step, index }) =>
      step.kind === 'wait' && step !== used.step && step.signal?.name === name && index >= used.index,
  );
  if (again || next instanceof SagaPark) draft.i.signals = [...draft.i.signals, id];
}

/** Whether the step waits for what is kept under this type. */
export function awaits(
  { events, signal }: Pick<WaitStep<unknown>, 'events' | 'signal'>,
  type: string,
): boolean {
  return (
    events.some(({ contract }) => contract.type === type) ||
    (signal !== undefined && keptAs(signal.name) === type)
  );
}

/** The type under which a signal is kept until its step comes. */
export function keptAs(signal: string): string {
  return `signal:${signal}`;
}
