import type { InsertStmt, Node, OnConflictClause, SelectStmt } from 'libpg-query';
import { keyOf, type Column, type ForeignKey, type Table, type Trigger } from './catalog.ts';
import { itemsOf, Scope, type Compiler, type OutputColumn, type Query } from './compiler.ts';
import { cast, constant, strict, type Expression } from './expression.ts';
import { addTable, compileFrom, conjuncts, joinOrder, scopeItem, tableSource } from './from.ts';
import { callTrigger } from './plpgsql.ts';
import { PostgresError, unsupported } from './postgres-error.ts';
import { lockTuple } from './row-locks.ts';
import { retrying, type Run, type Steps } from './run.ts';
import { compileAny, compileTargets, compileWith, type Target } from './select.ts';
import {
  addTuple,
  endTuple,
  indexKey,
  RowIdentity,
  type IndexData,
  type RowLockMode,
  type TableData,
  type Tuple,
} from './storage.ts';
import { INT8, type Row, type Value } from './types.ts';

/** How a row gets into a table: its constraints, compiled. */
interface TableRules {
  readonly table: Table;
  readonly slot: number;
  readonly checks: readonly { readonly name: string; readonly test: Expression }[];
  readonly leaves: ReadonlyMap<string, Table>;
  readonly bounds: readonly {
    readonly leaf: Table;
    readonly from: Value;
    readonly to: Value;
    readonly isDefault: boolean;
  }[];
  readonly references: readonly { readonly key: ForeignKey; readonly target: Table }[];
  readonly referencing: readonly { readonly key: ForeignKey; readonly source: Table }[];
}

function rulesOf(compiler: Compiler, table: Table): TableRules {
  const slot = compiler.newSlot();
  const scope = new Scope(undefined);
  scope.items.push(scopeItem(table.name, table.columns, slot, true));
  const checks = table.checks.map(({ name, expression }) => ({
    name,
    test: compiler.condition(expression, scope),
  }));
  const leaves = compiler.leaves(table, 3);
  const key = table.partitionKey;
  const keyType = key === undefined ? undefined : table.columns[key]?.type;
  const bounds = table.partitions.map(({ table: name, bound }) => ({
    leaf: compiler.catalog.tableByKey(name),
    from: bound.range === undefined || keyType === undefined ? null : (bound.range.from as Value),
    to: bound.range === undefined || keyType === undefined ? null : (bound.range.to as Value),
    isDefault: bound.range === undefined,
  }));
  const lookUp = (name: string): Table => {
    const target = compiler.catalog.tableByKey(name);
    return compiler.table(target.schema, target.name, 2);
  };
  return {
    table,
    slot,
    checks,
    leaves: new Map(leaves.map((leaf) => [keyOf(leaf), leaf])),
    bounds,
    references: table.foreignKeys.map((each) => ({ key: each, target: lookUp(each.target) })),
    referencing: table.referencedBy.flatMap((name) => {
      const source = lookUp(name);
      return source.foreignKeys
        .filter((each) => each.target === keyOf(table))
        .map((each) => ({ key: each, source }));
    }),
  };
}

/** The partition that a row belongs to. */
function leafFor({ table, bounds }: TableRules, values: Row): Table {
  const key = table.partitionKey;
  if (key === undefined) return table;
  const type = table.columns[key]?.type;
  const value = values[key] ?? null;
  let fallback: Table | undefined;
  for (const { leaf, from, to, isDefault } of bounds) {
    if (isDefault) fallback = leaf;
    else if (
      value !== null &&
      type !== undefined &&
      type.compare(value, from) >= 0 &&
      type.compare(value, to) < 0
    )
      return leaf;
  }
  if (fallback !== undefined) return fallback;
  throw new PostgresError('23514', `no partition of relation "${table.name}" found for row`, {
    table: table.name,
  });
}

function failingRow(table: Table, values: Row): string {
  const texts = table.columns.map(({ type }, index) => {
    const value = values[index] ?? null;
    return value === null ? 'null' : type.output(value);
  });
  return `Failing row contains (${texts.join(', ')}).`;
}

