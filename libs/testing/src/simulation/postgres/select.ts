import type { Node, SelectStmt } from 'libpg-query';
import {
  Accumulation,
  compareKeys,
  entryOf,
  itemsOf,
  nameOf,
  namesOf,
  Scope,
  type Compiler,
  type OutputColumn,
  type Query,
  type SortKey,
} from './compiler.ts';
import { cast, commonType, typeOf, union, type Expression } from './expression.ts';
import { compileFrom, conjuncts, joinOrder } from './from.ts';
import { compileModify } from './modify.ts';
import { PostgresError, unsupported } from './postgres-error.ts';
import { retrying, type Run, type Steps } from './run.ts';
import { lockTuple, type WaitPolicy } from './row-locks.ts';
import type { RowLockMode, Tuple } from './storage.ts';
import { INT8, UNKNOWN, type Row, type SqlType } from './types.ts';

interface Target {
  readonly name: string;
  readonly expression: Expression;
}

const STRENGTHS: Readonly<Record<string, RowLockMode>> = {
  LCS_FORUPDATE: 'update',
  LCS_FORNOKEYUPDATE: 'no key update',
  LCS_FORSHARE: 'share',
  LCS_FORKEYSHARE: 'key share',
};

const POLICIES: Readonly<Record<string, WaitPolicy>> = {
  LockWaitBlock: 'wait',
  LockWaitSkip: 'skip',
  LockWaitError: 'fail',
};

/** Adds the common table expressions of a WITH to a scope. */
export function compileWith(compiler: Compiler, clause: SelectStmt['withClause'], scope: Scope): void {
  if (clause === undefined) return;
  if (clause.recursive === true) throw unsupported('WITH RECURSIVE');
  for (const node of clause.ctes ?? []) {
    if (!('CommonTableExpr' in node)) continue;
    const { ctename = '', ctequery, aliascolnames } = node.CommonTableExpr;
    const query = compileAny(compiler, ctequery as Node, scope);
    const names = namesOf(aliascolnames);
    const columns = query.columns.map(({ name, type }, index) => ({ name: names[index] ?? name, type }));
    scope.ctes.set(ctename, { columns, read: cteReader(compiler, query) });
  }
}

function cteReader(compiler: Compiler, query: Query): (run: Run) => readonly Row[] {
  if (query.steps === undefined && query.slots.size > 0) return query.rows;
  return compiler.runBefore(query);
}

/** A SELECT, INSERT, UPDATE or DELETE. */
export function compileAny(compiler: Compiler, node: Node, parent: Scope | undefined): Query {
  if ('SelectStmt' in node) return compileSelect(compiler, node.SelectStmt, parent);
  if ('InsertStmt' in node || 'UpdateStmt' in node || 'DeleteStmt' in node)
    return compileModify(compiler, node, parent);
  throw unsupported(`the statement ${entryOf(node)[0]}`);
}

export function compileSelect(compiler: Compiler, statement: SelectStmt, parent: Scope | undefined): Query {
  const scope = new Scope(parent);
  const inside = compiler.slots;
  const { expected } = compiler;
  compiler.expected = undefined;
  compileWith(compiler, statement.withClause, scope);
  const query =
    statement.op !== undefined && statement.op !== 'SETOP_NONE'
      ? compileSetOperation(compiler, statement, scope)
      : statement.valuesLists !== undefined
        ? compileValues(compiler, statement, scope)
        : compilePlain(compiler, statement, scope, expected);
  const slots = new Set([...query.slots].filter((slot) => slot < inside));
  return { ...query, slots };
}

function compileValues(compiler: Compiler, statement: SelectStmt, scope: Scope): Query {
  const rows = (statement.valuesLists ?? []).map((list) =>
    itemsOf(list).map((each) => compiler.expression(each, scope)),
  );
  const [first = []] = rows;
  const types = first.map((_, index) =>
    commonType(
      rows.map((row) => row[index] as Expression),
      compiler,
    ),
  );
  const typed = rows.map((row) =>
    row.map((each, index) => cast(compiler, each, types[index] ?? each.type, 'implicit')),
  );
  const columns = types.map((type, index) => ({ name: `column${index + 1}`, type }));
  const all = typed.map((row) => row.map((each) => each.eval));
  return limited(compiler, statement, scope, {
    columns,
    slots: union(typed.flat()),
    rows: (run) => all.map((row) => row.map((evaluate) => evaluate(run))),
  });
}

