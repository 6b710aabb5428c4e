import type { DurableCommandClass } from '@flotilla/contracts-protocol';
import { undoByCommand, type StepOptions, type UndoByCommand } from './command.ts';
import type { Next } from './next.ts';
import type { SagaStep } from './steps.ts';

export interface LocalStepOptions<D, A, K extends DurableCommandClass> extends StepOptions<D> {
  /**
   * Runs in the unit of work of the input that led here. A BusinessError is a refusal (throw it before the first
   * write: the unit still commits); any other error fails the unit, which is then tried again.
   */
  readonly run: (data: D, actions: A) => Promise<NoInfer<Next<D>>>;
  /** Undoes it, in its own unit of work or by a command. */
  readonly compensate?: ((data: D, actions: A) => Promise<NoInfer<D> | void>) | UndoByCommand<D, K>;
}

const COMPENSATION_TIMEOUT_MS = 30_000;

/** A step in the owner's own database, in the unit of work of the input that led to it. */
export function local<D, A, K extends DurableCommandClass = never>(
  name: string,
  options: LocalStepOptions<D, A, K>,
): SagaStep<D, A> {
  const { compensate } = options;
  return {
    kind: 'local',
    name,
    when: options.when,
    pivot: options.pivot ?? false,
    cancel: options.cancel,
    run: options.run,
    compensation:
      typeof compensate === 'function'
        ? { kind: 'local', run: compensate }
        : compensate && undoByCommand(compensate, COMPENSATION_TIMEOUT_MS),
  };
}
