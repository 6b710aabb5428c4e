import type { Node, RangeFunction, SelectStmt } from 'libpg-query';
import { PostgresError, unsupported } from './postgres-error.ts';
import type { Table } from './catalog.ts';
import {
  entryOf,
  itemsOf,
  nameOf,
  namesOf,
  Scope,
  type Compiler,
  type OutputColumn,
  type ScopeItem,
} from './compiler.ts';
import { comparison, NO_SLOTS, type Expression } from './expression.ts';
import { callBuiltIn, noFunction } from './functions.ts';
import { callTableFunction } from './table-functions.ts';
import type { Run } from './run.ts';
import { isVisible, type IndexKey, type TableLockMode, type Tuple } from './storage.ts';
import { systemTable } from './system-tables.ts';
import { INT8, type Row, type Value } from './types.ts';

/** Return true to stop. */
type Visit = () => boolean;

/** An item of a FROM list that can be gone through. */
interface Source {
  /** The items that it sets. */
  readonly own: ReadonlySet<number>;
  /** The items that have to be set before. */
  readonly needs: ReadonlySet<number>;
  /** The scan of a single table, which may have an index for a condition. */
  readonly table?: { readonly table: Table; readonly slot: number };
  /** Of the nullable side of an outer join: goes last. */
  readonly outer?: boolean;
  /** Goes through all rows that meet the conditions; true: it was stopped. */
  each(run: Run, filters: readonly Expression[], visit: Visit): boolean;
}

/** The rows of a FROM list, and the conditions of its inner joins. */
export interface FromList {
  readonly sources: Source[];
  readonly conditions: Expression[];
}

function passes(run: Run, filters: readonly Expression[]): boolean {
  for (const filter of filters) if (filter.eval(run) !== true) return false;
  return true;
}

/** Splits `a AND b AND c`. */
export function conjuncts(node: Node | undefined): readonly Node[] {
  if (node === undefined) return [];
  if ('BoolExpr' in node && node.BoolExpr.boolop === 'AND_EXPR')
    return (node.BoolExpr.args ?? []).flatMap(conjuncts);
  return [node];
}

export function compileFrom(
  compiler: Compiler,
  nodes: readonly Node[],
  scope: Scope,
  locked: (alias: string) => boolean = () => false,
): FromList {
  const list: FromList = { sources: [], conditions: [] };
  for (const node of nodes) compileItem(compiler, node, scope, list, locked);
  return list;
}

function compileItem(
  compiler: Compiler,
  node: Node,
  scope: Scope,
  list: FromList,
  locked: (alias: string) => boolean,
): void {
  if ('RangeVar' in node) {
    const { relname = '', schemaname, alias } = node.RangeVar;
    const name = alias?.aliasname ?? relname;
    const renamed = namesOf(alias?.colnames);
    if (schemaname === undefined) {
      const cte = scope.cte(relname);
      if (cte !== undefined) {
        list.sources.push(rowSource(compiler, scope, name, rename(cte.columns, renamed), NO_SLOTS, cte.read));
        return;
      }
      const transition = compiler.transitions.get(relname);
      if (transition !== undefined) {
        list.sources.push(
          rowSource(
            compiler,
            scope,
            name,
            transition.columns,
            NO_SLOTS,
            (run) => run.transitions.get(relname) ?? [],
          ),
        );
        return;
      }
    }
    const system = systemTable(schemaname, relname);
    if (system !== undefined) {
      list.sources.push(
        rowSource(compiler, scope, name, system.columns, NO_SLOTS, (run) => system.rows(run.session)),
      );
      return;
    }
    const mode: TableLockMode = locked(name) ? 2 : 1;
    const table = compiler.table(schemaname, relname, mode);
    const slot = addTable(compiler, scope, name, table, renamed);
    list.sources.push(tableSource(compiler, table, slot, mode));
    return;
  }
  if ('RangeSubselect' in node) {
    const { subquery, alias, lateral } = node.RangeSubselect;
    const query = compiler.subquery(
      (subquery as { readonly SelectStmt: SelectStmt }).SelectStmt,
      lateral === true ? scope : outside(scope),
    );
    const dependent = query.steps === undefined && query.slots.size > 0;
    const read = dependent ? query.rows : compiler.runBefore(query);
    list.sources.push(
      rowSource(
        compiler,
        scope,
        alias?.aliasname ?? '',
        rename(query.columns, namesOf(alias?.colnames)),
        query.slots,
        read,
      ),
    );
    return;
  }
  if ('RangeFunction' in node) {
    list.sources.push(functionSource(compiler, node.RangeFunction, scope));
    return;
  }
  if ('JoinExpr' in node) {
    compileJoin(compiler, node.JoinExpr as never, scope, list, locked);
    return;
  }
  throw unsupported(`${entryOf(node)[0]} in FROM`);
}