function compileSetOperation(compiler: Compiler, statement: SelectStmt, scope: Scope): Query {
  const left = compileSelect(compiler, statement.larg as SelectStmt, scope);
  const right = compileSelect(compiler, statement.rarg as SelectStmt, scope);
  if (left.steps !== undefined || right.steps !== undefined)
    throw unsupported('UNION of queries that lock rows');
  if (left.columns.length !== right.columns.length)
    throw new PostgresError('42601', 'each UNION query must have the same number of columns');
  const types = left.columns.map(({ type }, index) =>
    commonType(
      [type, right.columns[index]?.type ?? type].map((each) => ({
        type: each,
        eval: () => null,
        slots: new Set<number>(),
      })),
      compiler,
    ),
  );
  const columns = left.columns.map(({ name }, index) => ({ name, type: types[index] ?? INT8 }));
  const convert = (query: Query): ((row: Row) => Row) => {
    let current: Row = [];
    const casts = query.columns.map((column, index) =>
      cast(
        compiler,
        { type: column.type, slots: new Set<number>(), eval: () => current[index] ?? null },
        types[index] ?? column.type,
        'implicit',
      ),
    );
    return (row) => {
      current = row;
      return casts.map((each) => each.eval(undefined as never));
    };
  };
  const [fromLeft, fromRight] = [convert(left), convert(right)];
  const key = (row: Row): string =>
    row.map((value, index) => (value === null ? '\u0001' : String(types[index]?.key(value)))).join('\u0000');
  const query: Query = {
    columns,
    slots: new Set([...left.slots, ...right.slots]),
    rows: (run) => {
      const a = left.rows(run).map(fromLeft);
      const b = right.rows(run).map(fromRight);
      if (statement.op === 'SETOP_UNION')
        return statement.all === true ? [...a, ...b] : unique([...a, ...b], key);
      const other = new Set(b.map(key));
      const kept = a.filter((row) => other.has(key(row)) === (statement.op === 'SETOP_INTERSECT'));
      if (statement.all === true) throw unsupported('INTERSECT ALL and EXCEPT ALL');
      return unique(kept, key);
    },
  };
  return limited(compiler, statement, scope, query);
}

function unique(rows: readonly Row[], key: (row: Row) => string): Row[] {
  const seen = new Set<string>();
  return rows.filter((row) => {
    const each = key(row);
    if (seen.has(each)) return false;
    seen.add(each);
    return true;
  });
}

/** ORDER BY and LIMIT of a query that has only its output columns to sort by. */
function limited(compiler: Compiler, statement: SelectStmt, scope: Scope, query: Query): Query {
  const slot = compiler.newSlot();
  const output = new Scope(scope);
  output.items.push({
    alias: '',
    slot,
    isTable: false,
    columns: query.columns.map(({ name, type }, index) => ({ name, type, slot, index })),
  });
  const keys = (statement.sortClause ?? []).map((node) => {
    const at = positionOf(node);
    const column = at === undefined ? undefined : query.columns[at - 1];
    const expression =
      column === undefined || at === undefined
        ? undefined
        : compiler.columnOf({ ...column, slot, index: at - 1 });
    return compiler.sortKey(node, output, expression);
  });
  const bounds = limits(compiler, statement, scope);
  return {
    ...query,
    rows: (run) => {
      let rows = query.rows(run);
      if (keys.length > 0) {
        const keyed = rows.map((row) => {
          run.slots[slot] = row;
          return { row, keys: keys.map((each) => each.expression.eval(run)) };
        });
        keyed.sort((a, b) => compareKeys(a.keys, b.keys, keys));
        rows = keyed.map(({ row }) => row);
      }
      const [offset, count] = bounds(run);
      return offset === 0 && count === Infinity ? rows : rows.slice(offset, offset + count);
    },
  };
}

/** `ORDER BY 2`. */
function positionOf(node: Node): number | undefined {
  if (!('SortBy' in node)) return undefined;
  const by = node.SortBy.node;
  return by !== undefined && 'A_Const' in by && by.A_Const.ival !== undefined
    ? by.A_Const.ival.ival
    : undefined;
}

function limits(
  compiler: Compiler,
  statement: SelectStmt,
  scope: Scope,
): (run: Run) => readonly [number, number] {
  const bound = (node: Node | undefined): Expression | undefined =>
    node === undefined ? undefined : cast(compiler, compiler.expression(node, scope), INT8, 'implicit');
  const count = bound(statement.limitCount);
  const offset = bound(statement.limitOffset);
  return (run) => {
    const from = Number(offset?.eval(run) ?? 0);
    const value = count?.eval(run) ?? null;
    const most = value === null ? Infinity : Number(value);
    if (most < 0) throw new PostgresError('2201W', 'LIMIT must not be negative');
    if (from < 0) throw new PostgresError('2201X', 'OFFSET must not be negative');
    return [from, most];
  };
}