function check(run: Run, { table, slot, checks }: TableRules, values: Row): void {
  for (const [index, column] of table.columns.entries()) {
    if (column.notNull && (values[index] ?? null) === null) {
      throw new PostgresError(
        '23502',
        `null value in column "${column.name}" of relation "${table.name}" violates not-null constraint`,
        { schema: table.schema, table: table.name, column: column.name, detail: failingRow(table, values) },
      );
    }
  }
  run.slots[slot] = values;
  for (const { name, test } of checks) {
    if (test.eval(run) === false) {
      throw new PostgresError(
        '23514',
        `new row for relation "${table.name}" violates check constraint "${name}"`,
        {
          schema: table.schema,
          table: table.name,
          constraint: name,
          detail: failingRow(table, values),
        },
      );
    }
  }
}

/** The row that has a key already, if any. Waits for those who are about to add or to remove one. */
function* findConflict(
  run: Run,
  table: Table,
  index: IndexData,
  values: Row,
  data: TableData,
): Steps<Tuple | undefined> {
  const key = indexKey(table, index.definition.columns, values);
  if (key === undefined) return undefined;
  const { transaction } = run.snapshot;
  for (;;) {
    let waitsFor: Tuple | undefined;
    let conflict: Tuple | undefined;
    for (const tuple of index.entries.get(key) ?? []) {
      const { madeBy, endedBy } = tuple;
      if (madeBy !== transaction && !madeBy.isOver) waitsFor = tuple;
      else if (endedBy === undefined) conflict = tuple;
      else if (endedBy !== transaction && !endedBy.isOver) waitsFor = tuple;
    }
    if (conflict !== undefined) return conflict;
    if (waitsFor === undefined) return undefined;
    const tuple = waitsFor;
    const { madeBy, endedBy } = tuple;
    yield {
      what: 'a unique key',
      blockers: () => {
        if (!data.heap.has(tuple)) return [];
        if (madeBy !== transaction && !madeBy.isOver) return [madeBy.holder];
        return endedBy !== undefined && tuple.endedBy === endedBy && !endedBy.isOver ? [endedBy.holder] : [];
      },
    };
  }
}

function duplicateKey(table: Table, index: IndexData, values: Row): PostgresError {
  const columns = index.definition.columns.map((column) => table.columns[column] as Column);
  const shown = index.definition.columns.map((column, at) => {
    const value = values[column] ?? null;
    return value === null ? 'null' : (columns[at]?.type.output(value) ?? '');
  });
  return new PostgresError(
    '23505',
    `duplicate key value violates unique constraint "${index.definition.name}"`,
    {
      schema: table.schema,
      table: table.name,
      constraint: index.definition.name,
      detail: `Key (${columns.map(({ name }) => name).join(', ')})=(${shown.join(', ')}) already exists.`,
    },
  );
}

function* insertRow(run: Run, rules: TableRules, leaf: Table, values: Row): Steps<Tuple> {
  const data = run.session.database.data(leaf);
  for (const index of data.indexes(leaf)) {
    if ((yield* findConflict(run, leaf, index, values, data)) !== undefined)
      throw duplicateKey(leaf, index, values);
  }
  return addTuple(run.snapshot.transaction, leaf, data, new RowIdentity(), values);
}

function changesAny(columns: readonly number[], table: Table, before: Row, after: Row): boolean {
  return columns.some((column) => {
    const a = before[column] ?? null;
    const b = after[column] ?? null;
    if (a === null || b === null) return a !== b;
    return table.columns[column]?.type.compare(a, b) !== 0;
  });
}

/** How strongly an update locks: as a deletion when it changes a key. */
function updateMode(table: Table, before: Row, after: Row): RowLockMode {
  return table.unique.some(({ columns }) => changesAny(columns, table, before, after))
    ? 'update'
    : 'no key update';
}

