import type { FuncCall, Node, SelectStmt, TypeName } from 'libpg-query';
import { keyOf, type CatalogEntry, type CatalogView, type SqlFunction, type Table } from './catalog.ts';
import {
  both,
  cast,
  commonType,
  comparison,
  constant,
  isComparison,
  negate,
  NO_SLOTS,
  not,
  quantified,
  strict,
  typeOf,
  unify,
  union,
  untyped,
  type Expression,
  type ParameterTypes,
} from './expression.ts';
import { callBuiltIn, extreme, noFunction } from './functions.ts';
import { operate } from './operators.ts';
import { aggregate, isAggregate, type Aggregate } from './aggregates.ts';
import { PostgresError, unsupported } from './postgres-error.ts';
import type { Run, Steps, VariableScope } from './run.ts';
import type { TableLockMode } from './storage.ts';
import {
  arrayOf,
  BOOL,
  INT4,
  INT8,
  INT8_MAX,
  NUMERIC,
  recordOf,
  TEXT,
  TID,
  TIMESTAMPTZ,
  DATE,
  NAME,
  typeNamed,
  UNKNOWN,
  type Row,
  type SqlType,
  type Value,
} from './types.ts';

export interface OutputColumn {
  readonly name: string;
  readonly type: SqlType;
}

/** A compiled query, wherever it stands. */
export interface Query {
  readonly columns: readonly OutputColumn[];
  /** The items outside of it that it reads. */
  readonly slots: ReadonlySet<number>;
  /** Its rows at once; not of queries that lock or change rows. */
  readonly rows: (run: Run) => readonly Row[];
  /** Its rows, with waits. Undefined: it never waits. */
  readonly steps?: (run: Run) => Steps<readonly Row[]>;
}

export interface ScopeColumn {
  readonly name: string;
  readonly type: SqlType;
  readonly slot: number;
  readonly index: number;
}

/** An item of a FROM list. */
export interface ScopeItem {
  readonly alias: string;
  readonly columns: readonly ScopeColumn[];
  readonly slot: number;
  readonly isTable: boolean;
}

/** A common table expression: its rows are among the results of the run. */
export interface Cte {
  readonly columns: readonly OutputColumn[];
  readonly read: (run: Run) => readonly Row[];
}

interface AggregateCall {
  readonly index: number;
  readonly aggregate: Aggregate;
  readonly args: readonly Expression[];
  readonly filter: Expression | undefined;
  readonly distinct: boolean;
  readonly order: readonly SortKey[];
}

export interface SortKey {
  readonly expression: Expression;
  readonly descending: boolean;
  readonly nullsFirst: boolean;
}

/** The names that an expression can use. */
export class Scope {
  readonly items: ScopeItem[] = [];
  /** Columns of which a join with USING makes one. */
  readonly merged: { readonly name: string; readonly expression: Expression }[] = [];
  readonly parent: Scope | undefined;
  readonly ctes = new Map<string, Cte>();
  /** Where aggregates may stand: those found. */
  aggregates: AggregateCall[] | undefined;
  /** Names that stand for output columns when nothing else has them. */
  outputs: ReadonlyMap<string, Expression> | undefined;

  constructor(parent: Scope | undefined) {
    this.parent = parent;
  }

  cte(name: string): Cte | undefined {
    return this.ctes.get(name) ?? this.parent?.cte(name);
  }
}

type Kind = string;

/** The only key of a node, and what is under it. */
export function entryOf(node: Node): readonly [Kind, never] {
  for (const [kind, body] of Object.entries(node)) return [kind, body as never];
  return ['Nothing', {} as never];
}

export function nameOf(node: Node | undefined): string {
  return node !== undefined && 'String' in node ? (node.String.sval ?? '') : '';
}

export function namesOf(nodes: readonly Node[] | undefined): string[] {
  return (nodes ?? []).map(nameOf);
}

export function itemsOf(node: Node | undefined): readonly Node[] {
  return node !== undefined && 'List' in node ? (node.List.items ?? []) : [];
}

