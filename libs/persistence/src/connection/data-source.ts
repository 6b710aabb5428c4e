import { DataSource, type EntitySchema } from 'typeorm';
import { clientConfig, type DatabaseConnection } from './connection.options.ts';
import type { PersistenceLog } from '../log.ts';
import { DeadlineWatch, type DeadlineSource } from './deadline-watch.ts';
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
  /**
   * The deadline of the running code, milliseconds since the epoch, from its asynchronous context for example. A
   * statement that still runs then is ended by the server, and none is begun later. Default: there are none.
   */
  readonly deadline?: DeadlineSource;
  readonly log?: PersistenceLog;
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
    ...(options.driver !== undefined && { driver: options.driver }),
    synchronize: false,
    installExtensions: false,
    logging: false,
    poolSize: options.poolSize ?? 10,
    extra: {
      ...clientConfig(options),
      Client: options.deadline === undefined ? PipelinedClient : watchedBy(options.deadline, options.log),
      options: '-c default_transaction_read_only=on',
    },
  });
}

/** A client class for one pool: pg makes its connections itself, and hands nothing on to them. */
function watchedBy(source: DeadlineSource, log: PersistenceLog | undefined): typeof PipelinedClient {
  const deadlines = new DeadlineWatch(source, log === undefined ? {} : { log });
  return class extends PipelinedClient {
    override readonly watch = deadlines;
  };
}