function* updateRow(run: Run, rules: TableRules, tuple: Tuple, leaf: Table, values: Row): Steps<Tuple> {
  const { transaction } = run.snapshot;
  const { data } = tuple;
  const target = leafFor(rules, values);
  if (target !== leaf && rules.table.partitionKey !== undefined) {
    endTuple(transaction, tuple, undefined);
    return yield* insertRow(run, rules, target, values);
  }
  for (const index of data.indexes(leaf)) {
    if (!changesAny(index.definition.columns, leaf, tuple.values, values)) continue;
    if ((yield* findConflict(run, leaf, index, values, data)) !== undefined)
      throw duplicateKey(leaf, index, values);
  }
  const newer = addTuple(transaction, leaf, data, tuple.row, values);
  endTuple(transaction, tuple, newer);
  return newer;
}

/** What the end of a statement checks. */
function* checkReferences(
  run: Run,
  { table, references }: TableRules,
  changed: readonly { before?: Row; after: Row }[],
): Steps<void> {
  for (const { key, target } of references) {
    const data = run.session.database.data(target);
    const at = target.unique.findIndex(
      ({ columns }) =>
        columns.length === key.targetColumns.length &&
        columns.every((column) => key.targetColumns.includes(column)),
    );
    for (const { before, after } of changed) {
      if (before !== undefined && !changesAny(key.columns, table, before, after)) continue;
      const wanted: Value[] = [];
      for (const [index, column] of key.columns.entries())
        wanted[key.targetColumns[index] ?? 0] = after[column] ?? null;
      const index = data.indexes(target)[at];
      const entryKey = index && indexKey(target, index.definition.columns, wanted);
      if (entryKey === undefined) continue;
      let found = false;
      for (const tuple of [...(index?.entries.get(entryKey) ?? [])]) {
        const { transaction } = run.snapshot;
        if (tuple.madeBy !== transaction && tuple.madeBy.commit === Infinity) continue;
        if (tuple.endedBy === transaction) continue;
        const locked = yield* lockTuple(run, tuple, 'key share', 'wait');
        if (locked !== undefined && !changesAny(key.targetColumns, target, tuple.values, locked.values))
          found = true;
        if (found) break;
      }
      if (!found) {
        const names = key.columns.map((column) => table.columns[column]?.name).join(', ');
        const values = key.columns
          .map((column) => table.columns[column]?.type.output(after[column] as Value))
          .join(', ');
        throw new PostgresError(
          '23503',
          `insert or update on table "${table.name}" violates foreign key constraint "${key.name}"`,
          {
            schema: table.schema,
            table: table.name,
            constraint: key.name,
            detail: `Key (${names})=(${values}) is not present in table "${target.name}".`,
          },
        );
      }
    }
  }
}

function* checkReferencing(
  run: Run,
  { table, referencing }: TableRules,
  removed: readonly Row[],
): Steps<void> {
  for (const { key, source } of referencing) {
    for (const values of removed) {
      for (;;) {
        let waitsFor: Tuple | undefined;
        for (const tuple of run.session.database.data(source).heap) {
          const same = key.columns.every((column, index) => {
            const value = tuple.values[column] ?? null;
            const own = values[key.targetColumns[index] ?? 0] ?? null;
            return value !== null && own !== null && source.columns[column]?.type.compare(value, own) === 0;
          });
          if (!same) continue;
          const { transaction } = run.snapshot;
          if (tuple.endedBy === transaction || tuple.endedBy?.isOver === true) continue;
          if (tuple.madeBy !== transaction && !tuple.madeBy.isOver) waitsFor = tuple;
          else {
            throw new PostgresError(
              '23503',
              `update or delete on table "${table.name}" violates foreign key constraint "${key.name}" on table "${source.name}"`,
              { schema: source.schema, table: source.name, constraint: key.name },
            );
          }
        }
        if (waitsFor === undefined) break;
        const { madeBy } = waitsFor;
        yield { what: 'a reference', blockers: () => (madeBy.isOver ? [] : [madeBy.holder]) };
      }
    }
  }
}

