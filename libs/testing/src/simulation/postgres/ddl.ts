import type { AlterTableCmd, ColumnDef, Constraint, CreateStmt, Node, RangeVar } from 'libpg-query';
import {
  entryKey,
  keyOf,
  newCatalogId,
  type CatalogEntry,
  type Check,
  type Column,
  type ForeignKey,
  type PartitionBound,
  type SqlFunction,
  type Table,
  type UniqueIndex,
} from './catalog.ts';
import { Compiler, entryOf, itemsOf, nameOf, namesOf, Scope } from './compiler.ts';
import { cast } from './expression.ts';
import { scopeItem } from './from.ts';
import { defaultOf, fire } from './modify.ts';
import { lockTable } from './plan.ts';
import { callFunction } from './plpgsql.ts';
import { PostgresError, unsupported } from './postgres-error.ts';
import type { Run, SessionState, Steps } from './run.ts';
import { compileSelect } from './select.ts';
import { endTuple, type TableLockMode, type Tuple } from './storage.ts';
import { INT4, INT8, recordOf, type Row, type SqlType, type Value } from './types.ts';

/** Statements that define tables and what belongs to them. Answers the command tag. */
export function* define(session: SessionState, node: Node, text: string): Steps<string> {
  if ('CreateStmt' in node) return yield* createTable(session, node.CreateStmt);
  if ('AlterTableStmt' in node) {
    const { relation, cmds = [] } = node.AlterTableStmt;
    let table = find(session, relation);
    yield* lockTable(session, table, 8);
    for (const each of cmds) {
      if ('AlterTableCmd' in each) table = yield* alter(session, table, each.AlterTableCmd);
    }
    return 'ALTER TABLE';
  }
  if ('IndexStmt' in node) return yield* createIndex(session, node);
  if ('DropStmt' in node) return yield* drop(session, node);
  if ('CreateSeqStmt' in node) {
    createSequence(
      session,
      schemaOf(node.CreateSeqStmt.sequence),
      node.CreateSeqStmt.sequence?.relname ?? '',
    );
    return 'CREATE SEQUENCE';
  }
  if ('CreateSchemaStmt' in node) {
    const { schemaname = '', if_not_exists: mayExist } = node.CreateSchemaStmt;
    const key = entryKey('schema', undefined, schemaname);
    if (session.catalog.get(key) !== undefined) {
      if (mayExist === true) return 'CREATE SCHEMA';
      throw new PostgresError('42P06', `schema "${schemaname}" already exists`);
    }
    put(session, { kind: 'schema', id: newCatalogId(), schema: schemaname, name: schemaname });
    return 'CREATE SCHEMA';
  }
  if ('CreateFunctionStmt' in node) {
    createFunction(session, node.CreateFunctionStmt as never, text);
    return 'CREATE FUNCTION';
  }
  if ('CreateTrigStmt' in node) return yield* createTrigger(session, node.CreateTrigStmt as never);
  if ('TruncateStmt' in node) {
    for (const each of node.TruncateStmt.relations ?? []) {
      if (!('RangeVar' in each)) continue;
      const table = find(session, each.RangeVar);
      yield* lockTable(session, table, 8);
      yield* fire({ session }, table, 'TRUNCATE', true, { added: [], removed: [] });
      session.transaction.command += 1;
      for (const leaf of leavesOf(session, table)) {
        for (const tuple of session.database.data(leaf).heap)
          if (tuple.endedBy === undefined) endTuple(session.transaction, tuple, undefined);
      }
    }
    return 'TRUNCATE TABLE';
  }
  if ('LockStmt' in node) {
    for (const each of node.LockStmt.relations ?? []) {
      if ('RangeVar' in each)
        yield* lockTable(session, find(session, each.RangeVar), (node.LockStmt.mode ?? 8) as TableLockMode);
    }
    return 'LOCK TABLE';
  }
  // Whoever connects may do everything.
  if ('GrantStmt' in node)
    return (node.GrantStmt as { readonly is_grant?: boolean }).is_grant === true ? 'GRANT' : 'REVOKE';
  if ('AlterDefaultPrivilegesStmt' in node) return 'ALTER DEFAULT PRIVILEGES';
  if ('CommentStmt' in node) return 'COMMENT';
  if ('VacuumStmt' in node) return 'ANALYZE';
  // Everybody may do everything here.
  if ('GrantStmt' in node)
    return (node.GrantStmt as { readonly is_grant?: boolean }).is_grant === true ? 'GRANT' : 'REVOKE';
  throw unsupported(`the statement ${entryOf(node)[0]}`);
}