/** How queries are compiled; kept apart so that expressions and queries need not import each other. */
export interface QueryCompiler {
  select(compiler: Compiler, statement: SelectStmt, parent: Scope | undefined): Query;
  /** Calls a function. */
  readonly call: (own: SqlFunction, run: Run, args: readonly Value[]) => Steps<readonly Row[]>;
}

/** Compiles one statement. */
export class Compiler implements ParameterTypes {
  readonly types: (SqlType | undefined)[];
  readonly catalog: CatalogView;
  readonly variables: VariableScope | undefined;
  readonly transitions: ReadonlyMap<string, Table>;
  /** What the compiled statement holds for: it is compiled again when one of them is another. */
  readonly uses = new Map<string, CatalogEntry | undefined>();
  readonly locks = new Map<string, TableLockMode>();
  /** What runs before the statement's own query, in order, because it locks or changes rows. */
  readonly before: ((run: Run) => Steps<void>)[] = [];
  readonly #queries: QueryCompiler;
  slots = 0;
  results = 0;
  aggregates = 0;
  /** The types that the next query's columns are for: its literals and parameters without a type get them. */
  expected: readonly SqlType[] | undefined;
  /** Whether the statement changes or locks rows. */
  writes: string | undefined;

  constructor(
    catalog: CatalogView,
    queries: QueryCompiler,
    given: {
      readonly types?: readonly (SqlType | undefined)[];
      readonly variables?: VariableScope;
      readonly transitions?: ReadonlyMap<string, Table>;
    } = {},
  ) {
    this.catalog = catalog;
    this.#queries = queries;
    this.types = [...(given.types ?? [])];
    this.variables = given.variables;
    this.transitions = given.transitions ?? new Map<string, Table>();
  }

  newSlot(): number {
    this.slots += 1;
    return this.slots - 1;
  }

  newResult(): number {
    this.results += 1;
    return this.results - 1;
  }

  table(schema: string | undefined, name: string, mode: TableLockMode): Table {
    const table = this.catalog.requireTable(schema, name);
    this.#use(table, mode);
    return table;
  }

  /** The tables with the rows of a table. */
  leaves(table: Table, mode: TableLockMode): readonly Table[] {
    if (table.partitionKey === undefined) return [table];
    return table.partitions.flatMap((partition) => {
      const leaf = this.catalog.tableByKey(partition.table);
      this.#use(leaf, mode);
      return this.leaves(leaf, mode);
    });
  }