/** The output columns of a select list. */
export function compileTargets(
  compiler: Compiler,
  nodes: readonly Node[],
  scope: Scope,
  expected: readonly SqlType[] = [],
): Target[] {
  const targets: Target[] = [];
  for (const node of nodes) {
    if (!('ResTarget' in node)) throw unsupported('this select list');
    const { name, val } = node.ResTarget;
    if (val !== undefined && 'ColumnRef' in val) {
      const fields = val.ColumnRef.fields ?? [];
      const last = fields.at(-1);
      if (last !== undefined && 'A_Star' in last) {
        targets.push(...star(compiler, fields.slice(0, -1).map(nameOf).at(-1), scope));
        continue;
      }
    }
    const expression = compiler.expression(val as Node, scope);
    const type = expected[targets.length];
    targets.push({
      name: name ?? outputName(val as Node),
      expression:
        type !== undefined && typeOf(compiler, expression) === UNKNOWN
          ? cast(compiler, expression, type, 'assignment')
          : compiler.settle(expression),
    });
  }
  return targets;
}

function star(compiler: Compiler, qualifier: string | undefined, scope: Scope): Target[] {
  if (qualifier === undefined) {
    const merged = scope.merged.map(({ name, expression }) => ({ name, expression }));
    const names = new Set(merged.map(({ name }) => name));
    return [
      ...merged,
      ...scope.items.flatMap((item) =>
        item.columns
          .filter(({ name }) => !names.has(name))
          .map((column) => ({ name: column.name, expression: compiler.columnOf(column) })),
      ),
    ];
  }
  for (let at: Scope | undefined = scope; at !== undefined; at = at.parent) {
    const item = at.items.find(({ alias }) => alias === qualifier);
    if (item !== undefined)
      return item.columns.map((column) => ({ name: column.name, expression: compiler.columnOf(column) }));
  }
  throw new PostgresError('42P01', `missing FROM-clause entry for table "${qualifier}"`);
}

/** As Postgres names a column that nobody named. */
function outputName(node: Node): string {
  if ('ColumnRef' in node) return nameOf(node.ColumnRef.fields?.at(-1));
  if ('FuncCall' in node) return nameOf(node.FuncCall.funcname?.at(-1));
  if ('TypeCast' in node) {
    const name = outputName(node.TypeCast.arg as Node);
    return name === '?column?' ? nameOf(node.TypeCast.typeName?.names?.at(-1)) : name;
  }
  if ('CoalesceExpr' in node) return 'coalesce';
  if ('MinMaxExpr' in node) return node.MinMaxExpr.op === 'IS_LEAST' ? 'least' : 'greatest';
  if ('CaseExpr' in node) {
    const name = node.CaseExpr.defresult === undefined ? 'case' : outputName(node.CaseExpr.defresult);
    return name === '?column?' || !('ColumnRef' in (node.CaseExpr.defresult ?? {})) ? 'case' : name;
  }
  if ('A_ArrayExpr' in node) return 'array';
  if ('RowExpr' in node) return 'row';
  if ('A_Indirection' in node) {
    const names = (node.A_Indirection.indirection ?? []).map(nameOf).filter((each) => each !== '');
    return names.at(-1) ?? outputName(node.A_Indirection.arg as Node);
  }
  if ('CollateClause' in node) return outputName(node.CollateClause.arg as Node);
  if ('SQLValueFunction' in node) return String(node.SQLValueFunction.op).replace('SVFOP_', '').toLowerCase();
  if ('SubLink' in node) {
    const { subLinkType, subselect } = node.SubLink;
    if (subLinkType === 'EXISTS_SUBLINK') return 'exists';
    if (subLinkType === 'ARRAY_SUBLINK') return 'array';
    if (subLinkType === 'EXPR_SUBLINK' && subselect !== undefined && 'SelectStmt' in subselect) {
      const target = subselect.SelectStmt.targetList?.[0];
      if (target !== undefined && 'ResTarget' in target)
        return target.ResTarget.name ?? outputName(target.ResTarget.val as Node);
    }
  }
  return '?column?';
}

/** A row that was found, with what is needed to come back to it. */
interface Found {
  readonly row: Row;
  readonly keys: Row;
  readonly slots: (Row | null)[] | undefined;
  readonly tuples: (Tuple | undefined)[] | undefined;
}