function compilerOf(session: SessionState): Compiler {
  return new Compiler(session.catalog, { select: compileSelect, call: callFunction });
}

function schemaOf(relation: { readonly schemaname?: string } | undefined): string {
  return relation?.schemaname ?? 'public';
}

function find(session: SessionState, relation: RangeVar | undefined): Table {
  return session.catalog.requireTable(relation?.schemaname, relation?.relname ?? '');
}

function leavesOf(session: SessionState, table: Table): Table[] {
  return table.partitionKey === undefined
    ? [table]
    : table.partitions.flatMap((each) => leavesOf(session, session.catalog.tableByKey(each.table)));
}

function put<E extends CatalogEntry>(session: SessionState, entry: E): E {
  session.transaction.undo.push(session.catalog.set(keyOf(entry), entry));
  session.transaction.wrote = true;
  return entry;
}

function remove(session: SessionState, entry: CatalogEntry): void {
  session.transaction.undo.push(session.catalog.set(keyOf(entry), undefined));
  session.transaction.wrote = true;
}

function createSequence(session: SessionState, schema: string, name: string): string {
  const key = entryKey('sequence', schema, name);
  if (session.catalog.get(key) !== undefined)
    throw new PostgresError('42P07', `relation "${name}" already exists`);
  put(session, { kind: 'sequence', id: newCatalogId(), schema, name });
  return key;
}

/** What a definition adds to a table; named when all is known. */
interface Draft {
  readonly schema: string;
  readonly name: string;
  readonly columns: Column[];
  readonly unique: UniqueIndex[];
  readonly checks: Check[];
  readonly foreignKeys: ForeignKey[];
}

function* createTable(session: SessionState, statement: CreateStmt): Steps<string> {
  const name = statement.relation?.relname ?? '';
  const schema = schemaOf(statement.relation);
  if (session.catalog.get(entryKey('schema', undefined, schema)) === undefined)
    throw new PostgresError('3F000', `schema "${schema}" does not exist`);
  if (session.catalog.get(entryKey('table', schema, name)) !== undefined) {
    if (statement.if_not_exists === true) return 'CREATE TABLE';
    throw new PostgresError('42P07', `relation "${name}" already exists`);
  }
  const draft: Draft = { schema, name, columns: [], unique: [], checks: [], foreignKeys: [] };
  const [parentNode] = statement.inhRelations ?? [];
  let partitionOf: Table | undefined;
  if (parentNode !== undefined && 'RangeVar' in parentNode) {
    if (statement.partbound === undefined) throw unsupported('INHERITS');
    partitionOf = find(session, parentNode.RangeVar);
    yield* lockTable(session, partitionOf, 8);
    draft.columns.push(...partitionOf.columns);
    draft.checks.push(...partitionOf.checks);
    draft.foreignKeys.push(...partitionOf.foreignKeys);
    draft.unique.push(...partitionOf.unique.map((each) => inherited(each, partitionOf as Table, name)));
  }
  const late: (() => void)[] = [];
  for (const element of statement.tableElts ?? []) {
    if ('ColumnDef' in element) addColumn(session, draft, element.ColumnDef, late);
    else if ('Constraint' in element)
      late.push(() => addConstraint(session, draft, element.Constraint, undefined));
    else if ('TableLikeClause' in element) {
      const like = find(session, element.TableLikeClause.relation);
      const { options = 0 } = element.TableLikeClause;
      const withDefaults = (options & 8) !== 0;
      const withConstraints = (options & 4) !== 0;
      for (const { default: value, identity, ...column } of like.columns) {
        draft.columns.push(withDefaults && value !== undefined ? { ...column, default: value } : column);
        if (identity !== undefined && (options & 64) !== 0) throw unsupported('LIKE ... INCLUDING IDENTITY');
      }
      if (withConstraints) draft.checks.push(...like.checks);
    } else throw unsupported(`${entryOf(element)[0]} in CREATE TABLE`);
  }
  for (const each of late) each();
  const [keyNode] = statement.partspec?.partParams ?? [];
  let partitionKey: number | undefined;
  if (keyNode !== undefined && 'PartitionElem' in keyNode) {
    if (statement.partspec?.strategy !== 'PARTITION_STRATEGY_RANGE')
      throw unsupported('partitions other than by range');
    partitionKey = columnAt(draft, keyNode.PartitionElem.name ?? '');
  }
  const table = put<Table>(session, {
    kind: 'table',
    id: newCatalogId(),
    ...draft,
    referencedBy: [],
    triggers: [],
    partitions: [],
    ...(partitionKey !== undefined && { partitionKey }),
    ...(partitionOf !== undefined && { partitionOf: keyOf(partitionOf) }),
  });
  noteReferences(session, table);
  if (partitionOf !== undefined)
    attach(session, partitionOf, table, boundOf(session, partitionOf, statement.partbound as never));
  yield* lockTable(session, table, 8);
  return 'CREATE TABLE';
}

