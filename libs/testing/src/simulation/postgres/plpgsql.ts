import type { Node } from 'libpg-query';
import { displayName, type SqlFunction, type Table, type Trigger } from './catalog.ts';
import { define } from './ddl.ts';
import { parse, parseFunction } from './parser.ts';
import { isPlannable, nestedPlan, planFor, runPlan, type Plan } from './plan.ts';
import { PostgresError, unsupported } from './postgres-error.ts';
import type { Run, Steps, VariableScope } from './run.ts';
import { BOOL, recordOf, TEXT, typeNamed, arrayOf, type Row, type SqlType, type Value } from './types.ts';

/** Who calls. */
type Caller = Pick<Run, 'session'>;

/** A node of the parser's tree: one key that says what it is. */
type Tree = Readonly<Record<string, unknown>>;

interface Expression {
  readonly query: string;
  readonly parseMode: number;
}

interface Datum {
  readonly name: string;
  readonly type: SqlType | undefined;
  /** Of a field of a record: the record's number. */
  readonly parent: number | undefined;
  /** What it is when the function begins. */
  readonly initial?: Tree;
}

interface Body {
  readonly data: readonly Datum[];
  readonly statements: readonly Tree[];
  readonly found: number;
}

/** The variables of one call. */
interface Frame {
  readonly body: Body;
  readonly values: Value[];
  /** The fields of records, once they have some. */
  readonly fields: (readonly { readonly name: string; readonly type: SqlType }[] | undefined)[];
  readonly rows: Row[];
  readonly transitions: ReadonlyMap<string, readonly Row[]>;
  readonly transitionTables: ReadonlyMap<string, Table>;
  readonly functionName: string;
}

const bodies = new WeakMap<SqlFunction, Body>();

function bodyOf(definition: SqlFunction): Body {
  const known = bodies.get(definition);
  if (known !== undefined) return known;
  if (definition.language !== 'plpgsql')
    throw unsupported(`functions in ${definition.language} (${displayName(definition)})`);
  const tree = parseFunction(definition.source) as { readonly plpgsql_funcs: readonly Tree[] };
  const parsed = tree.plpgsql_funcs[0]?.['PLpgSQL_function'] as {
    readonly datums: readonly Tree[];
    readonly action: Tree;
  };
  const data = parsed.datums.map((each): Datum => {
    const [kind, content] = only(each);
    const datum = content as {
      readonly refname?: string;
      readonly fieldname?: string;
      readonly recparentno?: number;
      readonly datatype?: Tree;
      readonly default_val?: Tree;
    };
    if (kind === 'PLpgSQL_recfield')
      return { name: datum.fieldname ?? '', type: undefined, parent: datum.recparentno ?? 0 };
    const typeName = (datum.datatype?.['PLpgSQL_type'] as { readonly typname?: string } | undefined)?.typname;
    const { default_val: initial } = datum;
    return {
      ...(initial !== undefined && { initial }),
      name: datum.refname ?? '',
      type: kind === 'PLpgSQL_var' ? variableType(typeName) : undefined,
      parent: undefined,
    };
  });
  const block = parsed.action['PLpgSQL_stmt_block'] as {
    readonly body?: readonly Tree[];
    readonly exceptions?: unknown;
  };
  if (block.exceptions !== undefined) throw unsupported('EXCEPTION in PL/pgSQL');
  const body = { data, statements: block.body ?? [], found: data.findIndex(({ name }) => name === 'found') };
  bodies.set(definition, body);
  return body;
}

function variableType(name = 'text'): SqlType {
  const plain = name.replace(/^pg_catalog\./, '').replaceAll('"', '');
  const type = typeNamed(plain.replace(/\[\]$/, ''));
  if (type === undefined) throw unsupported(`variables of the type ${name} in PL/pgSQL`);
  return plain.endsWith('[]') ? arrayOf(type) : type;
}

function only(tree: Tree): readonly [string, unknown] {
  const [entry] = Object.entries(tree);
  return entry ?? ['nothing', {}];
}

/** Calls a function that gives a table. */
export function* callFunction(
  definition: SqlFunction,
  run: Caller,
  args: readonly Value[],
): Steps<readonly Row[]> {
  const body = bodyOf(definition);
  const frame = frameOf(body, definition, new Map(), new Map());
  for (const [index, value] of args.entries()) frame.values[index] = value;
  yield* initialise(run, frame);
  yield* runBlock(run, frame, body.statements);
  return frame.rows;
}

