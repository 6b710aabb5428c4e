import { Injectable, Module } from '@nestjs/common';
import { Test, type TestingModule } from '@nestjs/testing';
import { InjectEntityManager, InjectRepository } from '@nestjs/typeorm';
import { until, type TestDatabase } from '@flotilla/testing';
import { Column, DataSource, Entity, EntityManager, PrimaryColumn, Repository, VersionColumn } from 'typeorm';
import {
  migrate,
  MigrationsPendingError,
  OutsideUnitOfWorkError,
  PersistenceModule,
  requireUnitOfWork,
  UnitOfWork,
  type PersistenceModuleOptions,
} from '../src/index.ts';
import { message, Opened, RecordingLog } from './database.ts';
import { FakeBroker } from './fake-broker.ts';
import { CreateAccount1700000100000 } from './fixtures/1700000100000-create-account.ts';

@Entity('account')
class Account {
  @PrimaryColumn('text')
  id!: string;

  @Column('int')
  balance!: number;
}

@Entity('versioned')
class Versioned {
  @PrimaryColumn('text')
  id!: string;

  @Column('int')
  balance!: number;

  @VersionColumn()
  version!: number;
}

@Injectable()
class Accounts {
  constructor(
    @InjectRepository(Account) readonly repository: Repository<Account>,
    @InjectEntityManager() readonly manager: EntityManager,
    readonly unitOfWork: UnitOfWork,
  ) {}
}

@Module({ providers: [Accounts], exports: [Accounts] })
class AccountsModule {}

const opened = new Opened();
let database: TestDatabase;
let broker: FakeBroker;

beforeEach(async () => {
  database = await opened.database();
  broker = new FakeBroker();
});

afterEach(() => opened.close());

const migrations = [CreateAccount1700000100000];

async function start(options: Partial<PersistenceModuleOptions> = {}): Promise<TestingModule> {
  const all: PersistenceModuleOptions = {
    url: database.url,
    entities: [Account, Versioned],
    migrations,
    publisher: broker,
    log: new RecordingLog(),
    ...options,
  };
  const app = await Test.createTestingModule({
    imports: [PersistenceModule.forRoot(all), AccountsModule],
  }).compile();
  opened.add(app, () => app.close());
  return app.init();
}

describe('with a migrated database', () => {
  let accounts: Accounts;
  let app: TestingModule;

  beforeEach(async () => {
    await migrate({ url: database.url, migrations });
    app = await start();
    accounts = app.get(Accounts);
  });

  it('injects repositories that follow the unit of work', async () => {
    const { repository, unitOfWork, manager } = accounts;
    await expect(
      unitOfWork.run(async () => {
        await repository.save({ id: 'a', balance: 1 });
        await manager.insert(Account, { id: 'b', balance: 2 });
        expect(await repository.count()).toBe(2);
        expect(await repository.createQueryBuilder('account').getCount()).toBe(2);
        throw new Error('undo');
      }),
    ).rejects.toThrow('undo');
    expect(await repository.count()).toBe(0);

    await unitOfWork.run(async () => {
      await repository.save({ id: 'a', balance: 1 });
    });
    expect(await repository.findOneByOrFail({ id: 'a' })).toEqual({ id: 'a', balance: 1 });
    expect(await manager.existsBy(Account, { id: 'a' })).toBe(true);
  });

  it('lets them read outside a unit of work, and says why they do not write there', async () => {
    const { repository, manager } = accounts;
    expect(await repository.find()).toEqual([]);
    await expect(repository.save({ id: 'a', balance: 1 })).rejects.toThrow(OutsideUnitOfWorkError);
    await expect(manager.delete(Account, { id: 'a' })).rejects.toThrow(
      /delete\(\) of the entity manager needs a unit/,
    );
    await expect(
      repository.createQueryBuilder().insert().values({ id: 'a', balance: 1 }).execute(),
    ).rejects.toMatchObject({ code: 'OUTSIDE_UNIT_OF_WORK' });
    await expect(
      repository.manager.transaction((inside) => inside.insert(Account, { id: 'a', balance: 1 })),
    ).rejects.toMatchObject({ code: 'OUTSIDE_UNIT_OF_WORK' });
    expect(await repository.find()).toEqual([]);
  });

  it('keeps the repositories of concurrent units apart', async () => {
    const { repository, unitOfWork } = accounts;
    const results = await Promise.allSettled(
      ['a', 'b', 'c', 'd'].map((id) =>
        unitOfWork.run(async () => {
          await repository.save({ id, balance: 1 });
          if (id === 'c') throw new Error('c fails');
        }),
      ),
    );
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'rejected', 'fulfilled']);
    expect((await repository.find({ order: { id: 'ASC' } })).map(({ id }) => id)).toEqual(['a', 'b', 'd']);
  });

  it('publishes what a unit has sent', async () => {
    const sent = message('a');
    await accounts.unitOfWork.run(async () => requireUnitOfWork('This test').send(sent));
    await until(() => broker.ids.includes(sent.id));
  });

  it('publishes what is left and closes all connections when the application stops', async () => {
    const sent = message('a');
    await accounts.unitOfWork.run(async () => requireUnitOfWork('This test').send(sent));
    await app.close();
    expect(broker.ids).toEqual([sent.id]);
    expect(app.get(DataSource).isInitialized).toBe(false);
    await until(async () => (await database.connections()).length === 0);
  });
});

it('refuses to start on a database that lacks migrations', async () => {
  await expect(start()).rejects.toThrow(MigrationsPendingError);
});

it('runs the migrations if it is told to', async () => {
  const app = await start({ onStart: 'run' });
  expect(await app.get(Accounts).repository.count()).toBe(0);
});

it('takes its options from other providers', async () => {
  const app = await Test.createTestingModule({
    imports: [
      PersistenceModule.forRootAsync({
        entities: [Account],
        inject: ['URL'],
        imports: [
          {
            module: class Config {},
            providers: [{ provide: 'URL', useValue: database.url }],
            exports: ['URL'],
          },
        ],
        useFactory: (url: string) => ({ url, migrations, onStart: 'run', log: new RecordingLog() }),
      }),
      AccountsModule,
    ],
  }).compile();
  opened.add(app, () => app.close());
  await app.init();
  const { unitOfWork, repository } = app.get(Accounts);
  await unitOfWork.run(async () => {
    await repository.insert({ id: 'a', balance: 3 });
  });
  expect(await repository.sum('balance')).toBe(3);
});
