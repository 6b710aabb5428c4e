import pg from 'pg';
import { initialCatalog, type Table } from './catalog.ts';
import { SimulatedConnection, type ConnectionHost } from './connection.ts';
import { PostgresError } from './postgres-error.ts';
import { Session, type SessionHost } from './session.ts';
import { Database, type Transaction } from './storage.ts';
import type { SqlType } from './types.ts';

/** Where the simulation decides what happens. */
export interface SimulatedPostgresHooks {
  /**
   * Called before a connection is accepted, before each statement (and again when one goes on that had to wait), before
   * a commit is applied, and after it is applied but not yet answered. Resolves when the simulated server goes on with it. Throwing
   * breaks the connection at this point.
   */
  step(point: {
    readonly kind: 'connect' | 'statement' | 'commit' | 'answer';
    readonly database: string;
    readonly connection: number;
    readonly text: string;
  }): Promise<void>;
  now(): Date;
  random(): number;
  /** Runs an action later, in simulated time, and answers what cancels it. Without it nothing times out. */
  after?(ms: number, action: () => void): () => void;
  /** Is told what each connection does to its database, at the moment at which it does it. */
  readonly observe?: ((database: string, connection: number, act: SessionAct) => void) | undefined;
}

/** Something that a connection does to its database, or the server's answer. */
export type SessionAct =
  | { readonly kind: 'open'; readonly settings: Readonly<Record<string, string>> }
  | { readonly kind: 'begin'; readonly readOnly: boolean }
  | {
      readonly kind: 'run';
      readonly text: string;
      readonly parameters: readonly (string | null)[];
      /** What `now()` and `clock_timestamp()` are, in microseconds since the epoch. */
      readonly now: number;
      readonly clock: number;
    }
  /** What it runs has to wait for another connection. */
  | { readonly kind: 'wait' }
  /** Values as text, as they go over the wire. */
  | {
      readonly kind: 'answer';
      readonly command: string;
      readonly rows: readonly (readonly (string | null)[])[];
    }
  | { readonly kind: 'fail'; readonly code: string }
  | { readonly kind: 'commit' }
  | { readonly kind: 'rollback' }
  | { readonly kind: 'close' };

export interface CreateDatabaseOptions {
  /** A database to copy: its tables at once, their rows when they are first looked at. It must not change any more. */
  readonly template?: string;
  /** Where the template is. Default: this server. */
  readonly from?: SimulatedPostgres;
}

/** As pg's module, as far as clients of a database use it. */
export interface PostgresDriver {
  readonly Client: typeof pg.Client;
  readonly Pool: typeof pg.Pool;
  readonly types: typeof pg.types;
  readonly defaults: typeof pg.defaults;
}

/**
 * A Postgres server in the memory of this process: SQL is parsed by Postgres' own parser and run on tables with
 * versions of rows, locks and waits as READ COMMITTED has them. Nothing in it happens by itself: every step of every connection asks
 * the hooks first, and the same answers give the same run.
 */
export class SimulatedPostgres {
  /** Connects to this server whatever the host and port are; the database is the one that the client names. */
  readonly driver: PostgresDriver;
  readonly #hooks: SimulatedPostgresHooks;
  readonly #databases = new Map<string, Database>();
  readonly #connections = new Set<SimulatedConnection>();
  #lastConnection = 0;

