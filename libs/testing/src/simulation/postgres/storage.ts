import type { Catalog, Table, UniqueIndex } from './catalog.ts';
import type { Row, Value } from './types.ts';

/** How strongly a row is locked; each conflicts with those of {@link CONFLICTS}. */
export type RowLockMode = 'key share' | 'share' | 'no key update' | 'update';

const STRENGTH: Readonly<Record<RowLockMode, number>> = {
  'key share': 0,
  share: 1,
  'no key update': 2,
  update: 3,
};
/** By the sum of both strengths and their kind: see "Conflicting Row-Level Locks" in Postgres' documentation. */
const CONFLICTS: readonly (readonly boolean[])[] = [
  [false, false, false, true],
  [false, false, true, true],
  [false, true, true, true],
  [true, true, true, true],
];

export interface RowLock {
  readonly holder: Transaction;
  readonly mode: RowLockMode;
}

/** A row through all its versions; who holds it locks all of them. */
export class RowIdentity {
  locks: RowLock[] = [];

  /** Those whose lock is in the way. */
  blockers(asking: Transaction, mode: RowLockMode): Transaction[] {
    const found: Transaction[] = [];
    for (const { holder, mode: held } of this.locks) {
      if (holder !== asking && CONFLICTS[STRENGTH[held]]?.[STRENGTH[mode]] === true) found.push(holder);
    }
    return found;
  }

  holds(holder: Transaction, mode: RowLockMode): boolean {
    return this.locks.some((lock) => lock.holder === holder && STRENGTH[lock.mode] >= STRENGTH[mode]);
  }
}

/** One version of a row. */
export class Tuple {
  readonly row: RowIdentity;
  /** Only a change of the table's columns writes it anew. */
  values: Row;
  readonly data: TableData;
  readonly number: number;
  readonly madeBy: Transaction;
  /** The command of its transaction that made it. */
  readonly madeAt: number;
  /** Who updated or deleted it. */
  endedBy: Transaction | undefined;
  endedAt = 0;
  /** What an update made of it. */
  newer: Tuple | undefined;

  constructor(data: TableData, row: RowIdentity, values: Row, madeBy: Transaction, madeAt: number) {
    this.data = data;
    this.row = row;
    this.values = values;
    this.madeBy = madeBy;
    this.madeAt = madeAt;
    data.lastNumber += 1;
    this.number = data.lastNumber;
  }
}

/** What a statement sees: what was committed before it, and what its transaction did before. */
export interface Snapshot {
  readonly transaction: Transaction;
  /** The last commit that it sees. */
  readonly commit: number;
  /** The command that it is: it does not see its own changes. */
  readonly command: number;
}

export function isVisible(tuple: Tuple, { transaction, commit, command }: Snapshot): boolean {
  if (tuple.madeBy === transaction) {
    if (tuple.madeAt >= command) return false;
  } else if (tuple.madeBy.commit > commit) return false;
  const { endedBy } = tuple;
  if (endedBy === undefined) return true;
  if (endedBy === transaction) return tuple.endedAt >= command;
  return endedBy.commit > commit;
}

export type IndexKey = string | number | bigint | boolean;

export interface IndexData {
  readonly definition: UniqueIndex;
  readonly entries: Map<IndexKey, Tuple[]>;
}

/** Undefined: a column is null, so that nothing equals it. */
export function indexKey(table: Table, columns: readonly number[], values: Row): IndexKey | undefined {
  if (columns.length === 1) {
    const [column = 0] = columns;
    const value = values[column] ?? null;
    return value === null ? undefined : table.columns[column]?.type.key(value);
  }
  let key = '';
  for (const column of columns) {
    const value = values[column] ?? null;
    if (value === null) return undefined;
    key += `${String(table.columns[column]?.type.key(value))}\u0000`;
  }
  return key;
}

/** The rows of one table, in the order in which their versions were written. */
export class TableData {
  readonly heap = new Set<Tuple>();
  #indexes: IndexData[] = [];
  #indexedBy: Table | undefined;
  lastNumber = 0;

  /** The unique indexes, as the table defines them now. */
  indexes(table: Table): readonly IndexData[] {
    if (this.#indexedBy === table) return this.#indexes;
    if (this.#indexedBy?.unique !== table.unique) {
      this.#indexes = table.unique.map((definition) => ({
        definition,
        entries: new Map<IndexKey, Tuple[]>(),
      }));
      for (const tuple of this.heap) this.#index(table, tuple);
    }
    this.#indexedBy = table;
    return this.#indexes;
  }

  add(table: Table, tuple: Tuple): void {
    this.indexes(table);
    this.heap.add(tuple);
    this.#index(table, tuple);
  }

  remove(tuple: Tuple): void {
    this.heap.delete(tuple);
    const table = this.#indexedBy;
    if (table === undefined) return;
    for (const { definition, entries } of this.#indexes) {
      const key = indexKey(table, definition.columns, tuple.values);
      if (key === undefined) continue;
      const found = entries.get(key);
      if (found === undefined) continue;
      if (found.length === 1) entries.delete(key);
      else found.splice(found.indexOf(tuple), 1);
    }
  }

  /** A copy of what is committed. */
  copy(frozen: Transaction): TableData {
    const copy = new TableData();
    for (const tuple of this.heap) {
      if (tuple.madeBy.commit === Infinity) continue;
      if (tuple.endedBy !== undefined && tuple.endedBy.commit !== Infinity) continue;
      copy.heap.add(new Tuple(copy, new RowIdentity(), tuple.values, frozen, 0));
    }
    return copy;
  }

  #index(table: Table, tuple: Tuple): void {
    for (const { definition, entries } of this.#indexes) {
      const key = indexKey(table, definition.columns, tuple.values);
      if (key === undefined) continue;
      const found = entries.get(key);
      if (found === undefined) entries.set(key, [tuple]);
      else found.push(tuple);
    }
  }
}