/** What a subquery that is not LATERAL sees: not the items beside it. */
function outside(scope: Scope): Scope {
  const without = new Scope(scope.parent);
  for (const [name, cte] of scope.ctes) without.ctes.set(name, cte);
  return without;
}

function rename(columns: readonly OutputColumn[], names: readonly string[]): readonly OutputColumn[] {
  return names.length === 0
    ? columns
    : columns.map(({ name, type }, index) => ({ name: names[index] ?? name, type }));
}

export function addTable(
  compiler: Compiler,
  scope: Scope,
  alias: string,
  table: Table,
  renamed: readonly string[] = [],
): number {
  const slot = compiler.newSlot();
  scope.items.push(scopeItem(alias, rename(table.columns, renamed), slot, true));
  return slot;
}

export function scopeItem(
  alias: string,
  columns: readonly OutputColumn[],
  slot: number,
  isTable: boolean,
): ScopeItem {
  return {
    alias,
    slot,
    isTable,
    columns: columns.map(({ name, type }, index) => ({ name, type, slot, index })),
  };
}

function rowSource(
  compiler: Compiler,
  scope: Scope,
  alias: string,
  columns: readonly OutputColumn[],
  needs: ReadonlySet<number>,
  read: (run: Run) => readonly Row[],
): Source {
  const slot = compiler.newSlot();
  scope.items.push(scopeItem(alias, columns, slot, false));
  return {
    own: new Set([slot]),
    needs,
    each(run, filters, visit) {
      for (const row of read(run)) {
        run.slots[slot] = row;
        if (passes(run, filters) && visit()) return true;
      }
      return false;
    },
  };
}

/** How the rows of a table are found by one of its unique indexes. */
interface Lookup {
  readonly index: number;
  readonly columns: readonly { readonly expression: Expression; readonly any: boolean }[];
}

export function tableSource(compiler: Compiler, table: Table, slot: number, mode: TableLockMode): Source {
  const leaves = compiler.leaves(table, mode);
  const chosen = new WeakMap<readonly Expression[], { readonly lookup: Lookup | undefined }>();
  return {
    own: new Set([slot]),
    needs: NO_SLOTS,
    table: { table, slot },
    each(run, filters, visit) {
      let choice = chosen.get(filters);
      if (choice === undefined) chosen.set(filters, (choice = { lookup: lookupFor(table, slot, filters) }));
      const { lookup } = choice;
      const found = lookup && keysOf(run, table, lookup);
      const { database } = run.session;
      for (const leaf of leaves) {
        const data = database.data(leaf);
        if (lookup !== undefined && found !== undefined) {
          const index = data.indexes(leaf)[lookup.index];
          for (const key of found) {
            const entries = index?.entries.get(key);
            if (entries === undefined) continue;
            for (const tuple of entries.length === 1 ? entries : [...entries])
              if (visitTuple(run, tuple, slot, filters, visit)) return true;
          }
          continue;
        }
        for (const tuple of data.heap) if (visitTuple(run, tuple, slot, filters, visit)) return true;
      }
      return false;
    },
  };
}

function visitTuple(
  run: Run,
  tuple: Tuple,
  slot: number,
  filters: readonly Expression[],
  visit: Visit,
): boolean {
  if (!isVisible(tuple, run.snapshot)) return false;
  run.slots[slot] = tuple.values;
  run.tuples[slot] = tuple;
  return passes(run, filters) && visit();
}

function lookupFor(table: Table, slot: number, filters: readonly Expression[]): Lookup | undefined {
  for (const [index, { columns }] of table.unique.entries()) {
    const found: { expression: Expression; any: boolean }[] = [];
    for (const column of columns) {
      const condition = conditionOn(slot, column, filters);
      if (condition === undefined) break;
      found.push(condition);
    }
    if (found.length === columns.length) return { index, columns: found };
  }
  return undefined;
}

export function conditionOn(
  slot: number,
  column: number,
  filters: readonly Expression[],
): { expression: Expression; any: boolean } | undefined {
  for (const { lookup } of filters) {
    if (lookup === undefined) continue;
    const { left, right, any } = lookup;
    if (left.column?.slot === slot && left.column.index === column && !right.slots.has(slot))
      return { expression: right, any };
    if (!any && right.column?.slot === slot && right.column.index === column && !left.slots.has(slot))
      return { expression: left, any };
  }
  return undefined;
}

