/** Why a saga compensates or is parked: a stable code, and what there is to say for people. */
export interface SagaReason {
  readonly code: string;
  readonly message: string;
  readonly data?: unknown;
}

/** The reason that a failure or an error gives, as plain data. */
export function reasonOf({ code, message, data }: SagaReason): SagaReason {
  return { code, message, ...(data !== undefined && { data }) };
}

/** What {@link abort} makes: the saga stops here and compensates. */
export class SagaAbort {
  readonly reason: SagaReason;

  constructor(reason: SagaReason) {
    this.reason = reason;
  }
}

/** What {@link park} makes: the saga stops here and waits for a person. */
export class SagaPark {
  readonly reason: SagaReason;

  constructor(reason: SagaReason) {
    this.reason = reason;
  }
}

/** Returned by a step's function: give up and compensate what has been done, for this reason. */
export function abort(code: string, message: string = code, data?: unknown): SagaAbort {
  return new SagaAbort({ code, message, ...(data !== undefined && { data }) });
}

/** Returned by a step's function: stop and wait for a person, for this reason. */
export function park(code: string, message: string = code, data?: unknown): SagaPark {
  return new SagaPark({ code, message, ...(data !== undefined && { data }) });
}

/** What a step's function answers: the saga's data for the next step, or the order to stop. */
export type Next<D> = D | SagaAbort | SagaPark;

/**
 * What happens when a step got no answer (or only technical failures): undo everything including this step,
 * whose effect is unknown; wait for a person; or go on with what a function makes of the data.
 */
export type Fallback<D> = 'compensate' | 'park' | ((data: D) => Next<D>);
