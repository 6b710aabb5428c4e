import type { Node } from 'libpg-query';
import type { Catalog, CatalogEntry, CatalogView, Table } from './catalog.ts';
import { Compiler, entryOf, type Query } from './compiler.ts';
import type { ParsedStatement } from './parser.ts';
import { callFunction } from './plpgsql.ts';
import { PostgresError } from './postgres-error.ts';
import { retrying, type Run, type SessionState, type Steps, type VariableScope } from './run.ts';
import { compileAny, compileSelect } from './select.ts';
import type { TableLockMode } from './storage.ts';
import type { Row, SqlType, Value } from './types.ts';

/** A statement that is ready to run. */
export interface Plan {
  readonly command: string;
  readonly query: Query;
  readonly parameters: readonly SqlType[];
  readonly writes: string | undefined;
  readonly before: readonly ((run: Run) => Steps<void>)[];
  readonly locks: readonly { readonly table: Table; readonly mode: TableLockMode }[];
  readonly uses: readonly (readonly [string, CatalogEntry | undefined])[];
  readonly slots: number;
  readonly results: number;
}

interface Surroundings {
  readonly variables?: VariableScope;
  readonly transitions?: ReadonlyMap<string, Table>;
}

const COMMANDS: Readonly<Record<string, string>> = {
  SelectStmt: 'SELECT',
  InsertStmt: 'INSERT',
  UpdateStmt: 'UPDATE',
  DeleteStmt: 'DELETE',
};

export function isPlannable(node: Node): boolean {
  return Object.hasOwn(COMMANDS, entryOf(node)[0]);
}

export function compile(catalog: CatalogView, node: Node, given: Surroundings = {}): Plan {
  const compiler = new Compiler(catalog, { select: compileSelect, call: callFunction }, given);
  const query = compileAny(compiler, node, undefined);
  return {
    command: COMMANDS[entryOf(node)[0]] ?? 'SELECT',
    query,
    parameters: compiler.types.map((type, index) => {
      if (type === undefined)
        throw new PostgresError('42P18', `could not determine data type of parameter $${index + 1}`);
      return type;
    }),
    writes: compiler.writes,
    before: compiler.before,
    locks: [...compiler.locks].map(([key, mode]) => ({ table: compiler.uses.get(key) as Table, mode })),
    uses: [...compiler.uses],
    slots: compiler.slots,
    results: compiler.results,
  };
}

/** The catalogue for which a plan was last found valid: a catalogue never changes, another takes its place. */
const validFor = new WeakMap<Plan, Catalog>();

function isValid(plan: Plan, catalog: CatalogView): boolean {
  const { unchanged } = catalog;
  if (unchanged !== undefined && validFor.get(plan) === unchanged) return true;
  for (const [key, entry] of plan.uses) if (catalog.get(key) !== entry) return false;
  if (unchanged !== undefined) validFor.set(plan, unchanged);
  return true;
}

/** Databases made by the same migrations share their tables' definitions, and with them the plans. */
const plans = new WeakMap<ParsedStatement, Plan[]>();
const MAX_PLANS = 20;

export function planFor(catalog: CatalogView, statement: ParsedStatement): Plan {
  let known = plans.get(statement);
  if (known === undefined) plans.set(statement, (known = []));
  for (const plan of known) if (isValid(plan, catalog)) return plan;
  const plan = compile(catalog, statement.node);
  if (known.length >= MAX_PLANS) known.shift();
  known.push(plan);
  return plan;
}

const nested = new WeakMap<object, Plan>();

/** As `planFor`, for a statement inside a function. */
export function nestedPlan(catalog: CatalogView, owner: object, node: () => Node, given: Surroundings): Plan {
  const known = nested.get(owner);
  if (known !== undefined && isValid(known, catalog)) return known;
  const plan = compile(catalog, node(), given);
  nested.set(owner, plan);
  return plan;
}

/** Takes the locks on tables that a statement needs. */
export function* lockTable(session: SessionState, table: Table, mode: TableLockMode): Steps<void> {
  const { database, transaction } = session;
  while (database.tableBlockers(transaction, table.id, mode).length > 0) {
    yield {
      what: `table ${table.name}`,
      blockers: () => database.tableBlockers(transaction, table.id, mode).map(({ holder }) => holder),
    };
  }
  database.takeTableLock(transaction, table.id, mode);
}

/** Runs a statement as a command of its own, which sees what was committed before it. */
export function* runPlan(
  session: SessionState,
  plan: Plan,
  parameters: readonly Value[],
  given: { readonly variables?: Value[]; readonly transitions?: ReadonlyMap<string, readonly Row[]> } = {},
): Steps<readonly Row[]> {
  for (const { table, mode } of plan.locks) yield* lockTable(session, table, mode);
  const { transaction, database } = session;
  transaction.command += 1;
  const run: Run = {
    session,
    snapshot: { transaction, commit: database.lastCommit, command: transaction.command },
    parameters,
    slots: new Array<Row | null>(plan.slots).fill(null),
    tuples: [],
    results: [],
    aggregates: [],
    variables: given.variables ?? [],
    transitions: given.transitions ?? NO_TRANSITIONS,
    advisory: { taken: 0, passed: 0 },
  };
  for (const step of plan.before) yield* step(run);
  const { query } = plan;
  return query.steps === undefined ? yield* retrying(run, () => query.rows(run)) : yield* query.steps(run);
}

const NO_TRANSITIONS: ReadonlyMap<string, readonly Row[]> = new Map();