function keysOf(run: Run, table: Table, { index, columns }: Lookup): readonly IndexKey[] {
  const definition = table.unique[index];
  let keys: Value[][] = [[]];
  for (const { expression, any } of columns) {
    const value = expression.eval(run);
    if (value === null) return [];
    const values = any ? [...new Set((value as Row).filter((each) => each !== null))] : [value];
    keys = keys.flatMap((key) => values.map((each) => [...key, each]));
  }
  const types = (definition?.columns ?? []).map((column) => table.columns[column]?.type);
  if (types.length === 1) return keys.map(([value = null]) => types[0]?.key(value) ?? '');
  return keys.map((key) => key.map((value, at) => `${String(types[at]?.key(value))}\u0000`).join(''));
}

function functionSource(compiler: Compiler, range: RangeFunction, scope: Scope): Source {
  const { functions = [], ordinality, alias, coldeflist = [] } = range;
  const parts = functions.map((each) => {
    const [call, own] = itemsOf(each);
    if (call === undefined) throw unsupported('this function in FROM');
    const nodes = own !== undefined && 'List' in own ? (own.List.items ?? []) : coldeflist;
    const definitions = nodes.flatMap((column) =>
      'ColumnDef' in column
        ? [{ name: column.ColumnDef.colname ?? '', type: compiler.typeOfName(column.ColumnDef.typeName) }]
        : [],
    );
    return tableOf(compiler, call, scope, definitions.length > 0 ? definitions : undefined, alias?.aliasname);
  });
  const columns: OutputColumn[] = parts.flatMap((part) => [...part.columns]);
  if (ordinality === true) columns.push({ name: 'ordinality', type: INT8 });
  const widths = parts.map((part) => part.columns.length);
  const read = (run: Run): readonly Row[] => {
    const tables = parts.map((part) => part.rows(run));
    const [only] = tables;
    if (tables.length === 1 && only !== undefined && ordinality !== true) return only;
    const length = Math.max(...tables.map((each) => each.length));
    return Array.from({ length }, (_, index) => {
      const row = tables.flatMap((each, at) => each[index] ?? Array<Value>(widths[at] ?? 0).fill(null));
      if (ordinality === true) row.push(BigInt(index + 1));
      return row;
    });
  };
  const [first] = functions.map((each) => itemsOf(each)[0]);
  const name = first !== undefined && 'FuncCall' in first ? nameOf(first.FuncCall.funcname?.at(-1)) : '';
  return rowSource(
    compiler,
    scope,
    alias?.aliasname ?? name,
    rename(columns, namesOf(alias?.colnames)),
    new Set(parts.flatMap((part) => [...part.slots])),
    read,
  );
}

interface TablePart {
  readonly columns: readonly OutputColumn[];
  readonly slots: ReadonlySet<number>;
  rows(run: Run): readonly Row[];
}

function tableOf(
  compiler: Compiler,
  call: Node,
  scope: Scope,
  definitions: readonly OutputColumn[] | undefined,
  alias: string | undefined,
): TablePart {
  if (!('FuncCall' in call)) {
    const value = compiler.typed(call, scope);
    return {
      columns: [{ name: alias ?? 'value', type: value.type }],
      slots: value.slots,
      rows: (run) => [[value.eval(run)]],
    };
  }
  const path = namesOf(call.FuncCall.funcname);
  const name = path.at(-1) ?? '';
  const { args, named } = compiler.args(call.FuncCall.args ?? [], scope);
  const table = callTableFunction(compiler, name, args, definitions);
  if (table !== undefined) {
    const [only] = table.columns;
    // A function of one unnamed column gives it the name of the item.
    const takesAlias = (name === 'unnest' || name === 'generate_series') && table.columns.length === 1;
    if (!takesAlias || only === undefined) return table;
    return {
      slots: table.slots,
      columns: [{ name: alias ?? only.name, type: only.type }],
      rows: (run) => table.rows(run),
    };
  }
  const own = compiler.ownFunction(path);
  if (own !== undefined) {
    const columns = own.returns.fields ?? [{ name, type: own.returns }];
    return { columns, slots: NO_SLOTS, rows: compiler.callBefore(own, args) };
  }
  const value = callBuiltIn(compiler, name, args, named);
  if (value === undefined) throw noFunction(name, args);
  return {
    columns: [{ name: alias ?? name, type: value.type }],
    slots: value.slots,
    rows: (run) => [[value.eval(run)]],
  };
}

