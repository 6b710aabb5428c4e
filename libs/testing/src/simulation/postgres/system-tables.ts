import type { Catalog, CatalogEntry, Table } from './catalog.ts';
import type { OutputColumn } from './compiler.ts';
import type { SessionState } from './run.ts';
import { BOOL, INT4, NAME, OID, REGCLASS, TEXT, type Row, type SqlType } from './types.ts';

interface SystemTable {
  readonly columns: readonly OutputColumn[];
  rows(session: SessionState): readonly Row[];
}

function columns(definition: Readonly<Record<string, SqlType>>): readonly OutputColumn[] {
  return Object.entries(definition).map(([name, type]) => ({ name, type }));
}

function tablesOf({ catalog }: SessionState): readonly Table[] {
  return [...catalog.entries()].filter((entry): entry is Table => entry.kind === 'table');
}

/** Rows that only the catalogue decides: made once for each. */
function ofCatalog(make: (session: SessionState) => readonly Row[]): SystemTable['rows'] {
  const known = new WeakMap<Catalog, readonly Row[]>();
  return (session) => {
    const { unchanged } = session.catalog;
    if (unchanged === undefined) return make(session);
    let rows = known.get(unchanged);
    if (rows === undefined) known.set(unchanged, (rows = make(session)));
    return rows;
  };
}

const RELATION_KINDS: Readonly<Record<string, string>> = { table: 'r', sequence: 'S', index: 'i' };

/** What tools ask of the catalogue. */
const TABLES: Readonly<Record<string, SystemTable>> = {
  'information_schema.tables': {
    columns: columns({ table_catalog: NAME, table_schema: NAME, table_name: NAME, table_type: TEXT }),
    rows: (session) =>
      tablesOf(session).map(({ schema, name }) => [session.database.name, schema, name, 'BASE TABLE']),
  },
  'information_schema.columns': {
    columns: columns({
      table_catalog: NAME,
      table_schema: NAME,
      table_name: NAME,
      column_name: NAME,
      ordinal_position: INT4,
      data_type: TEXT,
      is_nullable: TEXT,
    }),
    rows: (session) =>
      tablesOf(session).flatMap((table) =>
        table.columns.map(({ name, type, notNull }, index) => [
          session.database.name,
          table.schema,
          table.name,
          name,
          index + 1,
          type.name,
          notNull ? 'NO' : 'YES',
        ]),
      ),
  },
  'information_schema.schemata': {
    columns: columns({ catalog_name: NAME, schema_name: NAME }),
    rows: (session) =>
      [...session.catalog.entries()].flatMap((entry) =>
        entry.kind === 'schema' ? [[session.database.name, entry.name]] : [],
      ),
  },
  'pg_catalog.pg_class': {
    columns: columns({ oid: OID, relname: NAME, relkind: TEXT, relispartition: BOOL }),
    rows: ofCatalog(({ catalog }) =>
      [...catalog.entries()].flatMap((entry: CatalogEntry) => {
        const kind = RELATION_KINDS[entry.kind];
        if (kind === undefined) return [];
        const isPartition = entry.kind === 'table' && entry.partitionOf !== undefined;
        const isParent = entry.kind === 'table' && entry.partitionKey !== undefined;
        return [[entry.id, entry.name, isParent ? 'p' : kind, isPartition]];
      }),
    ),
  },
  'pg_catalog.pg_inherits': {
    // The parent is compared with a regclass, which is a name here.
    columns: columns({ inhrelid: OID, inhparent: REGCLASS }),
    rows: ofCatalog((session) =>
      tablesOf(session).flatMap((table) =>
        table.partitionOf === undefined ? [] : [[table.id, table.partitionOf.replace(/^public\./, '')]],
      ),
    ),
  },
  'pg_catalog.pg_database': {
    columns: columns({ datname: NAME }),
    rows: ({ database }) => [[database.name]],
  },
};

/** A table of the system; undefined: it is none. */
export function systemTable(schema: string | undefined, name: string): SystemTable | undefined {
  const key = `${schema ?? 'pg_catalog'}.${name}`;
  return Object.hasOwn(TABLES, key) ? TABLES[key] : undefined;
}
