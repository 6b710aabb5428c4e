import { DataSource, type EntitySchema } from 'typeorm';
import { clientConfig, type DatabaseConnection } from './connection.options.ts';
import { PipelinedClient } from './pipelined-client.ts';

/** Entity classes or schemas. */
export type Entities = readonly ((abstract new (...parameters: never[]) => object) | EntitySchema)[];

export interface DataSourceOptions extends DatabaseConnection {
  readonly entities?: Entities;
  /**
   * Connections at most. Default 10. Units of work take up to `lanes` of them; what is left serves reads outside
   * units of work.
   */
  readonly poolSize?: number;
}

/**
 * A TypeORM data source, not yet initialised, on whose connections units of work run. Outside a unit of work its
 * connections only read: Postgres refuses every write, however it is made.
 */
export function createDataSource(options: DataSourceOptions): DataSource {
  return new DataSource({
    type: 'postgres',
    url: options.url,
    entities: [...(options.entities ?? [])],
    synchronize: false,
    installExtensions: false,
    logging: false,
    poolSize: options.poolSize ?? 10,
    extra: {
      ...clientConfig(options),
      Client: PipelinedClient,
      options: '-c default_transaction_read_only=on',
    },
  });
}