function compileJoin(
  compiler: Compiler,
  join: {
    readonly jointype: string;
    readonly larg: Node;
    readonly rarg: Node;
    readonly quals?: Node;
    readonly usingClause?: readonly Node[];
    readonly isNatural?: boolean;
    readonly alias?: object;
  },
  scope: Scope,
  list: FromList,
  locked: (alias: string) => boolean,
): void {
  if (join.isNatural === true || join.alias !== undefined) throw unsupported('this kind of join');
  const swapped = join.jointype === 'JOIN_RIGHT';
  const [first, second] = swapped ? [join.rarg, join.larg] : [join.larg, join.rarg];
  const before = scope.items.length;
  compileItem(compiler, first, scope, list, locked);
  const middle = scope.items.length;
  const inner = join.jointype === 'JOIN_INNER';
  const right: FromList = inner ? list : { sources: [], conditions: [] };
  compileItem(compiler, second, scope, right, locked);
  const conditions = conjuncts(join.quals).map((each) => compiler.condition(each, scope));
  for (const node of join.usingClause ?? []) {
    const name = nameOf(node);
    const side = (items: readonly ScopeItem[]): Expression => {
      const merged = scope.merged.find(
        (each) => each.name === name && items.some(({ slot }) => each.expression.slots.has(slot)),
      );
      if (merged !== undefined) return merged.expression;
      const column = items.flatMap((item) => item.columns).find((each) => each.name === name);
      if (column === undefined)
        throw new PostgresError(
          '42703',
          `column "${name}" specified in USING clause does not exist in a table`,
        );
      return compiler.columnOf(column);
    };
    const left = side(scope.items.slice(before, middle));
    conditions.push(comparison(compiler, '=', left, side(scope.items.slice(middle))));
    if (!scope.merged.some((each) => each.name === name)) scope.merged.push({ name, expression: left });
  }
  if (inner) {
    list.conditions.push(...conditions);
    return;
  }
  if (join.jointype !== 'JOIN_LEFT' && !swapped) throw unsupported(`the join ${join.jointype}`);
  list.sources.push(outerSource(right, conditions));
}

/** The nullable side of an outer join. */
function outerSource(right: FromList, conditions: readonly Expression[]): Source {
  const own = new Set(right.sources.flatMap((source) => [...source.own]));
  const all = [...right.conditions, ...conditions];
  const needs = new Set(
    [
      ...all.flatMap((each) => [...each.slots]),
      ...right.sources.flatMap((source) => [...source.needs]),
    ].filter((slot) => !own.has(slot)),
  );
  const go = joinOrder(right.sources, all, needs);
  const slots = [...own];
  return {
    own,
    needs,
    outer: true,
    each(run, filters, visit) {
      let found = false;
      const stopped = go(run, () => {
        found = true;
        return passes(run, filters) && visit();
      });
      if (stopped || found) return stopped;
      for (const slot of slots) {
        run.slots[slot] = null;
        run.tuples[slot] = undefined;
      }
      return passes(run, filters) && visit();
    },
  };
}

/**
 * Puts the items in an order in which each has what it needs, tables that are found by an index late, and each
 * condition as early as it can be tested.
 */
export function joinOrder(
  sources: readonly Source[],
  conditions: readonly Expression[],
  given: ReadonlySet<number>,
): (run: Run, visit: Visit) => boolean {
  const local = new Set(sources.flatMap((source) => [...source.own]));
  const bound = new Set<number>(given);
  const left = [...sources];
  const open = [...conditions];
  const steps: { readonly source: Source; readonly filters: readonly Expression[] }[] = [];
  const isBound = (slots: ReadonlySet<number>, also?: ReadonlySet<number>): boolean => {
    for (const slot of slots)
      if (local.has(slot) && !bound.has(slot) && also?.has(slot) !== true) return false;
    return true;
  };
  // What depends on no item at all is asked once, before.
  const ahead = open.filter((each) => isBound(each.slots));
  for (const each of ahead) open.splice(open.indexOf(each), 1);
  while (left.length > 0) {
    const ready = left.filter((source) => isBound(source.needs));
    const usable = (source: Source): readonly Expression[] =>
      open.filter((each) => isBound(each.slots, source.own));
    const byIndex = ready.find(
      (source) =>
        source.outer !== true &&
        source.table !== undefined &&
        lookupFor(source.table.table, source.table.slot, usable(source)) !== undefined,
    );
    const next =
      byIndex ??
      ready.find((source) => source.outer !== true && source.table === undefined) ??
      ready.find((source) => source.outer !== true) ??
      ready[0];
    if (next === undefined) throw unsupported('a FROM list whose items need each other');
    const filters = usable(next);
    for (const each of filters) open.splice(open.indexOf(each), 1);
    for (const slot of next.own) bound.add(slot);
    left.splice(left.indexOf(next), 1);
    steps.push({ source: next, filters });
  }
  const go = (run: Run, at: number, visit: Visit): boolean => {
    const step = steps[at];
    if (step === undefined) return visit();
    return step.source.each(
      run,
      step.filters,
      at === steps.length - 1 ? visit : () => go(run, at + 1, visit),
    );
  };
  return (run, visit) => passes(run, ahead) && go(run, 0, visit);
}
