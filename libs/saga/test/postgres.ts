import { createTestDatabase, type TestDatabase } from '@flotilla/testing';
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

/** A database with the sagas' tables, and the smallest unit of work: one transaction on one connection. */
export class SagaDatabase {
  readonly statements: { readonly sql: string; readonly params: readonly unknown[] }[] = [];
  readonly store: PostgresSagaStore;
  readonly #database: TestDatabase;
  readonly #pool: Pool;
  readonly #current = new AsyncLocalStorage<PoolClient>();

  private constructor(database: TestDatabase) {
    this.#database = database;
    this.#pool = new Pool({ connectionString: database.url, max: 8 });
    const unit: SagaUnit = { query: (sql, params) => this.query(sql, params) };
    this.store = new PostgresSagaStore(unit);
  }

  static async create(): Promise<SagaDatabase> {
    return new SagaDatabase(await createTestDatabase({ template }));
  }

  /** SQL in the current unit of work. */
  async query<R>(sql: string, params: unknown[] = []): Promise<R[]> {
    const client = this.#current.getStore();
    if (client === undefined) throw new Error('Outside a unit of work');
    this.statements.push({ sql, params });
    const { rows } = await client.query(sql, params);
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
      const result = await this.#current.run(client, work);
      await client.query('COMMIT');
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
    await this.#database.drop();
  }
}