/** Calls the triggers of a statement. */
export function* fire(
  run: Pick<Run, 'session'>,
  table: Table,
  event: 'INSERT' | 'UPDATE' | 'DELETE' | 'TRUNCATE',
  before: boolean,
  rows: { readonly added: readonly Row[]; readonly removed: readonly Row[] },
): Steps<void> {
  for (const trigger of table.triggers) {
    if (!trigger.events.has(event) || trigger.before !== before) continue;
    if (trigger.forEachRow) throw unsupported('triggers for each row');
    yield* callTrigger(run, table, trigger, event, transitionsOf(trigger, rows));
  }
}

function transitionsOf(
  { newTable, oldTable }: Trigger,
  { added, removed }: { readonly added: readonly Row[]; readonly removed: readonly Row[] },
): ReadonlyMap<string, readonly Row[]> {
  const tables = new Map<string, readonly Row[]>();
  if (newTable !== undefined) tables.set(newTable, added);
  if (oldTable !== undefined) tables.set(oldTable, removed);
  return tables;
}

/** The value of a column that a statement does not give. */
export function defaultOf(compiler: Compiler, column: Column): Expression {
  if (column.identity !== undefined) {
    const { sequence } = column.identity;
    const next = strict(
      INT8,
      [constant(INT8, 0n)],
      (_, run) => {
        const entry = run.session.catalog.get(sequence);
        return entry === undefined ? null : run.session.database.nextOf(entry.id);
      },
      true,
    );
    return cast(compiler, next, column.type, 'assignment');
  }
  if (column.default === undefined) return constant(column.type, null);
  return cast(compiler, compiler.expression(column.default, new Scope(undefined)), column.type, 'assignment');
}

function columnIndex(table: Table, name: string): number {
  const index = table.columns.findIndex((column) => column.name === name);
  if (index === -1) {
    throw new PostgresError('42703', `column "${name}" of relation "${table.name}" does not exist`);
  }
  return index;
}

interface Assignment {
  readonly index: number;
  readonly expression: Expression;
}

function compileAssignments(
  compiler: Compiler,
  table: Table,
  nodes: readonly Node[],
  scope: Scope,
): Assignment[] {
  return nodes.map((node) => {
    if (!('ResTarget' in node)) throw unsupported('this SET');
    const { name = '', val, indirection } = node.ResTarget;
    if ((indirection ?? []).length > 0) throw unsupported('SET of a part of a column');
    const index = columnIndex(table, name);
    const column = table.columns[index] as Column;
    if (val !== undefined && 'SetToDefault' in val) return { index, expression: defaultOf(compiler, column) };
    if (val !== undefined && 'MultiAssignRef' in val) {
      const { source, colno = 1 } = val.MultiAssignRef;
      if (source === undefined || !('RowExpr' in source)) throw unsupported('SET (...) = (SELECT ...)');
      const part = (source.RowExpr.args ?? [])[colno - 1] as Node;
      return { index, expression: assign(compiler, compiler.expression(part, scope), column) };
    }
    return { index, expression: assign(compiler, compiler.expression(val as Node, scope), column) };
  });
}

function assign(compiler: Compiler, expression: Expression, column: Column): Expression {
  try {
    return cast(compiler, expression, column.type, 'assignment');
  } catch (error) {
    if (error instanceof PostgresError && error.code === '42804') {
      throw new PostgresError(
        '42804',
        `column "${column.name}" is of type ${column.type.name} but expression is of type ${expression.type.name}`,
        { hint: 'You will need to rewrite or cast the expression.' },
      );
    }
    throw error;
  }
}

interface Returning {
  readonly columns: readonly OutputColumn[];
  readonly row: ((run: Run) => Row) | undefined;
  readonly targets: readonly Target[];
}