/** The tables that foreign keys point to know of them. */
function noteReferences(session: SessionState, table: Table): void {
  for (const { target } of table.foreignKeys) {
    const other = session.catalog.tableByKey(target);
    const own = keyOf(table);
    if (!other.referencedBy.includes(own))
      put(session, { ...other, referencedBy: [...other.referencedBy, own] });
  }
}

function inherited({ name, ...rest }: UniqueIndex, parent: Table, child: string): UniqueIndex {
  return {
    ...rest,
    name: name.startsWith(parent.name) ? `${child}${name.slice(parent.name.length)}` : `${child}_${name}`,
  };
}

function columnAt(table: Pick<Table, 'columns' | 'name'>, name: string): number {
  const index = table.columns.findIndex((column) => column.name === name);
  if (index === -1) throw new PostgresError('42703', `column "${name}" does not exist`);
  return index;
}

const SERIALS: Readonly<Record<string, SqlType>> = {
  serial: INT4,
  serial4: INT4,
  bigserial: INT8,
  serial8: INT8,
};

function addColumn(session: SessionState, draft: Draft, definition: ColumnDef, late: (() => void)[]): void {
  const { colname = '', typeName, constraints = [] } = definition;
  const serial = SERIALS[nameOf(typeName?.names?.at(-1))];
  let column: Column = {
    name: colname,
    type: serial ?? compilerOf(session).typeOfName(typeName),
    notNull: serial !== undefined,
  };
  if (serial !== undefined) {
    const sequence = createSequence(session, draft.schema, `${draft.name}_${colname}_seq`);
    column = { ...column, identity: { sequence, always: false } };
  }
  for (const node of constraints) {
    if (!('Constraint' in node)) continue;
    const { Constraint: constraint } = node;
    switch (constraint.contype) {
      case 'CONSTR_NOTNULL':
        column = { ...column, notNull: true };
        break;
      case 'CONSTR_NULL':
        break;
      case 'CONSTR_DEFAULT':
        column = { ...column, default: constraint.raw_expr as Node };
        break;
      case 'CONSTR_IDENTITY': {
        const sequence = createSequence(session, draft.schema, `${draft.name}_${colname}_seq`);
        column = {
          ...column,
          notNull: true,
          identity: { sequence, always: constraint.generated_when === 'a' },
        };
        break;
      }
      case 'CONSTR_PRIMARY':
        column = { ...column, notNull: true };
        late.push(() => addConstraint(session, draft, constraint, colname));
        break;
      default:
        late.push(() => addConstraint(session, draft, constraint, colname));
    }
  }
  draft.columns.push(column);
}

function freeName(draft: Draft, base: string): string {
  const taken = new Set([...draft.checks, ...draft.unique, ...draft.foreignKeys].map(({ name }) => name));
  if (!taken.has(base)) return base;
  for (let number = 1; ; number += 1) if (!taken.has(`${base}${number}`)) return `${base}${number}`;
}