  constructor(hooks: SimulatedPostgresHooks) {
    this.#hooks = hooks;
    this.driver = driverTo(() => new SimulatedConnection(this.#connectionHost));
  }

  createDatabase(name: string, options: CreateDatabaseOptions = {}): void {
    if (this.#databases.has(name)) throw new PostgresError('42P04', `database "${name}" already exists`);
    const { template, from = this } = options;
    const source = template === undefined ? initialCatalog() : from.#database(template);
    this.#databases.set(name, new Database(name, source));
  }

  /** Breaks its connections. */
  dropDatabase(name: string): void {
    this.disconnect(name);
    this.#databases.delete(name);
  }

  /**
   * The committed rows of a table, `name` or `schema.name`; only some columns of them, where they are named. Numbers are
   * numbers where they fit, JSON is parsed, times are dates.
   */
  rows(database: string, table: string, columns?: readonly string[]): readonly Record<string, unknown>[] {
    const found = this.#database(database);
    const entry = found.catalog.get(table.includes('.') ? table : `public.${table}`);
    if (entry?.kind !== 'table')
      throw new PostgresError('42P01', `relation "${table}" does not exist in database "${database}"`);
    const rows: Record<string, unknown>[] = [];
    for (const leaf of this.#leaves(found, entry)) {
      const wanted = leaf.columns.flatMap(({ name, type }, index) =>
        columns === undefined || columns.includes(name) ? [{ name, index, type, parse: parserOf(type) }] : [],
      );
      for (const { madeBy, endedBy, values } of found.data(leaf).heap) {
        if (madeBy.commit === Infinity || (endedBy !== undefined && endedBy.commit !== Infinity)) continue;
        const row: Record<string, unknown> = {};
        for (const { name, index, type, parse } of wanted) {
          const value = values[index] ?? null;
          row[name] = value === null ? null : parse(type.output(value));
        }
        rows.push(row);
      }
    }
    return rows;
  }

  /** Breaks the connections of a process that dies (default: all of the database): their transactions roll back. */
  disconnect(database: string, connections: (id: number) => boolean = () => true): void {
    for (const connection of [...this.#connections]) {
      const { session } = connection;
      if (session?.database.name === database && connections(session.id))
        connection.break(new Error('The connection was broken by the simulation'));
    }
  }

  /** Connections that are open now, by number. */
  connections(database: string): readonly number[] {
    return [...this.#connections].flatMap(({ session }) =>
      session?.database.name === database ? [session.id] : [],
    );
  }

  #database(name: string): Database {
    const database = this.#databases.get(name);
    if (database === undefined)
      throw new PostgresError('3D000', `database "${name}" does not exist`, {}, 'FATAL');
    return database;
  }

  #leaves(database: Database, table: Table): Table[] {
    if (table.partitionKey === undefined) return [table];
    return table.partitions.flatMap(({ table: name }) => {
      const leaf = database.catalog.get(name);
      return leaf?.kind === 'table' ? this.#leaves(database, leaf) : [];
    });
  }

  readonly #connectionHost: ConnectionHost = {
    open: async (settings, connection) => {
      this.#lastConnection += 1;
      const id = this.#lastConnection;
      const name = settings['database'] ?? settings['user'] ?? '';
      await this.#hooks.step({ kind: 'connect', database: name, connection: id, text: '' });
      const session = new Session(
        this.#host(),
        id,
        this.#database(name),
        settings['user'] ?? 'postgres',
        settingsOf(settings),
      );
      this.#connections.add(connection);
      this.#hooks.observe?.(name, id, { kind: 'open', settings: Object.fromEntries(session.settings) });
      return session;
    },
    closed: (connection) => {
      this.#connections.delete(connection);
    },
  };

  #host(): SessionHost {
    return {
      hooks: this.#hooks,
      notified: (database, from, notifications) => this.#notify(database, from, notifications),
    };
  }

  #notify(database: Database, from: Session, notifications: Transaction['notifications']): void {
    for (const connection of this.#connections) {
      const { session } = connection;
      if (session?.database !== database) continue;
      for (const { channel, payload } of notifications)
        if (session.listening.has(channel)) connection.notify(channel, payload, from.id);
    }
  }
}

/** What a client sets when it connects. */
function settingsOf(startup: Readonly<Record<string, string | undefined>>): ReadonlyMap<string, string> {
  const settings = new Map<string, string>();
  for (const [name, value] of Object.entries(startup)) {
    if (value === undefined || name === 'user' || name === 'database' || name === 'options') continue;
    settings.set(name.toLowerCase(), String(value));
  }
  for (const [, name = '', value = ''] of (startup['options'] ?? '').matchAll(/-c\s*([^=\s]+)=(\S+)/g))
    settings.set(name.toLowerCase(), value);
  return settings;
}

/** pg's own client and pool, whose connections go to a simulated server. */
function driverTo(connect: () => SimulatedConnection): PostgresDriver {
  class SimulatedClient extends pg.Client {
    constructor(config?: string | pg.ClientConfig) {
      const given = typeof config === 'string' ? { connectionString: config } : { ...config };
      const connected = 'connection' in given && given.connection !== undefined;
      super(connected ? given : { ...given, connection: connect() });
    }
  }
  class SimulatedPool extends pg.Pool {
    constructor(config?: pg.PoolConfig) {
      super({ ...config, Client: config?.Client ?? SimulatedClient });
      // Each client that the pool makes copies its options, and gets a connection of its own by that.
      Object.defineProperty(this.options, 'connection', { enumerable: true, get: connect });
    }
  }
  return { Client: SimulatedClient, Pool: SimulatedPool, types: pg.types, defaults: pg.defaults };
}

/** Makes of a value's text what tests compare: numbers where they fit, parsed JSON, dates. */
function parserOf({ oid }: SqlType): (text: string) => unknown {
  return pg.types.getTypeParser(oid, 'text') as (text: string) => unknown;
}