/** Calls the function of a trigger for each statement. */
export function* callTrigger(
  run: Caller,
  table: Table,
  trigger: Trigger,
  event: string,
  transitions: ReadonlyMap<string, readonly Row[]>,
): Steps<void> {
  const entry = run.session.catalog.get(`public.${trigger.function}()`);
  if (entry?.kind !== 'function')
    throw new PostgresError('42883', `function ${trigger.function}() does not exist`);
  const body = bodyOf(entry);
  const tables = new Map([...transitions.keys()].map((name) => [name, table]));
  const frame = frameOf(body, entry, transitions, tables);
  for (const [index, { name }] of body.data.entries()) {
    if (name === 'tg_op') frame.values[index] = event;
    if (name === 'tg_table_name' || name === 'tg_relname') frame.values[index] = table.name;
    if (name === 'tg_name') frame.values[index] = trigger.name;
  }
  yield* runBlock(run, frame, body.statements);
}

function frameOf(
  body: Body,
  definition: SqlFunction,
  transitions: ReadonlyMap<string, readonly Row[]>,
  transitionTables: ReadonlyMap<string, Table>,
): Frame {
  const values = body.data.map((): Value => null);
  if (body.found !== -1) values[body.found] = false;
  return { body, values, fields: [], rows: [], transitions, transitionTables, functionName: definition.name };
}

/** The values that declarations give, in order: each may use those before. */
function* initialise(run: Caller, frame: Frame): Steps<void> {
  for (const [index, { initial }] of frame.body.data.entries())
    if (initial !== undefined) frame.values[index] = yield* evaluate(run, frame, initial);
}

/** True: the function has returned. */
function* runBlock(run: Caller, frame: Frame, statements: readonly Tree[]): Steps<boolean> {
  for (const statement of statements) if (yield* runStatement(run, frame, statement)) return true;
  return false;
}

function* runStatement(run: Caller, frame: Frame, statement: Tree): Steps<boolean> {
  const [kind, content] = only(statement);
  const tree = content as Tree;
  const setFound = (found: boolean): void => {
    if (frame.body.found !== -1) frame.values[frame.body.found] = found;
  };
  switch (kind) {
    case 'PLpgSQL_stmt_perform': {
      const { rows } = yield* runQuery(run, frame, tree['expr'] as Tree);
      setFound(rows.length > 0);
      return false;
    }
    case 'PLpgSQL_stmt_return_query': {
      const { rows } = yield* runQuery(run, frame, tree['query'] as Tree);
      frame.rows.push(...rows);
      setFound(rows.length > 0);
      return false;
    }
    case 'PLpgSQL_stmt_execsql': {
      const { query: sql } = (tree['sqlstmt'] as Tree)['PLpgSQL_expr'] as Expression;
      const [own] = parse(sql);
      if (own !== undefined && !isPlannable(own.node)) {
        yield* define(run.session, own.node, own.text);
        return false;
      }
      const { rows, plan } = yield* runQuery(run, frame, tree['sqlstmt'] as Tree);
      if (tree['into'] === true) into(frame, tree, plan, rows);
      setFound(rows.length > 0);
      return false;
    }
    case 'PLpgSQL_stmt_dynexecute': {
      if (tree['params'] !== undefined) throw unsupported('EXECUTE ... USING in PL/pgSQL');
      const sql = String(yield* text(run, frame, tree['query'] as Tree));
      for (const each of parse(sql)) {
        if (!isPlannable(each.node)) {
          yield* define(run.session, each.node, each.text);
          continue;
        }
        const plan = planFor(run.session.catalog, each);
        const rows = yield* runPlan(run.session, plan, []);
        if (tree['into'] === true) into(frame, tree, plan, rows);
      }
      return false;
    }
    case 'PLpgSQL_stmt_if': {
      if ((yield* evaluate(run, frame, tree['cond'] as Tree)) === true)
        return yield* runBlock(run, frame, (tree['then_body'] ?? []) as readonly Tree[]);
      for (const each of (tree['elsif_list'] ?? []) as readonly Tree[]) {
        const branch = only(each)[1] as Tree;
        if ((yield* evaluate(run, frame, branch['cond'] as Tree)) === true)
          return yield* runBlock(run, frame, (branch['stmts'] ?? []) as readonly Tree[]);
      }
      return yield* runBlock(run, frame, (tree['else_body'] ?? []) as readonly Tree[]);
    }
    case 'PLpgSQL_stmt_assign': {
      frame.values[Number(tree['varno'])] = yield* evaluate(run, frame, tree['expr'] as Tree);
      return false;
    }
    case 'PLpgSQL_stmt_raise':
      yield* raise(run, frame, tree);
      return false;
    case 'PLpgSQL_stmt_return': {
      const expression = tree['expr'] as Tree | undefined;
      if (expression !== undefined) frame.rows.push([yield* evaluate(run, frame, expression)]);
      return true;
    }
    default:
      throw unsupported(`${kind.replace('PLpgSQL_stmt_', '')} in PL/pgSQL (function ${frame.functionName})`);
  }
}