  #use(table: Table, mode: TableLockMode): void {
    const key = keyOf(table);
    this.uses.set(key, table);
    this.locks.set(key, Math.max(mode, this.locks.get(key) ?? 1) as TableLockMode);
  }

  subquery(statement: SelectStmt, parent: Scope): Query {
    return this.#queries.select(this, statement, parent);
  }

  /** Runs a query that waits before the statement, and gives its rows. */
  runBefore(query: Query): (run: Run) => readonly Row[] {
    const { steps } = query;
    const index = this.newResult();
    if (steps === undefined) return (run) => (run.results[index] ??= query.rows(run));
    if (query.slots.size > 0)
      throw unsupported('a subquery that locks or changes rows and depends on others');
    this.before.push(function* (run) {
      run.results[index] = yield* steps(run);
    });
    return (run) => run.results[index] ?? [];
  }

  typeOfName(typeName: TypeName | undefined): SqlType {
    const names = namesOf(typeName?.names);
    const name = names.at(-1) ?? '';
    const type = typeNamed(name);
    if (type === undefined) throw unsupported(`the type ${names.join('.')}`);
    return (typeName?.arrayBounds ?? []).length > 0 ? arrayOf(type) : type;
  }

  /** A condition: true, false or null. */
  condition(node: Node, scope: Scope): Expression {
    return cast(this, this.expression(node, scope), BOOL, 'implicit');
  }

  /** As `expression`, with a type in any case. */
  typed(node: Node, scope: Scope): Expression {
    return this.settle(this.expression(node, scope));
  }

  settle(expression: Expression): Expression {
    return typeOf(this, expression) === UNKNOWN
      ? cast(this, expression, TEXT, 'implicit')
      : expression.parameter === undefined
        ? expression
        : cast(this, expression, typeOf(this, expression), 'implicit');
  }

  expression(node: Node, scope: Scope): Expression {
    if ('ColumnRef' in node) return this.#column(node.ColumnRef.fields ?? [], scope);
    if ('ParamRef' in node) {
      const number = node.ParamRef.number ?? 1;
      const known = this.types[number - 1];
      const index = number - 1;
      const evaluate = (run: Run): Value => run.parameters[index] ?? null;
      while (this.types.length < number) this.types.push(undefined);
      return known === undefined
        ? { type: UNKNOWN, eval: evaluate, slots: NO_SLOTS, parameter: number }
        : { type: known, eval: evaluate, slots: NO_SLOTS };
    }
    if ('A_Const' in node) {
      const { A_Const: value } = node;
      if (value.isnull === true) return untyped(null);
      if (value.sval !== undefined) return untyped(value.sval.sval ?? '');
      if (value.ival !== undefined) return constant(INT4, value.ival.ival ?? 0);
      if (value.boolval !== undefined) return constant(BOOL, value.boolval.boolval === true);
      if (value.fval !== undefined) {
        const text = value.fval.fval ?? '0';
        if (/^\d+$/.test(text) && BigInt(text) <= INT8_MAX) return constant(INT8, BigInt(text));
        return constant(NUMERIC, NUMERIC.input(text));
      }
      throw unsupported('a bit string');
    }
    if ('TypeCast' in node) {
      const type = this.typeOfName(node.TypeCast.typeName);
      const { arg } = node.TypeCast;
      if (arg !== undefined && 'A_ArrayExpr' in arg && type.element !== undefined) {
        const { element } = type;
        const items = (arg.A_ArrayExpr.elements ?? []).map((each) =>
          cast(this, this.expression(each, scope), element, 'explicit'),
        );
        return arrayExpression(type, items);
      }
      return cast(this, this.expression(arg as Node, scope), type, 'explicit');
    }
    if ('A_Expr' in node) return this.#operator(node.A_Expr as never, scope);
    if ('BoolExpr' in node) {
      const args = (node.BoolExpr.args ?? []).map((each) => this.condition(each, scope));
      if (node.BoolExpr.boolop === 'NOT_EXPR') return not(args[0] as Expression);
      if (node.BoolExpr.boolop === 'AND_EXPR') return args.reduce(both);
      return {
        type: BOOL,
        slots: union(args),
        eval: (run) => {
          let unknown = false;
          for (const each of args) {
            const value = each.eval(run);
            if (value === true) return true;
            if (value === null) unknown = true;
          }
          return unknown ? null : false;
        },
      };
    }
    if ('NullTest' in node) {
      const arg = this.expression(node.NullTest.arg as Node, scope);
      const wanted = node.NullTest.nulltesttype !== 'IS_NOT_NULL';
      const { elements } = arg;
      return {
        type: BOOL,
        slots: arg.slots,
        eval: (run) => {
          if (elements !== undefined) return elements.every((each) => (each.eval(run) === null) === wanted);
          return (arg.eval(run) === null) === wanted;
        },
      };
    }
    if ('BooleanTest' in node) {
      const arg = this.condition(node.BooleanTest.arg as Node, scope);
      const kind = String(node.BooleanTest.booltesttype);
      const tested = kind.endsWith('TRUE') ? true : kind.endsWith('FALSE') ? false : null;
      const wanted = !kind.startsWith('IS_NOT');
      return { type: BOOL, slots: arg.slots, eval: (run) => (arg.eval(run) === tested) === wanted };
    }
    if ('FuncCall' in node) return this.#call(node.FuncCall, scope);
    if ('CoalesceExpr' in node) {
      const args = (node.CoalesceExpr.args ?? []).map((each) => this.expression(each, scope));
      const type = commonType(args, this);
      const given = args.map((each) => cast(this, each, type, 'implicit'));
      return {
        type,
        slots: union(given),
        eval: (run) => {
          for (const each of given) {
            const value = each.eval(run);
            if (value !== null) return value;
          }
          return null;
        },
      };
    }
    if ('MinMaxExpr' in node) {
      const args = (node.MinMaxExpr.args ?? []).map((each) => this.expression(each, scope));
      return extreme(this, args, node.MinMaxExpr.op === 'IS_LEAST' ? -1 : 1);
    }
    if ('CaseExpr' in node) return this.#case(node.CaseExpr, scope);
    if ('SubLink' in node) return this.#subquery(node.SubLink as never, scope);
    if ('RowExpr' in node) {
      const elements = (node.RowExpr.args ?? []).map((each) => this.expression(each, scope));
      return this.row(elements.map((each) => each));
    }
    if ('A_ArrayExpr' in node) {
      const items = (node.A_ArrayExpr.elements ?? []).map((each) => this.expression(each, scope));
      const element = commonType(items, this);
      return arrayExpression(
        arrayOf(element),
        items.map((each) => cast(this, each, element, 'implicit')),
      );
    }
    if ('A_Indirection' in node) return this.#indirection(node.A_Indirection as never, scope);
    if ('CollateClause' in node) return this.expression(node.CollateClause.arg as Node, scope);
    if ('SQLValueFunction' in node) {
      switch (node.SQLValueFunction.op) {
        case 'SVFOP_CURRENT_TIMESTAMP':
          return { type: TIMESTAMPTZ, slots: NO_SLOTS, eval: (run) => run.session.transactionTime };
        case 'SVFOP_CURRENT_DATE':
          return {
            type: DATE,
            slots: NO_SLOTS,
            eval: (run) => Math.floor(run.session.transactionTime / 86_400_000_000) * 86_400_000_000,
          };
        case 'SVFOP_CURRENT_SCHEMA':
          return constant(NAME, 'public');
        case 'SVFOP_CURRENT_CATALOG':
          return { type: NAME, slots: NO_SLOTS, eval: (run) => run.session.database.name };
        case 'SVFOP_CURRENT_USER':
        case 'SVFOP_USER':
        case 'SVFOP_SESSION_USER':
          return { type: NAME, slots: NO_SLOTS, eval: (run) => run.session.user };
        default:
          throw unsupported(String(node.SQLValueFunction.op));
      }
    }
    if ('SetToDefault' in node) throw new PostgresError('42601', 'DEFAULT is not allowed in this context');
    throw unsupported(`an expression of the kind ${entryOf(node)[0]}`);
  }

  row(elements: readonly Expression[], names?: readonly string[]): Expression {
    const fields = elements.map(({ type }, index) => ({ name: names?.[index] ?? `f${index + 1}`, type }));
    return {
      type: recordOf(fields),
      slots: union(elements),
      elements,
      eval: (run) => elements.map((each) => each.eval(run)),
    };
  }

  columnOf({ type, slot, index }: ScopeColumn): Expression {
    return {
      type,
      slots: new Set([slot]),
      column: { slot, index },
      eval: (run) => {
        const row = run.slots[slot];
        return row === null || row === undefined ? null : (row[index] ?? null);
      },
    };
  }

  #column(fields: readonly Node[], scope: Scope): Expression {
    const path = fields.map(nameOf);
    const found = this.findColumn(path, scope) ?? this.#variable(path);
    if (found !== undefined) return found;
    const name = path.join('.');
    if (path.length > 1)
      throw new PostgresError('42P01', `missing FROM-clause entry for table "${path.at(-2) ?? ''}"`);
    throw new PostgresError('42703', `column "${name}" does not exist`);
  }

  #variable(path: readonly string[]): Expression | undefined {
    const variable = this.variables?.find(path);
    return variable && { type: variable.type, slots: NO_SLOTS, eval: (run) => variable.read(run) };
  }

  findColumn(path: readonly string[], scope: Scope): Expression | undefined {
    const name = path.at(-1) ?? '';
    const qualifier = path.length > 1 ? path.at(-2) : undefined;
    for (let at: Scope | undefined = scope; at !== undefined; at = at.parent) {
      if (qualifier === undefined) {
        const merged = at.merged.find((each) => each.name === name);
        if (merged !== undefined) return merged.expression;
        let found: ScopeColumn | undefined;
        for (const item of at.items) {
          for (const column of item.columns) {
            if (column.name !== name) continue;
            if (found !== undefined)
              throw new PostgresError('42702', `column reference "${name}" is ambiguous`);
            found = column;
          }
        }
        if (found !== undefined) return this.columnOf(found);
        const tables = at.items.filter((item) => item.isTable);
        if (name === 'ctid' && tables[0] !== undefined) return ctid(tables[0].slot);
        const whole = at.items.find((item) => item.alias === name);
        if (whole !== undefined) return this.#wholeRow(whole);
        const output = at.outputs?.get(name);
        if (output !== undefined) return output;
        continue;
      }
      const item = at.items.find(({ alias }) => alias === qualifier);
      if (item === undefined) continue;
      const column = item.columns.find((each) => each.name === name);
      if (column !== undefined) return this.columnOf(column);
      if (name === 'ctid' && item.isTable) return ctid(item.slot);
      throw new PostgresError('42703', `column ${qualifier}.${name} does not exist`);
    }
    return undefined;
  }

  #wholeRow(item: ScopeItem): Expression {
    return this.row(
      item.columns.map((column) => this.columnOf(column)),
      item.columns.map(({ name }) => name),
    );
  }

  #operator(
    expression: {
      readonly kind: string;
      readonly name?: readonly Node[];
      readonly lexpr?: Node;
      readonly rexpr?: Node;
    },
    scope: Scope,
  ): Expression {
    const name = nameOf(expression.name?.at(-1));
    const { kind, lexpr, rexpr } = expression;
    const left = (): Expression => this.expression(lexpr as Node, scope);
    const right = (): Expression => this.expression(rexpr as Node, scope);
    switch (kind) {
      case 'AEXPR_OP': {
        if (lexpr === undefined) {
          const operand = right();
          if (name === '-') return negate(operand);
          if (name === '+') return operand;
          throw unsupported(`the prefix operator ${name}`);
        }
        const a = left();
        return isComparison(name === '!=' ? '<>' : name)
          ? comparison(this, name === '!=' ? '<>' : name, a, right())
          : operate(this, name, a, right());
      }
      case 'AEXPR_OP_ANY':
      case 'AEXPR_OP_ALL': {
        const a = left();
        return quantified(this, name, a, right(), kind === 'AEXPR_OP_ALL');
      }
      case 'AEXPR_IN': {
        const a = left();
        const items = itemsOf(rexpr).map((each) => this.expression(each, scope));
        if (a.elements !== undefined) {
          const all = items.map((each) => comparison(this, '=', a, each)).reduce((x, y) => either(x, y));
          return name === '<>' ? not(all) : all;
        }
        const element = commonType([a, ...items], this);
        const array = arrayExpression(
          arrayOf(element),
          items.map((each) => cast(this, each, element, 'implicit')),
        );
        const given = cast(this, a, element, 'implicit');
        return name === '<>'
          ? quantified(this, '<>', given, array, true)
          : quantified(this, '=', given, array, false);
      }
      case 'AEXPR_DISTINCT':
      case 'AEXPR_NOT_DISTINCT': {
        const pair = unify(this, left(), right());
        if (pair === undefined) throw new PostgresError('42883', `operator does not exist: IS DISTINCT FROM`);
        const [a, b] = pair;
        const wanted = kind === 'AEXPR_DISTINCT';
        return {
          type: BOOL,
          slots: union(pair),
          eval: (run) => {
            const x = a.eval(run);
            const y = b.eval(run);
            const same = x === null || y === null ? x === y : a.type.compare(x, y) === 0;
            return same !== wanted;
          },
        };
      }
      case 'AEXPR_BETWEEN':
      case 'AEXPR_NOT_BETWEEN': {
        const [low, high] = itemsOf(rexpr);
        const test = both(
          comparison(this, '>=', left(), this.expression(low as Node, scope)),
          comparison(this, '<=', left(), this.expression(high as Node, scope)),
        );
        return kind === 'AEXPR_BETWEEN' ? test : not(test);
      }
      case 'AEXPR_LIKE':
      case 'AEXPR_ILIKE':
      case 'AEXPR_SIMILAR':
        return operate(this, name, left(), right());
      case 'AEXPR_NULLIF':
        return callBuiltIn(this, 'nullif', [left(), right()], new Map()) as Expression;
      default:
        throw unsupported(`an operator of the kind ${kind}`);
    }
  }

  #case(
    expression: { readonly arg?: Node; readonly args?: readonly Node[]; readonly defresult?: Node },
    scope: Scope,
  ): Expression {
    const tested = expression.arg === undefined ? undefined : this.typed(expression.arg, scope);
    const branches = (expression.args ?? []).map((each) => {
      const when = entryOf(each)[1] as { readonly expr: Node; readonly result: Node };
      const test =
        tested === undefined
          ? this.condition(when.expr, scope)
          : comparison(this, '=', tested, this.expression(when.expr, scope));
      return { test, result: this.expression(when.result, scope) };
    });
    const otherwise =
      expression.defresult === undefined ? untyped(null) : this.expression(expression.defresult, scope);
    const type = commonType([...branches.map(({ result }) => result), otherwise], this);
    const results = branches.map(({ test, result }) => ({
      test,
      result: cast(this, result, type, 'implicit'),
    }));
    const last = cast(this, otherwise, type, 'implicit');
    return {
      type,
      slots: union([...results.flatMap(({ test, result }) => [test, result]), last]),
      eval: (run) => {
        for (const { test, result } of results) if (test.eval(run) === true) return result.eval(run);
        return last.eval(run);
      },
    };
  }

  #subquery(
    link: {
      readonly subLinkType: string;
      readonly testexpr?: Node;
      readonly operName?: readonly Node[];
      readonly subselect: Node;
    },
    scope: Scope,
  ): Expression {
    const { subselect, subLinkType } = link;
    if (!('SelectStmt' in subselect)) throw unsupported('a subquery that is not a SELECT');
    const query = this.subquery(subselect.SelectStmt, scope);
    const read = query.steps === undefined && query.slots.size > 0 ? query.rows : this.runBefore(query);
    const { slots } = query;
    const type = query.columns[0]?.type ?? BOOL;
    switch (subLinkType) {
      case 'EXISTS_SUBLINK':
        return { type: BOOL, slots, eval: (run) => read(run).length > 0 };
      case 'EXPR_SUBLINK':
        return {
          type,
          slots,
          eval: (run) => {
            const rows = read(run);
            if (rows.length > 1)
              throw new PostgresError(
                '21000',
                'more than one row returned by a subquery used as an expression',
              );
            return rows[0]?.[0] ?? null;
          },
        };
      case 'ARRAY_SUBLINK':
        return { type: arrayOf(type), slots, eval: (run) => read(run).map(([value]) => value ?? null) };
      case 'ANY_SUBLINK':
      case 'ALL_SUBLINK': {
        const tested = this.expression(link.testexpr as Node, scope);
        const operator = nameOf(link.operName?.at(-1)) || '=';
        if (tested.elements !== undefined) {
          const slot = this.newSlot();
          const placed = query.columns.map(({ type: of }, index) =>
            this.columnOf({ name: '', type: of, slot, index }),
          );
          const test = comparison(this, '=', tested, this.row(placed));
          return {
            type: BOOL,
            slots: union([tested, { type: BOOL, slots, eval: () => null }]),
            eval: (run) => {
              let unknown = false;
              for (const row of read(run)) {
                run.slots[slot] = row;
                const value = test.eval(run);
                if (value === true) return true;
                if (value === null) unknown = true;
              }
              return unknown ? null : false;
            },
          };
        }
        const array: Expression = {
          type: arrayOf(type),
          slots,
          eval: (run) => read(run).map(([value]) => value ?? null),
        };
        return quantified(this, operator, tested, array, subLinkType === 'ALL_SUBLINK');
      }
      default:
        throw unsupported(`a subquery of the kind ${subLinkType}`);
    }
  }

  #indirection(
    { arg, indirection = [] }: { readonly arg: Node; readonly indirection?: readonly Node[] },
    scope: Scope,
  ): Expression {
    let expression = this.expression(arg, scope);
    for (const step of indirection) {
      if ('A_Indices' in step) {
        const { element } = expression.type;
        const { uidx, is_slice: isSlice } = step.A_Indices;
        if (element === undefined || uidx === undefined || isSlice === true)
          throw unsupported('this use of [ ]');
        const index = cast(this, this.expression(uidx, scope), INT4, 'implicit');
        expression = strict(
          element,
          [expression, index],
          ([array, at]) => (array as Row)[(at as number) - 1] ?? null,
        );
        continue;
      }
      const name = nameOf(step);
      const at = expression.type.fields?.findIndex((field) => field.name === name) ?? -1;
      const field = expression.type.fields?.[at];
      if (field === undefined)
        throw new PostgresError('42703', `column "${name}" not found in data type ${expression.type.name}`);
      expression = strict(field.type, [expression], ([row]) => (row as Row)[at] ?? null);
    }
    return expression;
  }

  /** The arguments of a call, those with names apart. */
  args(nodes: readonly Node[], scope: Scope): { args: Expression[]; named: Map<string, Expression> } {
    const args: Expression[] = [];
    const named = new Map<string, Expression>();
    for (const node of nodes) {
      if ('NamedArgExpr' in node)
        named.set(node.NamedArgExpr.name ?? '', this.expression(node.NamedArgExpr.arg as Node, scope));
      else args.push(this.expression(node, scope));
    }
    return { args, named };
  }

  #call(call: FuncCall, scope: Scope): Expression {
    const path = namesOf(call.funcname);
    const name = path.at(-1) ?? '';
    if (call.over !== undefined) throw unsupported('window functions');
    if (isAggregate(name) && path.length === 1) return this.#aggregate(name, call, scope);
    const { args, named } = this.args(call.args ?? [], scope);
    const built = callBuiltIn(this, name, args, named);
    if (built !== undefined) return built;
    const own = this.ownFunction(path);
    if (own === undefined) throw noFunction(name, args);
    const rows = this.callBefore(own, args);
    return { type: own.returns, slots: NO_SLOTS, eval: (run) => rows(run)[0]?.[0] ?? null };
  }

  /** Calls a function of the database's own, before the statement: it may wait. */
  callBefore(own: SqlFunction, args: readonly Expression[]): (run: Run) => readonly Row[] {
    if (args.length !== own.arguments.length) throw noFunction(own.name, args);
    const given = args.map((each, index) =>
      cast(this, each, own.arguments[index]?.type ?? each.type, 'implicit'),
    );
    if (union(given).size > 0) throw unsupported(`a call of ${own.name} with columns as arguments`);
    const index = this.newResult();
    const { call } = this.#queries;
    this.before.push(function* (run) {
      run.results[index] = yield* call(
        own,
        run,
        given.map((each) => each.eval(run)),
      );
    });
    return (run) => run.results[index] ?? [];
  }

  /** A function of the database's own. */
  ownFunction(path: readonly string[]): SqlFunction | undefined {
    const name = path.at(-1) ?? '';
    const key = `${path.length > 1 ? (path[0] ?? '') : 'public'}.${name}()`;
    const entry = this.catalog.get(key);
    if (entry?.kind !== 'function') return undefined;
    this.uses.set(key, entry);
    return entry;
  }

  #aggregate(name: string, call: FuncCall, scope: Scope): Expression {
    const { aggregates: found } = scope;
    if (found === undefined)
      throw new PostgresError('42803', `aggregate functions are not allowed here: ${name}`);
    scope.aggregates = undefined;
    try {
      const given = (call.args ?? []).map((each) => this.expression(each, scope));
      const chosen = aggregate(
        name,
        given.map((each) => typeOf(this, each)),
      );
      const args = given.map((each, index) => cast(this, each, chosen.types[index] ?? TEXT, 'implicit'));
      const filter = call.agg_filter === undefined ? undefined : this.condition(call.agg_filter, scope);
      const order = (call.agg_order ?? []).map((each) => this.sortKey(each, scope));
      const index = this.aggregates;
      this.aggregates += 1;
      found.push({
        index,
        aggregate: chosen.aggregate,
        args,
        filter,
        distinct: call.agg_distinct === true,
        order,
      });
      return { type: chosen.aggregate.type, slots: NO_SLOTS, eval: (run) => run.aggregates[index] ?? null };
    } finally {
      scope.aggregates = found;
    }
  }

  sortKey(node: Node, scope: Scope, expression?: Expression): SortKey {
    if (!('SortBy' in node)) throw unsupported('this ORDER BY');
    const { SortBy: sort } = node;
    const descending = sort.sortby_dir === 'SORTBY_DESC';
    return {
      expression: expression ?? this.typed(sort.node as Node, scope),
      descending,
      nullsFirst:
        sort.sortby_nulls === 'SORTBY_NULLS_FIRST' ||
        (sort.sortby_nulls !== 'SORTBY_NULLS_LAST' && descending),
    };
  }
}

