import { createTestDatabase } from '@flotilla/testing';
import { SimulatedPostgres } from '@flotilla/testing/simulated-postgres';
import { AsyncLocalStorage } from 'node:async_hooks';
import { Client, Pool, type PoolClient } from 'pg';
import { sagaMigrations } from '../src/migration.ts';
import { PostgresSagaStore, type SagaUnit } from '../src/postgres-store.ts';

const template = {
  name: 'saga',
  async migrate(url: string): Promise<void> {
    const client = new Client({ connectionString: url });
    await client.connect();
    try {
      for (const migration of sagaMigrations) await new migration().up({ query: (sql) => client.query(sql) });
    } finally {
      await client.end();
    }
  },
};

interface Unit {
  readonly client: PoolClient;
  readonly afterCommit: (() => void)[];
}

/** A database with the sagas' tables, and the smallest unit of work: one transaction on one connection. */
export class SagaDatabase {
  readonly statements: { readonly sql: string; readonly params: readonly unknown[] }[] = [];
  readonly store: PostgresSagaStore;
  readonly #pool: Pool;
  readonly #dropDatabase: () => Promise<void>;
  readonly #current = new AsyncLocalStorage<Unit>();

  private constructor(pool: Pool, dropDatabase: () => Promise<void>) {
    this.#pool = pool;
    this.#dropDatabase = dropDatabase;
    this.store = new PostgresSagaStore({ query: (sql, params) => this.query(sql, params) });
  }

  /** The store of one more process, which remembers what it has committed. */
  recallingStore(): PostgresSagaStore {
    const unit: SagaUnit = {
      query: (sql, params) => this.query(sql, params),
      afterCommit: (action) => this.#current.getStore()?.afterCommit.push(action),
    };
    return new PostgresSagaStore(unit);
  }

  static async create(): Promise<SagaDatabase> {
    const database = await createTestDatabase({ template });
    return new SagaDatabase(new Pool({ connectionString: database.url, max: 8 }), () => database.drop());
  }

  /** In the memory of this process. */
  static async simulated(): Promise<SagaDatabase> {
    const server = new SimulatedPostgres({
      step: () => Promise.resolve(),
      now: () => new Date(),
      random: () => 0.5,
    });
    server.createDatabase('saga');
    const pool = new server.driver.Pool({ connectionString: 'postgres://saga@simulated/saga', max: 8 });
    for (const migration of sagaMigrations) await new migration().up({ query: (sql) => pool.query(sql) });
    return new SagaDatabase(pool, () => Promise.resolve());
  }

  /** SQL in the current unit of work. */
  async query<R>(sql: string, params: unknown[] = []): Promise<R[]> {
    const unit = this.#current.getStore();
    if (unit === undefined) throw new Error('Outside a unit of work');
    this.statements.push({ sql, params });
    const { rows } = await unit.client.query(sql, params);
    return rows as R[];
  }

  /** A unit of work of its own. */
  readonly run = async <T>(work: () => Promise<T>): Promise<T> => {
    const client = await this.#pool.connect();
    let broken = false;
    // A connection that is cut is told here too; the statement that it cuts fails with it.
    const onError = (): void => void (broken = true);
    client.on('error', onError);
    try {
      await client.query('BEGIN');
      const afterCommit: (() => void)[] = [];
      const result = await this.#current.run({ client, afterCommit }, work);
      await client.query('COMMIT');
      for (const action of afterCommit) action();
      return result;
    } catch (error) {
      await client.query('ROLLBACK').catch(onError);
      throw error;
    } finally {
      client.off('error', onError);
      client.release(broken);
    }
  };

  async clear(): Promise<void> {
    await this.#pool.query('TRUNCATE saga_instances, saga_history');
    this.statements.length = 0;
  }

  async drop(): Promise<void> {
    await this.#pool.end();
    await this.#dropDatabase();
  }
}