function compileReturning(
  compiler: Compiler,
  clause: InsertStmt['returningClause'],
  scope: Scope,
): Returning {
  if (clause === undefined) return { columns: [], row: undefined, targets: [] };
  const targets = compileTargets(compiler, clause.exprs ?? [], scope);
  const evals = targets.map(({ expression }) => expression.eval);
  return {
    columns: targets.map(({ name, expression }) => ({ name, type: expression.type })),
    row: (run) => evals.map((evaluate) => evaluate(run)),
    targets,
  };
}

/** Rows that a statement without RETURNING answers: only their number counts. */
const COUNTED: Row = [];

export function compileModify(compiler: Compiler, node: Node, parent: Scope | undefined): Query {
  if ('InsertStmt' in node) return compileInsert(compiler, node.InsertStmt, parent);
  if ('UpdateStmt' in node) {
    const { UpdateStmt: statement } = node;
    return compileChange(compiler, parent, {
      relation: statement.relation,
      withClause: statement.withClause,
      from: statement.fromClause ?? [],
      where: statement.whereClause,
      returning: statement.returningClause,
      set: statement.targetList ?? [],
    });
  }
  if (!('DeleteStmt' in node)) throw unsupported('this statement');
  const { DeleteStmt: statement } = node;
  return compileChange(compiler, parent, {
    relation: statement.relation,
    withClause: statement.withClause,
    from: statement.usingClause ?? [],
    where: statement.whereClause,
    returning: statement.returningClause,
    set: undefined,
  });
}

function compileInsert(compiler: Compiler, statement: InsertStmt, parent: Scope | undefined): Query {
  compiler.writes ??= 'INSERT';
  const outer = new Scope(parent);
  compileWith(compiler, statement.withClause, outer);
  const { relname = '', schemaname, alias } = statement.relation ?? {};
  const table = compiler.table(schemaname, relname, 3);
  const names = statement.cols?.map((each) => ('ResTarget' in each ? (each.ResTarget.name ?? '') : ''));
  const rules = rulesOf(compiler, table);
  const scope = new Scope(outer);
  const slot = addTable(compiler, scope, alias?.aliasname ?? relname, table);

  const source = compileSource(compiler, statement, table, names, outer);
  const given = new Set(source.columns);
  const defaults = table.columns.map((column, index) =>
    given.has(index) ? undefined : defaultOf(compiler, column),
  );

  const conflict =
    statement.onConflictClause === undefined
      ? undefined
      : compileConflict(compiler, statement.onConflictClause, table, scope);
  const returning = compileReturning(compiler, statement.returningClause, scope);

  return {
    columns: returning.columns,
    slots: new Set(),
    rows: () => {
      throw new Error('This query waits');
    },
    *steps(run): Steps<readonly Row[]> {
      yield* fire(run, table, 'INSERT', true, { added: [], removed: [] });
      const rows = yield* source.rows(run);
      const results: Row[] = [];
      const added: Row[] = [];
      const updated: { readonly before: Row; readonly after: Row }[] = [];
      for (const row of rows) {
        const values: Value[] = [];
        for (const [index, expression] of defaults.entries()) values[index] = expression?.eval(run) ?? null;
        for (const [at, index] of source.columns.entries()) values[index] = row[at] ?? null;
        const leaf = leafFor(rules, values);
        check(run, rules, values);
        const tuple = yield* placeRow(run, rules, leaf, values, conflict, slot, updated);
        if (tuple === undefined) continue;
        if (tuple.added) added.push(values);
        run.slots[slot] = tuple.tuple.values;
        run.tuples[slot] = tuple.tuple;
        results.push(returning.row?.(run) ?? COUNTED);
      }
      yield* checkReferences(
        run,
        rules,
        added.map((after) => ({ after })),
      );
      yield* checkReferences(run, rules, updated);
      yield* fire(run, table, 'INSERT', false, { added, removed: [] });
      return results;
    },
  };
}

interface InsertSource {
  /** The places of the columns that it gives. */
  readonly columns: readonly number[];
  rows(run: Run): Steps<readonly Row[]>;
}

