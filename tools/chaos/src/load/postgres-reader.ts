import { Client } from 'pg';

const CONNECT_TIMEOUT_MS = 3_000;
const STATEMENT_TIMEOUT_MS = 10_000;

/** Reads a database as an operator does, over a connection that is made again after Postgres was away. */
export class PostgresReader {
  readonly #url: string;
  #client: Client | undefined;

  constructor(url: string) {
    this.#url = url;
  }

  /** Rejects while Postgres is away; the next call tries again. */
  async query<R>(text: string, parameters: readonly unknown[] = []): Promise<R[]> {
    const client = this.#client ?? (await this.#connect());
    try {
      return (await client.query(text, [...parameters])).rows as R[];
    } catch (error) {
      this.#client = undefined;
      void client.end().catch(() => undefined); // it is lost already: that is why it is given up
      throw error;
    }
  }

  async close(): Promise<void> {
    const client = this.#client;
    this.#client = undefined;
    await client?.end();
  }

  async #connect(): Promise<Client> {
    const client = new Client({
      connectionString: this.#url,
      application_name: 'chaos',
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      statement_timeout: STATEMENT_TIMEOUT_MS,
      query_timeout: STATEMENT_TIMEOUT_MS,
    });
    // Without a listener the end of an idle connection would end this process.
    client.on('error', () => {
      if (this.#client === client) this.#client = undefined;
    });
    await client.connect();
    this.#client = client;
    return client;
  }
}