function addConstraint(
  session: SessionState,
  draft: Draft,
  constraint: Constraint,
  column: string | undefined,
): Check | UniqueIndex | ForeignKey {
  const { name: table } = draft;
  const names =
    constraint.keys === undefined ? (column === undefined ? [] : [column]) : namesOf(constraint.keys);
  const places = (): number[] => names.map((name) => columnAt(draft, name));
  switch (constraint.contype) {
    case 'CONSTR_CHECK': {
      const expression = constraint.raw_expr as Node;
      const used = [...columnsIn(expression)].filter((name) =>
        draft.columns.some((each) => each.name === name),
      );
      const base = used.length === 1 ? `${table}_${used[0] ?? ''}_check` : `${table}_check`;
      const check = { name: constraint.conname ?? freeName(draft, base), expression };
      draft.checks.push(check);
      return check;
    }
    case 'CONSTR_PRIMARY': {
      const index = { name: constraint.conname ?? `${table}_pkey`, primary: true, columns: places() };
      draft.unique.push(index);
      for (const at of index.columns) draft.columns[at] = { ...(draft.columns[at] as Column), notNull: true };
      return index;
    }
    case 'CONSTR_UNIQUE': {
      const index = {
        name: constraint.conname ?? freeName(draft, `${table}_${names.join('_')}_key`),
        primary: false,
        columns: places(),
      };
      draft.unique.push(index);
      return index;
    }
    case 'CONSTR_FOREIGN': {
      const own = constraint.fk_attrs === undefined ? names : namesOf(constraint.fk_attrs);
      const target = find(session, constraint.pktable);
      const given = namesOf(constraint.pk_attrs);
      const targetColumns =
        given.length > 0
          ? given.map((name) => columnAt(target, name))
          : (target.unique.find(({ primary }) => primary)?.columns ?? []);
      for (const action of [constraint.fk_upd_action, constraint.fk_del_action])
        if (action !== undefined && action !== 'a' && action !== 'r')
          throw unsupported('ON DELETE or ON UPDATE of foreign keys');
      const key = {
        name: constraint.conname ?? freeName(draft, `${table}_${own.join('_')}_fkey`),
        columns: own.map((name) => columnAt(draft, name)),
        target: keyOf(target),
        targetColumns,
      };
      draft.foreignKeys.push(key);
      return key;
    }
    default:
      throw unsupported(`the constraint ${String(constraint.contype)}`);
  }
}

function* columnsIn(tree: unknown): Iterable<string> {
  const seen = new Set<string>();
  const walk = (each: unknown): void => {
    if (typeof each !== 'object' || each === null) return;
    if ('ColumnRef' in each)
      seen.add(nameOf((each.ColumnRef as { readonly fields?: readonly Node[] }).fields?.at(-1)));
    for (const value of Object.values(each)) walk(value);
  };
  walk(tree);
  yield* seen;
}

function boundOf(
  session: SessionState,
  parent: Table,
  bound: {
    readonly is_default?: boolean;
    readonly lowerdatums?: readonly Node[];
    readonly upperdatums?: readonly Node[];
  },
): PartitionBound {
  if (bound.is_default === true) return {};
  const type = parent.columns[parent.partitionKey ?? 0]?.type ?? INT8;
  const compiler = compilerOf(session);
  const value = (nodes: readonly Node[] | undefined): Value =>
    cast(compiler, compiler.expression(nodes?.[0] as Node, new Scope(undefined)), type, 'assignment').eval({
      session,
    } as Run);
  return { range: { from: value(bound.lowerdatums), to: value(bound.upperdatums) } };
}