export type TableLockMode = 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8;

/** Which modes are in the way of each (bit n: mode n), from ACCESS SHARE (1) to ACCESS EXCLUSIVE (8). */
const TABLE_CONFLICTS: readonly number[] = [
  0, 0b1_0000_0000, 0b1_1000_0000, 0b1_1110_0000, 0b1_1111_0000, 0b1_1101_1000, 0b1_1111_1000, 0b1_1111_1100,
  0b1_1111_1110,
];

/** Someone who waits, and for whom. */
export interface Waiter {
  readonly transaction: Transaction;
  blockers(): readonly Holder[];
  wake(): void;
}

/** Who holds advisory locks: a session, in its transaction or for itself. */
export interface Holder {
  readonly id: number;
}

export type Undo = () => void;

/** A transaction of a session; also of a single statement. */
export class Transaction {
  /** Its place among the commits; Infinity: it has not committed. */
  commit = Infinity;
  /** Counts its commands. */
  command = 0;
  readonly holder: Holder;
  /** What it changed, for going back. */
  readonly undo: Undo[] = [];
  /** Versions that it ended: nobody needs them once it has committed. */
  readonly ended: Tuple[] = [];
  readonly lockedRows: RowIdentity[] = [];
  readonly tableLocks = new Map<number, number>();
  readonly notifications: { readonly channel: string; readonly payload: string }[] = [];
  /** Whether it has changed anything that a commit makes last. */
  wrote = false;
  /** Committed or rolled back. */
  isOver = false;

  constructor(holder: Holder) {
    this.holder = holder;
  }

  lockRow(row: RowIdentity, mode: RowLockMode): void {
    if (row.holds(this, mode)) return;
    const lock: RowLock = { holder: this, mode };
    row.locks.push(lock);
    this.lockedRows.push(row);
    this.undo.push(() => row.locks.splice(row.locks.indexOf(lock), 1));
  }
}

interface AdvisoryLock {
  readonly key: string;
  readonly holder: Holder;
  readonly shared: boolean;
  /** Undefined: held by the session, until it unlocks or ends. */
  readonly transaction: Transaction | undefined;
}

const FROZEN = new Transaction({ id: 0 });
FROZEN.commit = 0;
FROZEN.isOver = true;

/** A database: its catalogue, its rows, and who waits for whom. */
export class Database {
  readonly name: string;
  catalog: Catalog;
  lastCommit = 0;
  readonly #data = new Map<number, TableData>();
  /** What the rows are copied from when they are first looked at. */
  readonly #template: Database | undefined;
  readonly sequences = new Map<number, bigint>();
  readonly waiters = new Set<Waiter>();
  /** Statements that have waited and have not ended: they still see what was there when they began. */
  suspended = 0;
  /** Versions that only waiting statements still see. */
  #garbage: Tuple[] = [];
  #advisory: AdvisoryLock[] = [];
  readonly #tableLocks = new Map<number, Map<Transaction, number>>();
  #strongLocks = 0;

  constructor(name: string, source: Catalog | Database) {
    this.name = name;
    if (source instanceof Database) {
      this.catalog = source.catalog;
      this.#template = source;
      for (const [id, value] of source.sequences) this.sequences.set(id, value);
    } else {
      this.catalog = source;
    }
  }

  data(table: Table): TableData {
    const known = this.#data.get(table.id);
    if (known !== undefined) return known;
    const original = this.#template?.existing(table.id);
    const data = original === undefined ? new TableData() : original.copy(FROZEN);
    this.#data.set(table.id, data);
    return data;
  }

  existing(id: number): TableData | undefined {
    return this.#data.get(id) ?? this.#template?.existing(id);
  }

  nextOf(sequence: number): bigint {
    const next = (this.sequences.get(sequence) ?? 0n) + 1n;
    this.sequences.set(sequence, next);
    return next;
  }

  commit(transaction: Transaction): void {
    this.lastCommit += 1;
    transaction.commit = this.lastCommit;
    if (this.suspended > 0) this.#garbage.push(...transaction.ended);
    else for (const tuple of transaction.ended) tuple.data.remove(tuple);
    for (const row of transaction.lockedRows) {
      row.locks = row.locks.filter(({ holder }) => holder !== transaction);
    }
    this.#end(transaction);
  }

