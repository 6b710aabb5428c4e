import { contractOf, type AnyMessageClass, type PayloadOf } from '@flotilla/contracts-protocol';
import type { StepOptions } from './command.ts';
import type { Fallback, Next } from './next.ts';
import type { SagaSignal } from './signal.ts';
import type { SagaStep } from './steps.ts';

interface WaitOptions<D> extends Omit<StepOptions<D>, 'pivot'> {
  /** How long to wait, in milliseconds: every wait has a deadline. */
  readonly timeoutMs: number;
  /** Default: compensate (park, after the pivot). */
  readonly onTimeout?: Fallback<NoInfer<D>>;
}

export interface WaitStepOptions<D, E extends AnyMessageClass> extends WaitOptions<D> {
  /** The id of the instance that the event is for. Default: the event's aggregate id. */
  readonly instanceOf?: (payload: PayloadOf<E>) => string;
  /** What the event adds to the saga's data. `message instanceof X` tells several events apart. Default: nothing. */
  readonly onEvent?: (data: D, payload: PayloadOf<E>, message: InstanceType<E>) => NoInfer<Next<D>>;
}

export interface SignalStepOptions<D, P> extends WaitOptions<D> {
  /** What the signal adds to the saga's data. Default: nothing. */
  readonly onSignal?: (data: D, payload: P) => NoInfer<Next<D>>;
}

/** A step that waits for an event, or for the first of several. An event that comes earlier is kept until then. */
export function waitFor<D, A, E extends AnyMessageClass>(
  name: string,
  event: E | readonly E[],
  options: WaitStepOptions<D, E>,
): SagaStep<D, A> {
  const events: readonly AnyMessageClass[] = Array.isArray(event) ? event : [event as E];
  return {
    kind: 'wait',
    name,
    events,
    signal: undefined,
    when: options.when,
    pivot: false,
    cancel: options.cancel,
    instanceOf(message) {
      const of = (options.instanceOf ?? contractOf(message).keyOf) as
        ((payload: unknown) => string) | undefined;
      if (of === undefined)
        throw new TypeError(`${contractOf(message).type} has no aggregate id: give instanceOf`);
      return of(message.payload);
    },
    arrived: (data, message) =>
      options.onEvent?.(data, message.payload as PayloadOf<E>, message as InstanceType<E>) ?? data,
    timeoutMs: options.timeoutMs,
    onTimeout: options.onTimeout,
  };
}

/**
 * A step that waits for what a handler of the saga's own service tells it, such as a person's decision. A signal that
 * comes earlier is kept until then.
 */
export function waitForSignal<D, A, P>(
  name: string,
  signal: SagaSignal<P>,
  options: SignalStepOptions<D, P>,
): SagaStep<D, A> {
  return {
    kind: 'wait',
    name,
    events: [],
    signal,
    when: options.when,
    pivot: false,
    cancel: options.cancel,
    instanceOf() {
      throw new TypeError(`Step "${name}" waits for a signal, which is sent to its instance`);
    },
    // Only payloads that the signal's own schema has read come here.
    arrived: (data, { payload }) => options.onSignal?.(data, payload as P) ?? data,
    timeoutMs: options.timeoutMs,
    onTimeout: options.onTimeout,
  };
}