function compileSource(
  compiler: Compiler,
  statement: InsertStmt,
  table: Table,
  names: readonly string[] | undefined,
  scope: Scope,
): InsertSource {
  const places = names?.map((name) => columnIndex(table, name)) ?? table.columns.map((_, index) => index);
  const { selectStmt } = statement;
  if (selectStmt === undefined) {
    return {
      columns: [],
      // eslint-disable-next-line require-yield
      *rows() {
        return [[]];
      },
    };
  }
  const select = (selectStmt as { readonly SelectStmt: SelectStmt }).SelectStmt;
  if (select.valuesLists !== undefined && select.valuesLists.length > 0) {
    const inner = new Scope(scope);
    compileWith(compiler, select.withClause, inner);
    const width = itemsOf(select.valuesLists[0]).length;
    if (width > places.length)
      throw new PostgresError('42601', 'INSERT has more expressions than target columns');
    if (names !== undefined && width < places.length)
      throw new PostgresError('42601', 'INSERT has more target columns than expressions');
    const columns = places.slice(0, width);
    const rows = select.valuesLists.map((list) =>
      itemsOf(list).map((each, at) => {
        const column = table.columns[columns[at] ?? 0] as Column;
        if ('SetToDefault' in each) return defaultOf(compiler, column);
        refuseGenerated(column, statement);
        return assign(compiler, compiler.expression(each, inner), column);
      }),
    );
    return {
      columns,
      rows: (run) => retrying(run, () => rows.map((row) => row.map((each) => each.eval(run)))),
    };
  }
  // Literals and parameters in the select list get the types of the columns.
  compiler.expected = places.map((place) => (table.columns[place] as Column).type);
  const query = compileAny(compiler, selectStmt, scope);
  if (query.columns.length > places.length)
    throw new PostgresError('42601', 'INSERT has more expressions than target columns');
  const columns = places.slice(0, query.columns.length);
  let current: Row = [];
  const casts = query.columns.map(({ type }, at) => {
    const column = table.columns[columns[at] ?? 0] as Column;
    refuseGenerated(column, statement);
    return assign(compiler, { type, slots: new Set(), eval: () => current[at] ?? null }, column);
  });
  const same = query.columns.every(({ type }, at) => type === table.columns[columns[at] ?? 0]?.type);
  return {
    columns,
    *rows(run) {
      const rows =
        query.steps === undefined ? yield* retrying(run, () => query.rows(run)) : yield* query.steps(run);
      if (same) return rows;
      return rows.map((row) => {
        current = row;
        return casts.map((each) => each.eval(run));
      });
    },
  };
}

function refuseGenerated({ name, identity }: Column, { override }: InsertStmt): void {
  if (identity?.always !== true || override === 'OVERRIDING_SYSTEM_VALUE') return;
  throw new PostgresError('428C9', `cannot insert a non-DEFAULT value into column "${name}"`, {
    detail: `Column "${name}" is an identity column defined as GENERATED ALWAYS.`,
  });
}

interface Conflict {
  /** The places of the unique indexes that decide; undefined: all of them. */
  readonly arbiters: readonly number[] | undefined;
  readonly excluded: number;
  readonly set: readonly Assignment[] | undefined;
  readonly where: Expression | undefined;
}

function compileConflict(compiler: Compiler, clause: OnConflictClause, table: Table, scope: Scope): Conflict {
  const excluded = compiler.newSlot();
  const inner = new Scope(scope.parent);
  for (const [name, cte] of scope.ctes) inner.ctes.set(name, cte);
  inner.items.push(...scope.items, scopeItem('excluded', table.columns, excluded, false));
  const { infer, action } = clause;
  let arbiters: number[] | undefined;
  if (infer !== undefined) {
    const named = infer.conname;
    const wanted = new Set(
      (infer.indexElems ?? []).map((each) =>
        'IndexElem' in each ? columnIndex(table, each.IndexElem.name ?? '') : -1,
      ),
    );
    arbiters = table.unique.flatMap(({ name, columns }, index) =>
      named !== undefined
        ? name === named
          ? [index]
          : []
        : columns.length === wanted.size && columns.every((column) => wanted.has(column))
          ? [index]
          : [],
    );
    if (arbiters.length === 0) {
      throw new PostgresError(
        '42P10',
        'there is no unique or exclusion constraint matching the ON CONFLICT specification',
      );
    }
  }
  if (action !== 'ONCONFLICT_UPDATE') return { arbiters, excluded, set: undefined, where: undefined };
  // Names without a qualifier are the table's.
  const own = new Scope(inner);
  own.items.push(...scope.items);
  return {
    arbiters,
    excluded,
    set: compileAssignments(compiler, table, clause.targetList ?? [], own),
    where: clause.whereClause === undefined ? undefined : compiler.condition(clause.whereClause, own),
  };
}