function compilePlain(
  compiler: Compiler,
  statement: SelectStmt,
  scope: Scope,
  expected: readonly SqlType[] | undefined,
): Query {
  const outside = compiler.slots;
  const locking = (statement.lockingClause ?? []).map((node) => {
    if (!('LockingClause' in node)) throw unsupported('this locking clause');
    const { strength, waitPolicy, lockedRels } = node.LockingClause;
    const names = (lockedRels ?? []).map((each) => ('RangeVar' in each ? (each.RangeVar.relname ?? '') : ''));
    return {
      mode: STRENGTHS[String(strength)] ?? 'update',
      policy: POLICIES[String(waitPolicy)] ?? 'wait',
      names,
    } as const;
  });
  const isLocked = (alias: string): boolean =>
    locking.some(({ names }) => names.length === 0 || names.includes(alias));
  const from = compileFrom(compiler, statement.fromClause ?? [], scope, isLocked);
  scope.aggregates = [];
  const targets = compileTargets(compiler, statement.targetList ?? [], scope, expected);
  const calls = scope.aggregates;
  scope.aggregates = undefined;
  const where = conjuncts(statement.whereClause).map((each) => compiler.condition(each, scope));
  const outputs = new Map(targets.map(({ name, expression }) => [name, expression]));
  const groups = (statement.groupClause ?? []).map((node): Expression => {
    if ('A_Const' in node && node.A_Const.ival !== undefined)
      return (targets[(node.A_Const.ival.ival ?? 1) - 1] as Target).expression;
    scope.outputs = outputs;
    const key = compiler.typed(node, scope);
    scope.outputs = undefined;
    return key;
  });
  scope.aggregates = calls;
  const having =
    statement.havingClause === undefined ? undefined : compiler.condition(statement.havingClause, scope);
  const order = (statement.sortClause ?? []).map((node): SortKey => {
    const at = positionOf(node);
    const by = 'SortBy' in node ? node.SortBy.node : undefined;
    const name =
      by !== undefined && 'ColumnRef' in by && by.ColumnRef.fields?.length === 1
        ? nameOf(by.ColumnRef.fields[0])
        : undefined;
    const output =
      at === undefined ? (name === undefined ? undefined : outputs.get(name)) : targets[at - 1]?.expression;
    return compiler.sortKey(node, scope, output);
  });
  scope.aggregates = undefined;
  const grouped = groups.length > 0 || calls.length > 0 || having !== undefined;
  const conditions = [...from.conditions, ...where];
  const distinctOn = (statement.distinctClause ?? [])
    .filter((node) => Object.keys(node).length > 0)
    .map((node) => {
      scope.outputs = outputs;
      const key = compiler.typed(node, scope);
      scope.outputs = undefined;
      return key;
    });
  const distinct = statement.distinctClause !== undefined;
  const bounds = limits(compiler, statement, scope);
  const locks = locking.flatMap(({ mode, policy, names }) =>
    scope.items
      .filter((item) => item.isTable && (names.length === 0 || names.includes(item.alias)))
      .map(({ slot }) => ({ mode, policy, slot })),
  );
  if (locks.length > 0) {
    if (grouped || distinct)
      throw new PostgresError('0A000', 'FOR UPDATE is not allowed with GROUP BY, DISTINCT or aggregates');
    compiler.writes ??= 'SELECT FOR UPDATE';
  }
  const go = joinOrder(from.sources, conditions, new Set());
  const evals = targets.map(({ expression }) => expression.eval);
  const columns: OutputColumn[] = targets.map(({ name, expression }) => ({ name, type: expression.type }));
  const slots = new Set(
    [
      ...union([
        ...targets.map(({ expression }) => expression),
        ...conditions,
        ...groups,
        ...order.map(({ expression }) => expression),
      ]),
      ...from.sources.flatMap((source) => [...source.needs]),
      ...calls.flatMap((call) => [
        ...union([...call.args, ...(call.filter === undefined ? [] : [call.filter])]),
      ]),
    ].filter((slot) => slot < outside),
  );
  const output = (run: Run): Row => evals.map((evaluate) => evaluate(run));
  const keysOf = (run: Run): Row => order.map(({ expression }) => expression.eval(run));
  const withSlots = locks.length > 0;
  const found = (run: Run): Found => ({
    row: output(run),
    keys: keysOf(run),
    slots: withSlots ? [...run.slots] : undefined,
    tuples: withSlots ? [...run.tuples] : undefined,
  });

  const plainRows = (run: Run): readonly Row[] => {
    const [offset, count] = bounds(run);
    if (order.length === 0 && !distinct) {
      const rows: Row[] = [];
      if (count === 0) return rows;
      const most = offset + count;
      go(run, () => {
        rows.push(output(run));
        return rows.length >= most;
      });
      return offset === 0 ? rows : rows.slice(offset);
    }
    const all: (Found & { readonly on: string })[] = [];
    go(run, () => {
      const on =
        distinctOn.length > 0
          ? keyText(
              distinctOn,
              distinctOn.map((each) => each.eval(run)),
            )
          : '';
      all.push({ ...found(run), on });
      return false;
    });
    return cut(all, offset, count);
  };
  const keyText = (expressions: readonly { readonly type: OutputColumn['type'] }[], values: Row): string =>
    values
      .map((value, index) => (value === null ? '\u0001' : String(expressions[index]?.type.key(value))))
      .join('\u0000');
  const cut = (all: (Found & { readonly on: string })[], offset: number, count: number): readonly Row[] => {
    if (order.length > 0) all.sort((a, b) => compareKeys(a.keys, b.keys, order));
    let rows: readonly (Found & { readonly on: string })[] = all;
    if (distinct) {
      const seen = new Set<string>();
      rows = all.filter(({ row, on }) => {
        const key = distinctOn.length > 0 ? on : keyText(columns, row);
        if (seen.has(key)) return false;
        seen.add(key);
        return true;
      });
    }
    return (offset === 0 && count === Infinity ? rows : rows.slice(offset, offset + count)).map(
      ({ row }) => row,
    );
  };
  const groupedRows = (run: Run): readonly Row[] => {
    const [offset, count] = bounds(run);
    const all = new Map<
      string,
      {
        readonly slots: (Row | null)[];
        readonly tuples: (Tuple | undefined)[];
        readonly values: Accumulation;
      }
    >();
    go(run, () => {
      const key = keyText(
        groups,
        groups.map((each) => each.eval(run)),
      );
      let group = all.get(key);
      if (group === undefined) {
        group = { slots: [...run.slots], tuples: [...run.tuples], values: new Accumulation(calls) };
        all.set(key, group);
      }
      group.values.add(run);
      return false;
    });
    if (all.size === 0 && groups.length === 0) {
      const slotsOfNone = [...run.slots];
      for (const source of from.sources) for (const slot of source.own) slotsOfNone[slot] = null;
      all.set('', { slots: slotsOfNone, tuples: [], values: new Accumulation(calls) });
    }
    const rows: (Found & { readonly on: string })[] = [];
    const before = [...run.slots];
    for (const group of all.values()) {
      for (const [slot, row] of group.slots.entries()) run.slots[slot] = row;
      group.values.finish(run);
      if (having !== undefined && having.eval(run) !== true) continue;
      rows.push({ ...found(run), on: '' });
    }
    for (const [slot, row] of before.entries()) run.slots[slot] = row;
    return cut(rows, offset, count);
  };
  const rows = grouped ? groupedRows : plainRows;
  if (locks.length === 0) return { columns, slots, rows };

  return {
    columns,
    slots,
    rows: () => {
      throw new Error('This query waits');
    },
    *steps(run: Run): Steps<readonly Row[]> {
      const [offset, count] = bounds(run);
      const all = yield* retrying(run, () => {
        const list: Found[] = [];
        go(run, () => {
          list.push(found(run));
          // Without an order the first that can be locked are as good as any; those beyond are not looked at.
          return false;
        });
        if (order.length > 0) list.sort((a, b) => compareKeys(a.keys, b.keys, order));
        return list;
      });
      const taken: Row[] = [];
      for (const each of all) {
        if (taken.length >= offset + count) break;
        let moved = false;
        let gone = false;
        for (const { mode, policy, slot } of locks) {
          const tuple = each.tuples?.[slot];
          if (tuple === undefined) continue;
          const latest = yield* lockTuple(run, tuple, mode, policy);
          if (latest === undefined) {
            gone = true;
            break;
          }
          if (latest !== tuple) {
            moved = true;
            (each.slots as (Row | null)[])[slot] = latest.values;
            (each.tuples as (Tuple | undefined)[])[slot] = latest;
          }
        }
        if (gone) continue;
        if (!moved) {
          taken.push(each.row);
          continue;
        }
        // Another transaction has changed it meanwhile: is it still one of those that were asked for?
        restore(run, each);
        if (conditions.every((condition) => condition.eval(run) === true)) taken.push(output(run));
      }
      return taken.slice(offset);
    },
  };
}

function restore(run: Run, { slots, tuples }: Found): void {
  for (const [slot, row] of (slots ?? []).entries()) run.slots[slot] = row;
  for (const [slot, tuple] of (tuples ?? []).entries()) run.tuples[slot] = tuple;
}

export type { Target };