/** SELECT ... INTO. */
function into(frame: Frame, tree: Tree, { query }: Plan, rows: readonly Row[]): void {
  const [kind, content] = only(tree['target'] as Tree);
  const [first] = rows;
  if (kind === 'PLpgSQL_rec') {
    const { dno = 0 } = content as { readonly dno?: number };
    frame.fields[dno] = query.columns;
    frame.values[dno] = first ?? null;
    return;
  }
  const { fields } = content as { readonly fields: readonly { readonly varno: number }[] };
  for (const [index, { varno }] of fields.entries()) frame.values[varno] = first?.[index] ?? null;
}

/** As PLPGSQL_RAISEOPTION_... are numbered. */
const CODE = 0;
const DETAIL = 2;
const HINT = 3;
const CONSTRAINT = 5;

const CONDITIONS: Readonly<Record<string, string>> = {
  check_violation: '23514',
  restrict_violation: '23001',
  unique_violation: '23505',
  foreign_key_violation: '23503',
  not_null_violation: '23502',
  raise_exception: 'P0001',
  serialization_failure: '40001',
  insufficient_privilege: '42501',
  invalid_parameter_value: '22023',
};

function* raise(run: Caller, frame: Frame, tree: Tree): Steps<void> {
  const EXCEPTION_LEVEL = 21;
  if (tree['elog_level'] !== EXCEPTION_LEVEL) return;
  const values: Value[] = [];
  for (const each of (tree['params'] ?? []) as readonly Tree[]) values.push(yield* text(run, frame, each));
  const message = (tree['message'] as string).replace(/%%|%/g, (sign) =>
    sign === '%%' ? '%' : String(values.shift() ?? '<NULL>'),
  );
  const options = new Map<number, string>();
  for (const each of (tree['options'] ?? []) as readonly Tree[]) {
    const option = only(each)[1] as { readonly opt_type?: number; readonly expr: Tree };
    options.set(option.opt_type ?? 0, String(yield* text(run, frame, option.expr)));
  }
  const name = options.get(CODE) ?? 'raise_exception';
  const code = /^[0-9A-Z]{5}$/.test(name) ? name : CONDITIONS[name];
  if (code === undefined) throw unsupported(`the condition ${name} in RAISE`);
  throw new PostgresError(code, message, {
    ...(options.has(DETAIL) && { detail: options.get(DETAIL) as string }),
    ...(options.has(HINT) && { hint: options.get(HINT) as string }),
    ...(options.has(CONSTRAINT) && { constraint: options.get(CONSTRAINT) as string }),
  });
}

function* evaluate(run: Caller, frame: Frame, expression: Tree): Steps<Value> {
  const { rows } = yield* runQuery(run, frame, expression);
  return rows[0]?.[0] ?? null;
}

function* text(run: Caller, frame: Frame, expression: Tree): Steps<Value> {
  const { rows, plan } = yield* runQuery(run, frame, expression);
  const value = rows[0]?.[0] ?? null;
  return value === null ? null : (plan.query.columns[0]?.type ?? TEXT).output(value);
}

const EXPRESSION_MODE = 2;

function* runQuery(
  run: Caller,
  frame: Frame,
  holder: Tree,
): Steps<{ readonly rows: readonly Row[]; readonly plan: Plan }> {
  const { query, parseMode } = holder['PLpgSQL_expr'] as Expression;
  const sql = parseMode === EXPRESSION_MODE ? `SELECT ${query}` : query;
  const plan = nestedPlan(run.session.catalog, holder, () => parse(sql)[0]?.node as Node, {
    variables: variablesOf(frame),
    transitions: frame.transitionTables,
  });
  const rows = yield* runPlan(run.session, plan, [], {
    variables: frame.values,
    transitions: frame.transitions,
  });
  return { rows, plan };
}

function variablesOf(frame: Frame): VariableScope {
  return {
    find(path) {
      const name = path.at(-1) ?? '';
      if (path.length > 1) {
        const record = frame.body.data.findIndex(
          (each) => each.name === path.at(-2) && each.type === undefined && each.parent === undefined,
        );
        const fields = frame.fields[record];
        const at = fields?.findIndex((field) => field.name === name) ?? -1;
        const type = fields?.[at]?.type;
        return type && { type, read: (run) => (run.variables[record] as Row | null)?.[at] ?? null };
      }
      const index = frame.body.data.findIndex((each) => each.name === name && each.parent === undefined);
      const datum = frame.body.data[index];
      if (datum === undefined) return undefined;
      const type =
        datum.type ?? (frame.fields[index] === undefined ? undefined : recordOf(frame.fields[index]));
      return { type: type ?? BOOL, read: (run) => run.variables[index] ?? null };
    },
  };
}