interface Placed {
  readonly tuple: Tuple;
  readonly added: boolean;
}

function* placeRow(
  run: Run,
  rules: TableRules,
  leaf: Table,
  values: Row,
  conflict: Conflict | undefined,
  slot: number,
  updated: { readonly before: Row; readonly after: Row }[],
): Steps<Placed | undefined> {
  if (conflict === undefined) return { tuple: yield* insertRow(run, rules, leaf, values), added: true };
  const data = run.session.database.data(leaf);
  for (;;) {
    const indexes = data.indexes(leaf);
    let found: Tuple | undefined;
    for (const [at, index] of indexes.entries()) {
      if (conflict.arbiters?.includes(at) === false) continue;
      found = yield* findConflict(run, leaf, index, values, data);
      if (found !== undefined) break;
    }
    if (found === undefined) return { tuple: yield* insertRow(run, rules, leaf, values), added: true };
    if (conflict.set === undefined) return undefined;
    const { transaction, command } = run.snapshot;
    if (found.madeBy === transaction && found.madeAt >= command) {
      throw new PostgresError('21000', 'ON CONFLICT DO UPDATE command cannot affect row a second time', {
        hint: 'Ensure that no rows proposed for insertion within the same command have duplicate constrained values.',
      });
    }
    const locked = yield* lockTuple(run, found, 'no key update', 'wait');
    // It has gone or changed meanwhile: look again.
    if (locked !== found) continue;
    run.slots[slot] = found.values;
    run.tuples[slot] = found;
    run.slots[conflict.excluded] = values;
    if (conflict.where !== undefined && conflict.where.eval(run) !== true) return undefined;
    const next: Value[] = [...found.values];
    for (const { index, expression } of conflict.set) next[index] = expression.eval(run);
    check(run, rules, next);
    const mode = updateMode(leaf, found.values, next);
    if (mode === 'update') {
      const again = yield* lockTuple(run, found, mode, 'wait');
      if (again !== found) continue;
    }
    const before = found.values;
    const tuple = yield* updateRow(run, rules, found, leaf, next);
    updated.push({ before, after: next });
    return { tuple, added: false };
  }
}

interface Change {
  readonly relation:
    | {
        readonly relname?: string;
        readonly schemaname?: string;
        readonly alias?: { readonly aliasname?: string };
      }
    | undefined;
  readonly withClause: SelectStmt['withClause'];
  readonly from: readonly Node[];
  readonly where: Node | undefined;
  readonly returning: InsertStmt['returningClause'];
  /** Undefined: rows are deleted. */
  readonly set: readonly Node[] | undefined;
}