  rollBack(transaction: Transaction): void {
    undoTo(transaction, 0);
    this.#end(transaction);
  }

  #end(transaction: Transaction): void {
    transaction.isOver = true;
    this.#dropTableLocks(transaction);
    if (this.#advisory.length > 0)
      this.#advisory = this.#advisory.filter((lock) => lock.transaction !== transaction);
    this.wakeWaiters();
  }

  /** Looks who can go on, in the order in which they came. */
  wakeWaiters(): void {
    for (const waiter of [...this.waiters]) {
      if (waiter.blockers().length > 0) continue;
      waiter.wake();
    }
  }

  /** Nobody waits any more: what was kept for those who did can go. */
  collectGarbage(): void {
    if (this.suspended > 0) return;
    for (const tuple of this.#garbage) tuple.data.remove(tuple);
    this.#garbage = [];
  }

  /** Whether someone that `blockers` wait for waits for `holder` in the end. */
  closesCircle(holder: Holder, blockers: readonly Holder[]): boolean {
    const seen = new Set<Holder>();
    const queue = [...blockers];
    for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
      if (next === holder) return true;
      if (seen.has(next)) continue;
      seen.add(next);
      for (const waiter of this.waiters)
        if (waiter.transaction.holder === next) queue.push(...waiter.blockers());
    }
    return false;
  }

  advisoryBlockers(holder: Holder, key: string, shared: boolean): Holder[] {
    const found: Holder[] = [];
    for (const lock of this.#advisory) {
      if (lock.key === key && lock.holder !== holder && !(shared && lock.shared)) found.push(lock.holder);
    }
    return found;
  }

  takeAdvisory(lock: AdvisoryLock): void {
    this.#advisory.push(lock);
    const { transaction } = lock;
    transaction?.undo.push(() => {
      this.#advisory = this.#advisory.filter((each) => each !== lock);
    });
  }

  /** One of the session's own; false: it has none. */
  releaseAdvisory(holder: Holder, key: string, shared: boolean): boolean {
    const index = this.#advisory.findIndex(
      (lock) =>
        lock.holder === holder &&
        lock.key === key &&
        lock.shared === shared &&
        lock.transaction === undefined,
    );
    if (index === -1) return false;
    this.#advisory.splice(index, 1);
    this.wakeWaiters();
    return true;
  }

  releaseAllAdvisory(holder: Holder): void {
    this.#advisory = this.#advisory.filter(
      (lock) => lock.holder !== holder || lock.transaction !== undefined,
    );
    this.wakeWaiters();
  }

  tableBlockers(transaction: Transaction, table: number, mode: TableLockMode): Transaction[] {
    // Weak locks go together: nobody has to be asked unless there is a strong one, or this is one.
    if (mode <= 3 && this.#strongLocks === 0) return [];
    const conflicts = TABLE_CONFLICTS[mode] ?? 0;
    const found: Transaction[] = [];
    for (const [holder, modes] of this.#tableLocks.get(table) ?? [])
      if (holder !== transaction && (modes & conflicts) !== 0) found.push(holder);
    return found;
  }

  takeTableLock(transaction: Transaction, table: number, mode: TableLockMode): void {
    const held = transaction.tableLocks.get(table) ?? 0;
    const bit = 1 << mode;
    if ((held & bit) !== 0) return;
    transaction.tableLocks.set(table, held | bit);
    let holders = this.#tableLocks.get(table);
    if (holders === undefined) this.#tableLocks.set(table, (holders = new Map<Transaction, number>()));
    holders.set(transaction, held | bit);
    if (mode > 3) this.#strongLocks += 1;
  }

  #dropTableLocks(transaction: Transaction): void {
    for (const [table, modes] of transaction.tableLocks) {
      this.#tableLocks.get(table)?.delete(transaction);
      for (let mode = 4; mode <= 8; mode += 1) if ((modes & (1 << mode)) !== 0) this.#strongLocks -= 1;
    }
    transaction.tableLocks.clear();
  }
}

/** Goes back to where `undo` had that length. */
export function undoTo(transaction: Transaction, length: number): void {
  for (let index = transaction.undo.length - 1; index >= length; index -= 1) transaction.undo[index]?.();
  transaction.undo.length = length;
}

/** Ends a version, and says what takes its place. */
export function endTuple(transaction: Transaction, tuple: Tuple, newer: Tuple | undefined): void {
  tuple.endedBy = transaction;
  tuple.endedAt = transaction.command;
  tuple.newer = newer;
  transaction.ended.push(tuple);
  transaction.wrote = true;
  transaction.undo.push(() => {
    tuple.endedBy = undefined;
    tuple.newer = undefined;
    transaction.ended.splice(transaction.ended.lastIndexOf(tuple), 1);
  });
}

export function addTuple(
  transaction: Transaction,
  table: Table,
  data: TableData,
  row: RowIdentity,
  values: readonly Value[],
): Tuple {
  const tuple = new Tuple(data, row, values, transaction, transaction.command);
  data.add(table, tuple);
  transaction.wrote = true;
  transaction.undo.push(() => data.remove(tuple));
  return tuple;
}