function ctid(slot: number): Expression {
  return {
    type: TID,
    slots: new Set([slot]),
    eval: (run) => {
      const tuple = run.tuples[slot];
      return tuple === undefined ? null : `(0,${tuple.number})`;
    },
  };
}

export function either(left: Expression, right: Expression): Expression {
  return {
    type: BOOL,
    slots: union([left, right]),
    eval: (run) => {
      const a = left.eval(run);
      if (a === true) return true;
      const b = right.eval(run);
      return b === true ? true : a === null || b === null ? null : false;
    },
  };
}

function arrayExpression(type: SqlType, items: readonly Expression[]): Expression {
  if (items.every((each) => each.constant === true)) {
    let values: Row | undefined;
    return {
      type,
      slots: NO_SLOTS,
      constant: true,
      eval: (run) => (values ??= items.map((each) => each.eval(run))),
    };
  }
  return { type, slots: union(items), eval: (run) => items.map((each) => each.eval(run)) };
}

export function compareKeys(a: Row, b: Row, keys: readonly SortKey[]): number {
  for (const [index, { expression, descending, nullsFirst }] of keys.entries()) {
    const x = a[index] ?? null;
    const y = b[index] ?? null;
    if (x === null || y === null) {
      if (x !== y) return (x === null) === nullsFirst ? -1 : 1;
      continue;
    }
    const order = expression.type.compare(x, y);
    if (order !== 0) return descending ? -order : order;
  }
  return 0;
}

