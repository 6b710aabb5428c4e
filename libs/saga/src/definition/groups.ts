import type { StepOptions } from './command.ts';
import type { Fallback } from './next.ts';
import type { Deadline, SagaScope, SagaStep } from './steps.ts';

interface DeadlineOptions<D> {
  /** How long it may take as a whole, in milliseconds. No step within waits longer than what is left of it. */
  readonly deadlineMs: number;
  /**
   * When the time is over. What is in flight is given up, its effect unknown: `compensate` undoes it with the rest,
   * `park` leaves it to a person; a function goes on behind it all, where what was done stays done. Default:
   * compensate (park, after the pivot).
   */
  readonly onDeadline?: Fallback<NoInfer<D>>;
}

export interface ParallelOptions<D> extends Omit<StepOptions<D>, 'pivot'>, Partial<DeadlineOptions<D>> {}

/**
 * Commands and waits that are under way at the same time. It ends when all have ended. Where one gives up, the answers
 * of the others in flight are awaited, and what was done, or may have been, is undone. Each reads the data as it is
 * when its own answer comes: branches should write different fields.
 */
export function parallel<D, A>(
  name: string,
  branches: readonly SagaStep<D, A>[],
  options: ParallelOptions<D> = {},
): SagaStep<D, A> {
  return {
    kind: 'parallel',
    name,
    branches,
    when: options.when,
    pivot: false,
    cancel: options.cancel,
    deadline: deadlineOf(options),
  };
}

/** Consecutive steps that have to be through within one deadline. */
export function scope<D, A>(
  name: string,
  options: DeadlineOptions<D>,
  steps: readonly SagaStep<D, A>[],
): SagaScope<D, A> {
  return {
    kind: 'scope',
    name,
    steps,
    deadline: { ms: options.deadlineMs, onDeadline: options.onDeadline },
  };
}

function deadlineOf<D>({ deadlineMs, onDeadline }: Partial<DeadlineOptions<D>>): Deadline<D> | undefined {
  return deadlineMs === undefined ? undefined : { ms: deadlineMs, onDeadline };
}