function compileChange(compiler: Compiler, parent: Scope | undefined, change: Change): Query {
  const event = change.set === undefined ? 'DELETE' : 'UPDATE';
  compiler.writes ??= event;
  const outer = new Scope(parent);
  compileWith(compiler, change.withClause, outer);
  const { relname = '', schemaname, alias } = change.relation ?? {};
  const table = compiler.table(schemaname, relname, 3);
  const rules = rulesOf(compiler, table);
  const scope = new Scope(outer);
  const slot = addTable(compiler, scope, alias?.aliasname ?? relname, table);
  const from = compileFrom(compiler, change.from, scope);
  const where = conjuncts(change.where).map((each) => compiler.condition(each, scope));
  const returning = compileReturning(compiler, change.returning, scope);
  const set = change.set === undefined ? undefined : compileAssignments(compiler, table, change.set, scope);
  for (const { index } of set ?? []) {
    const column = table.columns[index];
    if (column?.identity?.always === true)
      throw new PostgresError('428C9', `column "${column.name}" can only be updated to DEFAULT`);
  }
  const conditions = [...from.conditions, ...where];
  const go = joinOrder([tableSource(compiler, table, slot, 3), ...from.sources], conditions, new Set());
  const leaves = [...rules.leaves.values()];

  return {
    columns: returning.columns,
    slots: new Set(),
    rows: () => {
      throw new Error('This query waits');
    },
    *steps(run): Steps<readonly Row[]> {
      yield* fire(run, table, event, true, { added: [], removed: [] });
      const { transaction } = run.snapshot;
      const matches = yield* retrying(run, () => {
        const list: {
          readonly slots: (Row | null)[];
          readonly tuple: Tuple;
          readonly tuples: (Tuple | undefined)[];
        }[] = [];
        const seen = new Set<Tuple>();
        go(run, () => {
          const tuple = run.tuples[slot] as Tuple;
          // A row that several others match is changed once.
          if (!seen.has(tuple)) {
            seen.add(tuple);
            list.push({ slots: [...run.slots], tuple, tuples: [...run.tuples] });
          }
          return false;
        });
        return list;
      });
      const results: Row[] = [];
      const changed: { readonly before: Row; readonly after: Row }[] = [];
      const removed: Row[] = [];
      for (const match of matches) {
        const place = (tuple: Tuple): void => {
          for (const [index, row] of match.slots.entries()) run.slots[index] = row;
          for (const [index, each] of match.tuples.entries()) run.tuples[index] = each;
          run.slots[slot] = tuple.values;
          run.tuples[slot] = tuple;
        };
        const compute = (tuple: Tuple): Row => {
          const values: Value[] = [...tuple.values];
          for (const { index, expression } of set ?? []) values[index] = expression.eval(run);
          return values;
        };
        let tuple = match.tuple;
        place(tuple);
        let next = set === undefined ? undefined : compute(tuple);
        let gone = false;
        for (;;) {
          const mode: RowLockMode = next === undefined ? 'update' : updateMode(table, tuple.values, next);
          const locked = yield* lockTuple(run, tuple, mode, 'wait');
          if (locked === undefined) gone = true;
          if (locked === undefined || locked === tuple) break;
          // Changed meanwhile: the conditions are tested and the values computed once more, on what it is now.
          tuple = locked;
          place(tuple);
          if (!conditions.every((condition) => condition.eval(run) === true)) {
            gone = true;
            break;
          }
          next = set === undefined ? undefined : compute(tuple);
        }
        if (gone) continue;
        place(tuple);
        if (next === undefined) {
          endTuple(transaction, tuple, undefined);
          removed.push(tuple.values);
          results.push(returning.row?.(run) ?? COUNTED);
          continue;
        }
        check(run, rules, next);
        const { data } = tuple;
        const leaf =
          leaves.length === 1
            ? (leaves[0] as Table)
            : (leaves.find((each) => run.session.database.data(each) === data) as Table);
        const newer = yield* updateRow(run, rules, tuple, leaf, next);
        changed.push({ before: tuple.values, after: next });
        run.slots[slot] = newer.values;
        run.tuples[slot] = newer;
        results.push(returning.row?.(run) ?? COUNTED);
      }
      yield* checkReferences(run, rules, changed);
      const keysLost = changed.filter(({ before, after }) => updateMode(table, before, after) === 'update');
      yield* checkReferencing(run, rules, [...removed, ...keysLost.map(({ before }) => before)]);
      yield* fire(run, table, event, false, {
        added: changed.map(({ after }) => after),
        removed: event === 'DELETE' ? removed : changed.map(({ before }) => before),
      });
      return results;
    },
  };
}
