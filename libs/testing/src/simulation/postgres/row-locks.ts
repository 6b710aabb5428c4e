import { PostgresError } from './postgres-error.ts';
import type { Run, Steps } from './run.ts';
import type { RowLockMode, Tuple } from './storage.ts';

export type WaitPolicy = 'wait' | 'skip' | 'fail';

/**
 * Locks the newest version of a row that a statement has found, waiting for those who hold it. Undefined: it is gone, or
 * is skipped. Another version than the given one: the caller has to look whether it still meets the conditions.
 */
export function* lockTuple(
  run: Run,
  found: Tuple,
  mode: RowLockMode,
  policy: WaitPolicy,
): Steps<Tuple | undefined> {
  const { transaction } = run.snapshot;
  let tuple = found;
  for (;;) {
    while (tuple.endedBy !== undefined && tuple.endedBy !== transaction && tuple.endedBy.isOver) {
      if (tuple.newer === undefined) return undefined;
      tuple = tuple.newer;
    }
    // This very command has changed it already.
    if (tuple.endedBy === transaction) return undefined;
    const { row } = tuple;
    if (row.blockers(transaction, mode).length === 0) {
      transaction.lockRow(row, mode);
      return tuple;
    }
    if (policy === 'skip') return undefined;
    if (policy === 'fail') throw new PostgresError('55P03', 'could not obtain lock on row');
    yield {
      what: 'a row',
      blockers: () => row.blockers(transaction, mode).map(({ holder }) => holder),
    };
  }
}
