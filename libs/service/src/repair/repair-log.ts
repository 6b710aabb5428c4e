import type { RunQuery } from './outbox-repair.ts';

/** What became of one thing that was to be repaired. */
export interface Repaired {
  /** The aggregate. */
  readonly about: string;
  /** What of it: the position of a message in the outbox, a saga, a view. */
  readonly target: string;
  readonly outcome: 'repaired' | 'nothing to do' | 'refused';
  /** What was done, or why not. */
  readonly detail: string;
}

/** Writes down who had what repaired; in the transaction of the repair where that has one. */
export async function logRepairs(
  query: RunQuery,
  operator: string,
  action: string,
  repaired: readonly Repaired[],
): Promise<void> {
  if (repaired.length === 0) return;
  await query(
    `INSERT INTO repairs (operator, action, about, target, outcome, detail)
     SELECT $1, $2, r.* FROM unnest($3::text[], $4::text[], $5::text[], $6::text[]) AS r`,
    [
      operator,
      action,
      repaired.map(({ about }) => about),
      repaired.map(({ target }) => target),
      repaired.map(({ outcome }) => outcome),
      repaired.map(({ detail }) => detail),
    ],
  );
}