function attach(session: SessionState, parent: Table, child: Table, bound: PartitionBound): void {
  const key = parent.partitionKey ?? 0;
  const type = parent.columns[key]?.type;
  const inside = (values: Row, { range }: PartitionBound): boolean => {
    const value = values[key] ?? null;
    if (range === undefined || type === undefined || value === null) return range === undefined;
    return type.compare(value, range.from as Value) >= 0 && type.compare(value, range.to as Value) < 0;
  };
  for (const tuple of liveRows(session, child)) {
    if (!inside(tuple.values, bound))
      throw new PostgresError(
        '23514',
        `partition constraint of relation "${child.name}" is violated by some row`,
        { table: child.name },
      );
  }
  for (const other of parent.partitions) {
    const { range } = other.bound;
    if (range !== undefined && bound.range !== undefined && type !== undefined) {
      const apart =
        type.compare(bound.range.to as Value, range.from as Value) <= 0 ||
        type.compare(bound.range.from as Value, range.to as Value) >= 0;
      if (!apart)
        throw new PostgresError(
          '42P17',
          `partition "${child.name}" would overlap partition "${other.table.split('.')[1] ?? ''}"`,
        );
    }
    if (range !== undefined || bound.range === undefined) continue;
    const fallback = session.catalog.tableByKey(other.table);
    for (const tuple of liveRows(session, fallback)) {
      if (inside(tuple.values, bound)) {
        throw new PostgresError(
          '23514',
          `updated partition constraint for default partition "${fallback.name}" would be violated by some row`,
          { table: fallback.name },
        );
      }
    }
  }
  const missing = parent.unique.filter(
    (each) => !child.unique.some((own) => own.columns.join() === each.columns.join()),
  );
  put(session, {
    ...child,
    unique: [...child.unique, ...missing.map((each) => inherited(each, parent, child.name))],
    partitionOf: keyOf(parent),
  });
  put(session, { ...parent, partitions: [...parent.partitions, { table: keyOf(child), bound }] });
}

function liveRows(session: SessionState, table: Table): Tuple[] {
  return [...session.database.data(table).heap].filter(({ endedBy }) => endedBy === undefined);
}

function* alter(session: SessionState, table: Table, command: AlterTableCmd): Steps<Table> {
  const { subtype, def, name = '' } = command;
  const draft = (): Draft => ({
    schema: table.schema,
    name: table.name,
    columns: [...table.columns],
    unique: [...table.unique],
    checks: [...table.checks],
    foreignKeys: [...table.foreignKeys],
  });
  switch (subtype) {
    case 'AT_AddColumn': {
      if (def === undefined || !('ColumnDef' in def)) throw unsupported('this ADD COLUMN');
      if (table.columns.some((column) => column.name === def.ColumnDef.colname)) {
        if (command.missing_ok === true) return table;
        throw new PostgresError(
          '42701',
          `column "${def.ColumnDef.colname ?? ''}" of relation "${table.name}" already exists`,
        );
      }
      if (table.partitionKey !== undefined) throw unsupported('ADD COLUMN of a partitioned table');
      const next = draft();
      const late: (() => void)[] = [];
      addColumn(session, next, def.ColumnDef, late);
      for (const each of late) each();
      const column = next.columns.at(-1) as Column;
      const compiler = compilerOf(session);
      const value = defaultOf(compiler, column);
      const changed = put(session, { ...table, ...next });
      for (const tuple of liveRows(session, table)) {
        const given = value.eval({ session } as Run);
        if (given === null && column.notNull)
          throw new PostgresError(
            '23502',
            `column "${column.name}" of relation "${table.name}" contains null values`,
          );
        rewrite(session, tuple, [...tuple.values, given]);
      }
      noteReferences(session, changed);
      return changed;
    }
    case 'AT_DropColumn': {
      const index = table.columns.findIndex((column) => column.name === name);
      if (index === -1 && command.missing_ok === true) return table;
      const at = columnAt(table, name);
      const shift = (column: number): number => (column > at ? column - 1 : column);
      for (const tuple of liveRows(session, table))
        rewrite(
          session,
          tuple,
          tuple.values.filter((_, each) => each !== at),
        );
      return put(session, {
        ...table,
        columns: table.columns.filter((_, each) => each !== at),
        unique: table.unique
          .filter(({ columns }) => !columns.includes(at))
          .map((each) => ({ ...each, columns: each.columns.map(shift) })),
        checks: table.checks.filter(({ expression }) => ![...columnsIn(expression)].includes(name)),
        foreignKeys: table.foreignKeys
          .filter(({ columns }) => !columns.includes(at))
          .map((each) => ({ ...each, columns: each.columns.map(shift) })),
        ...(table.partitionKey !== undefined && { partitionKey: shift(table.partitionKey) }),
      });
    }
    case 'AT_AddConstraint': {
      if (def === undefined || !('Constraint' in def)) throw unsupported('this ADD CONSTRAINT');
      const next = draft();
      const added = addConstraint(session, next, def.Constraint, undefined);
      const changed = put(session, { ...table, ...next });
      if ('expression' in added) validate(session, changed, added);
      noteReferences(session, changed);
      return changed;
    }
    case 'AT_DropConstraint': {
      const keep = (each: { readonly name: string }): boolean => each.name !== name;
      const changed = {
        ...table,
        checks: table.checks.filter(keep),
        unique: table.unique.filter(keep),
        foreignKeys: table.foreignKeys.filter(keep),
      };
      const lost =
        table.checks.length -
        changed.checks.length +
        table.unique.length -
        changed.unique.length +
        table.foreignKeys.length -
        changed.foreignKeys.length;
      if (lost === 0 && command.missing_ok !== true)
        throw new PostgresError('42704', `constraint "${name}" of relation "${table.name}" does not exist`);
      return put(session, changed);
    }
    case 'AT_ColumnDefault': {
      const columns = [...table.columns];
      const at = columnAt(table, name);
      const { default: before, ...column } = columns[at] as Column;
      void before;
      columns[at] = def === undefined ? column : { ...column, default: def };
      return put(session, { ...table, columns });
    }
    case 'AT_SetNotNull':
    case 'AT_DropNotNull': {
      const columns = [...table.columns];
      const at = columnAt(table, name);
      columns[at] = { ...(columns[at] as Column), notNull: subtype === 'AT_SetNotNull' };
      if (
        subtype === 'AT_SetNotNull' &&
        liveRows(session, table).some((tuple) => (tuple.values[at] ?? null) === null)
      )
        throw new PostgresError('23502', `column "${name}" of relation "${table.name}" contains null values`);
      return put(session, { ...table, columns });
    }
    case 'AT_AttachPartition': {
      if (def === undefined || !('PartitionCmd' in def)) throw unsupported('this ATTACH PARTITION');
      const child = find(session, def.PartitionCmd.name);
      yield* lockTable(session, child, 8);
      attach(session, table, child, boundOf(session, table, def.PartitionCmd.bound ?? {}));
      return session.catalog.tableByKey(keyOf(table));
    }
    case 'AT_DetachPartition': {
      if (def === undefined || !('PartitionCmd' in def)) throw unsupported('this DETACH PARTITION');
      const { partitionOf, ...child } = find(session, def.PartitionCmd.name);
      void partitionOf;
      put(session, child);
      return put(session, {
        ...table,
        partitions: table.partitions.filter((each) => each.table !== keyOf(child)),
      });
    }
    case 'AT_SetRelOptions':
      return table;
    default:
      throw unsupported(`ALTER TABLE with ${String(subtype)}`);
  }
}

