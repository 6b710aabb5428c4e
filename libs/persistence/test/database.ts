import { createTestDatabase, type TestDatabase } from '@flotilla/testing';
import { Client } from 'pg';
import type { DataSource } from 'typeorm';
import {
  createDataSource,
  migrate,
  Outbox,
  UnitOfWork,
  type DataSourceOptions,
  type OutboxOptions,
  type OutgoingMessage,
  type PersistenceLog,
  type UnitOfWorkOptions,
} from '../src/index.ts';

/** A database of its own, with the chassis' tables, for one test. */
export function createDatabase(): Promise<TestDatabase> {
  return createTestDatabase({
    template: { name: 'persistence', migrate: async (url) => void (await migrate({ url })) },
  });
}

export class RecordingLog implements PersistenceLog {
  readonly lines: string[] = [];
  log(message: string): void {
    this.lines.push(`log ${message}`);
  }
  warn(message: string): void {
    this.lines.push(`warn ${message}`);
  }
  error(message: string): void {
    this.lines.push(`error ${message}`);
  }
}

/** What a test opened; `close` undoes it in reverse order. */
export class Opened {
  readonly #closers: (() => Promise<unknown>)[] = [];

  add<T>(value: T, close: (value: T) => Promise<unknown>): T {
    this.#closers.push(() => close(value));
    return value;
  }

  async close(): Promise<void> {
    for (const close of this.#closers.splice(0).reverse()) await close();
  }

  async database(): Promise<TestDatabase> {
    return this.add(await createDatabase(), (database) => database.drop());
  }

  async dataSource(options: DataSourceOptions): Promise<DataSource> {
    return this.add(await createDataSource(options).initialize(), async (dataSource) => {
      if (dataSource.isInitialized) await dataSource.destroy();
    });
  }

  /** A superuser's connection to the server, but to another database, so that it can cut off this one. */
  server<T>(database: TestDatabase, work: (client: Client) => Promise<T>): Promise<T> {
    return this.connection(new URL('/postgres', database.adminUrl).href, work);
  }

  /** The superuser's connection to the database. */
  admin<T>(database: TestDatabase, work: (client: Client) => Promise<T>): Promise<T> {
    return this.connection(database.adminUrl, work);
  }

  async connection<T>(url: string, work: (client: Client) => Promise<T>): Promise<T> {
    const client = new Client({ connectionString: url });
    await client.connect();
    try {
      return await work(client);
    } finally {
      await client.end();
    }
  }

  outbox(url: string, options: Omit<OutboxOptions, 'connection'>): Outbox {
    return this.add(new Outbox({ ...options, connection: { url } }), (outbox) =>
      outbox.close({ drainMs: 200 }),
    );
  }

  /** A unit of work on a pool of its own, as each replica of a service has one. */
  async unitOfWork(
    url: string,
    options: Partial<UnitOfWorkOptions> & Partial<DataSourceOptions> = {},
  ): Promise<{
    readonly unitOfWork: UnitOfWork;
    readonly dataSource: DataSource;
    readonly log: RecordingLog;
  }> {
    const dataSource = await this.dataSource({ poolSize: 6, ...options, url });
    const log = new RecordingLog();
    const unitOfWork = new UnitOfWork({ log, ...options, dataSource });
    this.add(unitOfWork, (opened) => opened.close({ withinMs: 1_000 }));
    return { unitOfWork, dataSource, log };
  }
}

let messages = 0;

export function message(key: string, fields: Partial<OutgoingMessage> = {}): OutgoingMessage {
  messages += 1;
  return {
    id: `message-${messages}`,
    subject: `evt.test.Happened.v1.0.${key}`,
    key,
    headers: { 'ce-id': `message-${messages}`, 'ce-type': 'test.Happened.v1' },
    body: JSON.stringify({ number: messages }),
    ...fields,
  };
}
