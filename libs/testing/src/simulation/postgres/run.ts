import type { Database, Holder, Snapshot, Transaction, Tuple } from './storage.ts';
import type { Micros } from './date-time.ts';
import type { CatalogView } from './catalog.ts';
import type { Row, SqlType, Value } from './types.ts';

/** Whom a statement waits for, and how it is to end if that takes too long. */
export interface Wait {
  /** Empty: the wait is over. */
  blockers(): readonly Holder[];
  readonly what: string;
}

/** Thrown in the middle of an evaluation that has to wait; it is done again afterwards. */
export class Blocked {
  readonly wait: Wait;

  constructor(wait: Wait) {
    this.wait = wait;
  }
}

/** Runs step by step: each step is a wait. */
export type Steps<T> = Generator<Wait, T, void>;

/** What statements need of their session. */
export interface SessionState extends Holder {
  readonly database: Database;
  /** Of the running statement. */
  readonly transaction: Transaction;
  readonly catalog: CatalogView;
  readonly settings: Map<string, string>;
  readonly user: string;
  /** When the transaction began. */
  readonly transactionTime: Micros;
  readonly statementTime: Micros;
  clock(): Micros;
  random(): number;
  setting(name: string): string | undefined;
  set(name: string, value: string | undefined, local: boolean): void;
}

/** Looks up what is not a column: the variables of a function. */
export interface VariableScope {
  find(path: readonly string[]): { readonly type: SqlType; read(run: Run): Value } | undefined;
}

/** One execution of a statement. */
export interface Run {
  readonly session: SessionState;
  readonly snapshot: Snapshot;
  readonly parameters: readonly Value[];
  /** The current row of each item of a FROM list, wherever in the statement; null: the outer side of a join. */
  readonly slots: (Row | null)[];
  /** Its version, for tables. */
  readonly tuples: (Tuple | undefined)[];
  /** What is computed once: common table expressions, subqueries that depend on nothing. */
  readonly results: (readonly Row[] | undefined)[];
  /** The values of the aggregates of the current group. */
  readonly aggregates: Value[];
  readonly variables: Value[];
  /** The rows that a statement has changed, by the name that its trigger gives them. */
  readonly transitions: ReadonlyMap<string, readonly Row[]>;
  /** Advisory locks that the evaluation under way has got so far, and how many of them when it began again. */
  readonly advisory: { taken: number; passed: number };
}

/** Evaluates, waits if it must, and evaluates again. */
export function* retrying<T>(run: Run, evaluate: () => T): Steps<T> {
  for (;;) {
    run.advisory.passed = 0;
    try {
      const value = evaluate();
      run.advisory.taken = 0;
      return value;
    } catch (error) {
      if (!(error instanceof Blocked)) throw error;
      yield error.wait;
    }
  }
}