function rewrite(session: SessionState, tuple: Tuple, values: Row): void {
  const before = tuple.values;
  tuple.values = values;
  session.transaction.undo.push(() => {
    tuple.values = before;
  });
}

function validate(session: SessionState, table: Table, { name, expression }: Check): void {
  const compiler = compilerOf(session);
  const slot = compiler.newSlot();
  const scope = new Scope(undefined);
  scope.items.push(scopeItem(table.name, table.columns, slot, true));
  const test = compiler.condition(expression, scope);
  for (const tuple of liveRows(session, table)) {
    if (test.eval({ session, slots: [tuple.values], tuples: [tuple] } as unknown as Run) === false) {
      throw new PostgresError(
        '23514',
        `check constraint "${name}" of relation "${table.name}" is violated by some row`,
        {
          table: table.name,
          constraint: name,
        },
      );
    }
  }
}

function* createIndex(session: SessionState, node: Extract<Node, { IndexStmt: unknown }>): Steps<string> {
  const {
    idxname,
    relation,
    unique,
    indexParams = [],
    whereClause,
    if_not_exists: mayExist,
  } = node.IndexStmt;
  const table = find(session, relation);
  yield* lockTable(session, table, 5);
  const columns = indexParams.map((each) => ('IndexElem' in each ? each.IndexElem.name : undefined));
  const name = idxname ?? `${table.name}_${columns.map((each) => each ?? 'expr').join('_')}_idx`;
  if (session.catalog.get(entryKey('index', table.schema, name)) !== undefined) {
    if (mayExist === true) return 'CREATE INDEX';
    throw new PostgresError('42P07', `relation "${name}" already exists`);
  }
  put(session, { kind: 'index', id: newCatalogId(), schema: table.schema, name, table: keyOf(table) });
  if (unique !== true) return 'CREATE INDEX';
  if (whereClause !== undefined || columns.includes(undefined))
    throw unsupported('partial unique indexes, and those on expressions');
  const places = columns.map((each) => columnAt(table, each ?? ''));
  const seen = new Set<string>();
  for (const { values } of liveRows(session, table)) {
    const parts = places.map((at) => values[at] ?? null);
    if (parts.includes(null)) continue;
    const key = parts
      .map((value, at) => String(table.columns[places[at] ?? 0]?.type.key(value)))
      .join('\u0000');
    if (seen.has(key))
      throw new PostgresError('23505', `could not create unique index "${name}"`, {
        table: table.name,
        constraint: name,
      });
    seen.add(key);
  }
  put(session, { ...table, unique: [...table.unique, { name, primary: false, columns: places }] });
  return 'CREATE INDEX';
}