/** Gathers the aggregates of one group. */
export class Accumulation {
  readonly #calls: readonly AggregateCall[];
  readonly #states: unknown[];
  readonly #seen: (Set<string> | undefined)[];
  /** Of the aggregates with an order of their own. */
  readonly #rows: ({ readonly keys: Row; readonly values: Row }[] | undefined)[];

  constructor(calls: readonly AggregateCall[]) {
    this.#calls = calls;
    this.#states = calls.map((call) => call.aggregate.start());
    this.#seen = calls.map((call) => (call.distinct ? new Set<string>() : undefined));
    this.#rows = calls.map((call) => (call.order.length > 0 ? [] : undefined));
  }

  add(run: Run): void {
    for (const [index, { aggregate: kind, args, filter, order }] of this.#calls.entries()) {
      if (filter !== undefined && filter.eval(run) !== true) continue;
      const values = args.map((each) => each.eval(run));
      if (!kind.takesNulls && args.length > 0 && values[0] === null) continue;
      const seen = this.#seen[index];
      if (seen !== undefined) {
        const key = values
          .map((value, at) => (value === null ? '' : String(args[at]?.type.key(value))))
          .join('\u0000');
        if (seen.has(key)) continue;
        seen.add(key);
      }
      const rows = this.#rows[index];
      if (rows !== undefined) rows.push({ keys: order.map((each) => each.expression.eval(run)), values });
      else this.#states[index] = kind.add(this.#states[index], values);
    }
  }

  finish(run: Run): void {
    for (const [index, { aggregate: kind, order, index: at }] of this.#calls.entries()) {
      const rows = this.#rows[index];
      if (rows !== undefined) {
        rows.sort((a, b) => compareKeys(a.keys, b.keys, order));
        for (const { values } of rows) this.#states[index] = kind.add(this.#states[index], values);
      }
      run.aggregates[at] = kind.finish(this.#states[index]);
    }
  }
}
