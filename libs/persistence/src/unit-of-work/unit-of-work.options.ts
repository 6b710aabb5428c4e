import { PersistenceOptionsError } from '../persistence.errors.ts';

export interface UnitOfWorkLimits {
  /**
   * Units committed in one transaction at most. Default 32. More saves commits under load, and makes each unit of a
   * group wait for more others.
   */
  readonly maxGroupSize?: number;
  /**
   * Connections that groups run on at most. Default 4. More lets slow works overlap; each holds a connection of the
   * pool while it is used.
   */
  readonly lanes?: number;
  /** Units that wait at most; beyond, new ones are refused with `UNIT_OF_WORK_OVERLOADED`. Default 10,000. */
  readonly maxQueued?: number;
  /** The longest that one unit's work may take, ms, before its connection is cut. Default 30,000. */
  readonly workTimeoutMs?: number;
  /** A connection that no group used for this long goes back to the pool, ms. Default 10,000. */
  readonly idleConnectionMs?: number;
}

/** Fills in the defaults; throws {@link PersistenceOptionsError} with everything that is wrong. */
export function resolveUnitOfWorkLimits(input: UnitOfWorkLimits = {}): Required<UnitOfWorkLimits> {
  const limits = {
    maxGroupSize: input.maxGroupSize ?? 32,
    lanes: input.lanes ?? 4,
    maxQueued: input.maxQueued ?? 10_000,
    workTimeoutMs: input.workTimeoutMs ?? 30_000,
    idleConnectionMs: input.idleConnectionMs ?? 10_000,
  };
  const problems = Object.entries(limits)
    .filter(([, value]) => !(Number.isInteger(value) && value >= 1))
    .map(([name, value]) => `${name} is ${value}, expected a whole number of at least 1`);
  if (problems.length > 0) throw new PersistenceOptionsError('the unit of work', problems);
  return limits;
}