function* drop(session: SessionState, node: Extract<Node, { DropStmt: unknown }>): Steps<string> {
  const { objects = [], removeType, missing_ok: mayMiss, behavior } = node.DropStmt;
  const cascade = behavior === 'DROP_CASCADE';
  const nameParts = (object: Node): string[] => {
    if ('ObjectWithArgs' in object) return namesOf(object.ObjectWithArgs.objname);
    if ('String' in object) return [nameOf(object)];
    return itemsOf(object).map(nameOf);
  };
  const kinds = {
    OBJECT_TABLE: 'table',
    OBJECT_SEQUENCE: 'sequence',
    OBJECT_INDEX: 'index',
    OBJECT_FUNCTION: 'function',
    OBJECT_SCHEMA: 'schema',
  } as const;
  const kind = kinds[removeType as keyof typeof kinds];
  if (kind === undefined) throw unsupported(`DROP of ${String(removeType)}`);
  for (const object of objects) {
    const parts = nameParts(object);
    const name = parts.at(-1) ?? '';
    const entry = session.catalog.get(entryKey(kind, parts.length > 1 ? parts[0] : undefined, name));
    if (entry?.kind !== kind) {
      if (mayMiss === true) continue;
      throw new PostgresError(
        kind === 'schema' ? '3F000' : kind === 'function' ? '42883' : '42P01',
        `${kind} "${name}" does not exist`,
      );
    }
    if (entry.kind === 'schema') {
      const inside = [...session.catalog.entries()].filter(
        (each) => each.schema === name && each.kind !== 'schema',
      );
      if (inside.length > 0 && !cascade)
        throw new PostgresError('2BP01', `cannot drop schema ${name} because other objects depend on it`);
      for (const each of inside) remove(session, each);
    }
    if (entry.kind === 'table') yield* dropTable(session, entry, cascade);
    if (entry.kind === 'index') {
      const table = session.catalog.get(entry.table);
      if (table?.kind === 'table' && table.unique.some((each) => each.name === name))
        put(session, { ...table, unique: table.unique.filter((each) => each.name !== name) });
    }
    remove(session, entry);
  }
  return `DROP ${kind.toUpperCase()}`;
}

function* dropTable(session: SessionState, table: Table, cascade: boolean): Steps<void> {
  yield* lockTable(session, table, 8);
  const own = keyOf(table);
  for (const other of table.referencedBy) {
    const source = session.catalog.get(other);
    if (source?.kind !== 'table' || other === own || !source.foreignKeys.some(({ target }) => target === own))
      continue;
    if (!cascade) {
      throw new PostgresError('2BP01', `cannot drop table ${table.name} because other objects depend on it`);
    }
    put(session, { ...source, foreignKeys: source.foreignKeys.filter(({ target }) => target !== own) });
  }
  for (const { target } of table.foreignKeys) {
    const other = session.catalog.get(target);
    if (other?.kind === 'table')
      put(session, { ...other, referencedBy: other.referencedBy.filter((each) => each !== own) });
  }
  for (const partition of table.partitions) remove(session, session.catalog.tableByKey(partition.table));
  if (table.partitionOf !== undefined) {
    const parent = session.catalog.get(table.partitionOf);
    if (parent?.kind === 'table') {
      yield* lockTable(session, parent, 8);
      put(session, { ...parent, partitions: parent.partitions.filter((each) => each.table !== own) });
    }
  }
  for (const entry of [...session.catalog.entries()]) {
    if (entry.kind === 'index' && entry.table === own) remove(session, entry);
  }
  for (const { identity } of table.columns) {
    const sequence = identity && session.catalog.get(identity.sequence);
    if (sequence !== undefined) remove(session, sequence);
  }
}

