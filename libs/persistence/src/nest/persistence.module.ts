import { Logger, Module, type DynamicModule, type InjectionToken, type Provider } from '@nestjs/common';
import { getEntityManagerToken, getRepositoryToken } from '@nestjs/typeorm';
import type { Clock } from '@flotilla/kernel';
import { DataSource } from 'typeorm';
import { createDataSource, type DataSourceOptions, type Entities } from '../connection/data-source.ts';
import type { PersistenceLog } from '../log.ts';
import type { PersistenceMetrics } from '../metrics.ts';
import { assertMigrated, migrate, type MigrationClass } from '../migrate.ts';
import { Outbox } from '../outbox/outbox.ts';
import type { OutboxLimits } from '../outbox/outbox.options.ts';
import type { OutboxPublisher } from '../outbox/outgoing-message.ts';
import type { UnitOfWorkLimits } from '../unit-of-work/unit-of-work.options.ts';
import { UnitOfWork } from '../unit-of-work/unit-of-work.ts';
import { PersistenceRuntime } from './persistence-runtime.ts';
import { transactionalManager, transactionalRepository } from './transactional-repository.ts';

export interface PersistenceOptions
  extends Omit<DataSourceOptions, 'entities'>, UnitOfWorkLimits, OutboxLimits {
  /** The service's own migrations; those of the chassis come before them. Default none. */
  readonly migrations?: readonly MigrationClass[];
  /**
   * What to do about migrations when the service starts: `verify` that all are applied (the default; replicas that start
   * together must not race to change the schema), `run` them, or `ignore` them.
   */
  readonly onStart?: 'verify' | 'run' | 'ignore';
  /**
   * The broker. Without it, as in a command-line tool, committed messages are left to the relays of other processes,
   * which take them at once.
   */
  readonly publisher?: OutboxPublisher;
  /** How long units of work, and then the outbox, may take to end when the application stops, ms. Default 5,000. */
  readonly drainMs?: number;
  readonly clock?: Clock;
  readonly metrics?: PersistenceMetrics;
  /** Default: Nest's logger. */
  readonly log?: PersistenceLog;
  /**
   * Told of the connection when it begins to open: when another part of the application fails to be made, nobody else can
   * close it. Default: nobody is.
   */
  readonly onOpening?: (opening: Promise<DataSource>) => void;
}

export interface PersistenceModuleOptions extends PersistenceOptions {
  readonly entities?: Entities;
}

export interface PersistenceModuleAsyncOptions {
  /** Static, because each makes a repository to inject. */
  readonly entities?: Entities;
  readonly imports?: NonNullable<DynamicModule['imports']>;
  readonly inject?: readonly InjectionToken[];
  readonly useFactory: (...dependencies: never[]) => PersistenceOptions | Promise<PersistenceOptions>;
}

const OPTIONS = Symbol('PersistenceOptions');

/**
 * Gives a service its database: `UnitOfWork`, `Outbox`, `DataSource` and, for each entity, the repository that
 * `@InjectRepository(Entity)` asks for. The repositories follow the unit of work. Global.
 */
export class PersistenceModule {
  static forRoot(options: PersistenceModuleOptions): DynamicModule {
    return dynamicModule(options.entities ?? [], { provide: OPTIONS, useValue: options });
  }

  static forRootAsync(options: PersistenceModuleAsyncOptions): DynamicModule {
    const { entities = [], imports = [], inject = [], useFactory } = options;
    return {
      ...dynamicModule(entities, { provide: OPTIONS, useFactory, inject: [...inject] } as Provider),
      imports,
    };
  }
}

// Not as a decorator, so that Node can load this package from its sources too.
Module({})(PersistenceModule);

function dynamicModule(entities: Entities, options: Provider): DynamicModule {
  const repositories = entities.map((entity): Provider => ({
    provide: getRepositoryToken(entity),
    useFactory: (dataSource: DataSource) => transactionalRepository(dataSource, entity),
    inject: [DataSource],
  }));
  const providers: Provider[] = [
    {
      provide: DataSource,
      useFactory: (given: PersistenceOptions) => {
        const opening = connect(given, entities);
        given.onOpening?.(opening);
        return opening;
      },
      inject: [OPTIONS],
    },
    {
      provide: getEntityManagerToken(),
      useFactory: (dataSource: DataSource) => transactionalManager(dataSource),
      inject: [DataSource],
    },
    {
      provide: Outbox,
      useFactory: (given: PersistenceOptions) =>
        new Outbox({ ...given, connection: given, log: logOf(given) }),
      inject: [OPTIONS],
    },
    {
      provide: UnitOfWork,
      useFactory: (given: PersistenceOptions, dataSource: DataSource, outbox: Outbox) =>
        new UnitOfWork({
          ...given,
          dataSource,
          log: logOf(given),
          ...(given.publisher !== undefined && { outbox }),
        }),
      inject: [OPTIONS, DataSource, Outbox],
    },
    {
      provide: PersistenceRuntime,
      useFactory: (
        given: PersistenceOptions,
        dataSource: DataSource,
        unitOfWork: UnitOfWork,
        outbox: Outbox,
      ) =>
        new PersistenceRuntime({
          dataSource,
          unitOfWork,
          outbox,
          publisher: given.publisher,
          drainMs: given.drainMs ?? 5_000,
        }),
      inject: [OPTIONS, DataSource, UnitOfWork, Outbox],
    },
    ...repositories,
  ];
  return {
    module: PersistenceModule,
    global: true,
    providers: [options, ...providers],
    exports: providers.map((provider) => (typeof provider === 'function' ? provider : provider.provide)),
  };
}

async function connect(options: PersistenceOptions, entities: Entities): Promise<DataSource> {
  const { onStart = 'verify' } = options;
  if (onStart === 'run') await migrate(options);
  if (onStart === 'verify') await assertMigrated(options);
  return createDataSource({ ...options, log: logOf(options), entities }).initialize();
}

function logOf(options: PersistenceOptions): PersistenceLog {
  return options.log ?? new Logger('Persistence');
}
