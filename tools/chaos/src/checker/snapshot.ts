import { Client } from 'pg';

/** Rows that are fetched at a time. */
const PAGE = 500;
const STATEMENT_TIMEOUT_MS = 600_000;

/** One database as it was at one moment: everything is read in one transaction that can change nothing. */
export class Snapshot {
  readonly #client: Client;
  #cursors = 0;
  /** One statement at a time, however many cursors are read at once. */
  #last: Promise<unknown> = Promise.resolve();

  private constructor(client: Client) {
    this.#client = client;
  }

  static async open(url: string): Promise<Snapshot> {
    const client = new Client({
      connectionString: url,
      application_name: 'checker',
      connectionTimeoutMillis: 10_000,
      statement_timeout: STATEMENT_TIMEOUT_MS,
    });
    await client.connect();
    try {
      await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    } catch (error) {
      await client.end();
      throw error;
    }
    return new Snapshot(client);
  }

  async rows<R>(sql: string, parameters: readonly unknown[] = []): Promise<R[]> {
    const before = this.#last;
    const result = before.then(() => this.#client.query(sql, [...parameters]));
    // Whoever asked is told of a failure; who asks next is not.
    this.#last = result.catch(() => undefined);
    return (await result).rows as R[];
  }

  /** All rows in their order, a page of them in memory. */
  async *stream<R>(sql: string): AsyncGenerator<R> {
    const cursor = `checker_${(this.#cursors += 1)}`;
    await this.rows(`DECLARE ${cursor} NO SCROLL CURSOR FOR ${sql}`);
    for (;;) {
      const rows = await this.rows<R>(`FETCH ${PAGE} FROM ${cursor}`);
      yield* rows;
      if (rows.length < PAGE) break;
    }
    await this.rows(`CLOSE ${cursor}`);
  }

  async close(): Promise<void> {
    await this.#client.end();
  }
}