interface FunctionStatement {
  readonly funcname: readonly Node[];
  readonly parameters?: readonly Node[];
  readonly returnType?: { readonly setof?: boolean };
  readonly options?: readonly Node[];
  readonly replace?: boolean;
}

function createFunction(session: SessionState, statement: FunctionStatement, text: string): void {
  const path = namesOf(statement.funcname);
  const name = path.at(-1) ?? '';
  const schema = path.length > 1 ? (path[0] ?? 'public') : 'public';
  const compiler = compilerOf(session);
  const given = (statement.parameters ?? []).flatMap((node) =>
    'FunctionParameter' in node
      ? [
          {
            name: node.FunctionParameter.name ?? '',
            type: compiler.typeOfName(node.FunctionParameter.argType),
            isResult:
              node.FunctionParameter.mode === 'FUNC_PARAM_TABLE' ||
              node.FunctionParameter.mode === 'FUNC_PARAM_OUT',
          },
        ]
      : [],
  );
  const language = (statement.options ?? []).flatMap((node) =>
    'DefElem' in node && node.DefElem.defname === 'language' ? [nameOf(node.DefElem.arg as Node)] : [],
  );
  const key = entryKey('function', schema, name);
  if (session.catalog.get(key) !== undefined && statement.replace !== true)
    throw new PostgresError('42723', `function "${name}" already exists with same argument types`);
  const results = given.filter(({ isResult }) => isResult);
  put<SqlFunction>(session, {
    kind: 'function',
    id: newCatalogId(),
    schema,
    name,
    language: language[0] ?? 'sql',
    arguments: given.filter(({ isResult }) => !isResult),
    returns: results.length > 0 ? recordOf(results) : compiler.typeOfName(statement.returnType),
    returnsSet: statement.returnType?.setof === true,
    source: text,
  });
}

/** As TRIGGER_TYPE_... are numbered. */
const BEFORE = 2;
const EVENTS = { INSERT: 4, DELETE: 8, UPDATE: 16, TRUNCATE: 32 } as const;

interface TriggerStatement {
  readonly trigname?: string;
  readonly relation: RangeVar;
  readonly funcname: readonly Node[];
  readonly timing?: number;
  readonly events?: number;
  readonly row?: boolean;
  readonly transitionRels?: readonly Node[];
}

function* createTrigger(session: SessionState, statement: TriggerStatement): Steps<string> {
  const table = find(session, statement.relation);
  yield* lockTable(session, table, 6);
  const names = (statement.transitionRels ?? []).flatMap((node) =>
    'TriggerTransition' in node ? [node.TriggerTransition] : [],
  );
  const newTable = names.find(({ isNew }) => isNew === true)?.name;
  const oldTable = names.find(({ isNew }) => isNew !== true)?.name;
  const events = statement.events ?? 0;
  put(session, {
    ...table,
    triggers: [
      ...table.triggers,
      {
        name: statement.trigname ?? '',
        function: nameOf(statement.funcname.at(-1)),
        before: ((statement.timing ?? 0) & BEFORE) !== 0,
        forEachRow: statement.row === true,
        events: new Set(
          (Object.keys(EVENTS) as (keyof typeof EVENTS)[]).filter((event) => (events & EVENTS[event]) !== 0),
        ),
        ...(newTable !== undefined && { newTable }),
        ...(oldTable !== undefined && { oldTable }),
      },
    ].sort((a, b) => (a.name < b.name ? -1 : 1)),
  });
  return 'CREATE TRIGGER';
}
