import type { Node } from 'libpg-query';
import { PostgresError } from './postgres-error.ts';
import type { SqlType } from './types.ts';

export interface Column {
  readonly name: string;
  readonly type: SqlType;
  readonly notNull: boolean;
  readonly default?: Node;
  /** Of a generated key: its sequence, and whether a value may be given. */
  readonly identity?: { readonly sequence: string; readonly always: boolean };
}

export interface UniqueIndex {
  readonly name: string;
  /** Whether it is a constraint, of which there may be only one as primary key. */
  readonly primary: boolean;
  readonly columns: readonly number[];
}

export interface Check {
  readonly name: string;
  readonly expression: Node;
}

export interface ForeignKey {
  readonly name: string;
  readonly columns: readonly number[];
  readonly target: string;
  readonly targetColumns: readonly number[];
}

export interface Trigger {
  readonly name: string;
  readonly function: string;
  readonly before: boolean;
  readonly forEachRow: boolean;
  readonly events: ReadonlySet<'INSERT' | 'UPDATE' | 'DELETE' | 'TRUNCATE'>;
  readonly newTable?: string;
  readonly oldTable?: string;
}

export interface PartitionBound {
  /** Undefined: everything that no other partition takes. */
  readonly range?: { readonly from: unknown; readonly to: unknown };
}

/** A table as it is defined. Never changed: a new definition takes its place, with the same `id`. */
export interface Table {
  readonly kind: 'table';
  readonly id: number;
  readonly schema: string;
  readonly name: string;
  readonly columns: readonly Column[];
  readonly unique: readonly UniqueIndex[];
  readonly checks: readonly Check[];
  readonly foreignKeys: readonly ForeignKey[];
  /** Tables whose foreign keys point here, by qualified name. */
  readonly referencedBy: readonly string[];
  readonly triggers: readonly Trigger[];
  /** Of a partitioned table: its key column; the rows are in the partitions. */
  readonly partitionKey?: number;
  readonly partitions: readonly { readonly table: string; readonly bound: PartitionBound }[];
  readonly partitionOf?: string;
}

export interface Sequence {
  readonly kind: 'sequence';
  readonly id: number;
  readonly schema: string;
  readonly name: string;
}

export interface SqlFunction {
  readonly kind: 'function';
  readonly id: number;
  readonly schema: string;
  readonly name: string;
  readonly language: string;
  readonly arguments: readonly { readonly name: string; readonly type: SqlType }[];
  readonly returns: SqlType;
  readonly returnsSet: boolean;
  /** The whole statement that made it, for the parser of its language. */
  readonly source: string;
}

export interface Index {
  readonly kind: 'index';
  readonly id: number;
  readonly schema: string;
  readonly name: string;
  readonly table: string;
}

export interface Schema {
  readonly kind: 'schema';
  readonly id: number;
  readonly schema: string;
  readonly name: string;
}

export type CatalogEntry = Table | Sequence | SqlFunction | Index | Schema;

const PUBLIC = 'public';
let ids = 0;

/** Identifies what is made, in all databases. */
export function newCatalogId(): number {
  ids += 1;
  return ids;
}

/** Functions and schemas have names of their own beside the relations. */
export function entryKey(kind: CatalogEntry['kind'], schema: string | undefined, name: string): string {
  if (kind === 'function') return `${schema ?? PUBLIC}.${name}()`;
  if (kind === 'schema') return `${name}:`;
  return `${schema ?? PUBLIC}.${name}`;
}

export function keyOf(entry: CatalogEntry): string {
  return entryKey(entry.kind, entry.schema, entry.name);
}

/** How messages name a relation. */
export function displayName({ schema, name }: { readonly schema: string; readonly name: string }): string {
  return schema === PUBLIC ? name : `${schema}.${name}`;
}

export type Catalog = ReadonlyMap<string, CatalogEntry>;

/** What a transaction sees of the catalogue: what is committed, and its own changes. */
export class CatalogView {
  readonly #committed: () => Catalog;
  #changes: Map<string, CatalogEntry | undefined> | undefined;

  constructor(committed: () => Catalog) {
    this.#committed = committed;
  }

  get(key: string): CatalogEntry | undefined {
    if (this.#changes?.has(key) === true) return this.#changes.get(key);
    return this.#committed().get(key);
  }

  /** The committed catalogue, where the transaction has not changed it; undefined: it has. */
  get unchanged(): Catalog | undefined {
    return this.#changes === undefined ? this.#committed() : undefined;
  }

  *entries(): Iterable<CatalogEntry> {
    for (const [key, entry] of this.#committed()) if (this.#changes?.has(key) !== true) yield entry;
    for (const entry of this.#changes?.values() ?? []) if (entry !== undefined) yield entry;
  }

  /** Returns what undoes it. */
  set(key: string, entry: CatalogEntry | undefined): () => void {
    const changes = (this.#changes ??= new Map<string, CatalogEntry | undefined>());
    const had = changes.has(key);
    const before = changes.get(key);
    changes.set(key, entry);
    return () => {
      if (had) changes.set(key, before);
      else changes.delete(key);
    };
  }

  /** The catalogue with the changes; undefined: there are none. */
  changed(): Catalog | undefined {
    if (this.#changes === undefined || this.#changes.size === 0) return undefined;
    const merged = new Map(this.#committed());
    for (const [key, entry] of this.#changes) {
      if (entry === undefined) merged.delete(key);
      else merged.set(key, entry);
    }
    return merged;
  }

  table(schema: string | undefined, name: string): Table | undefined {
    const entry = this.get(entryKey('table', schema, name));
    return entry?.kind === 'table' ? entry : undefined;
  }

  requireTable(schema: string | undefined, name: string): Table {
    const table = this.table(schema, name);
    if (table === undefined)
      throw new PostgresError(
        '42P01',
        `relation "${schema === undefined ? '' : `${schema}.`}${name}" does not exist`,
      );
    return table;
  }

  tableByKey(key: string): Table {
    const entry = this.get(key);
    if (entry?.kind !== 'table') throw new PostgresError('42P01', `relation "${key}" does not exist`);
    return entry;
  }
}

/** The emptiest catalogue. */
export function initialCatalog(): Catalog {
  const schema: Schema = { kind: 'schema', id: newCatalogId(), schema: PUBLIC, name: PUBLIC };
  return new Map([[keyOf(schema), schema]]);
}
