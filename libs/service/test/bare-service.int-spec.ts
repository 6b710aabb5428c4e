import { systemClock } from '@flotilla/kernel';
import { InMemoryNetwork, topologyOf, type Broker } from '@flotilla/messaging';
import { createLogger, createMetrics, HealthRegistry } from '@flotilla/observability';
import { migrate, PersistenceRuntime, UnitOfWork } from '@flotilla/persistence';
import { createTestDatabase, until, type TestDatabase } from '@flotilla/testing';
import { Injectable } from '@nestjs/common';

import { serviceSpecOf } from '../src/index.ts';
import {
  makeBareService,
  OutgoingMessages,
  serviceMigrations,
  type BareService,
} from '../src/testing/index.ts';
import { ServiceRuntime } from '../src/service-runtime.ts';
import { AlphaConfig } from './fixtures/alpha/alpha.config.ts';
import { AlphaModule } from './fixtures/alpha/alpha.module.ts';
import { Add, Added } from './fixtures/contracts.ts';

const spec = serviceSpecOf(AlphaModule);
let database: TestDatabase;
let caller: Broker;
let network: InMemoryNetwork;
let alpha: BareService;
const made: string[] = [];

beforeAll(async () => {
  const migrations = serviceMigrations(spec);
  database = await createTestDatabase({
    template: { name: 'alpha', migrate: async (url) => void (await migrate({ url, migrations })) },
  });
  network = new InMemoryNetwork(topologyOf([spec.manifest]));
  caller = network.connect('caller');
  alpha = await makeBareService(
    {
      module: AlphaModule,
      spec,
      config: AlphaConfig.fromEnvironment({ PORT: '0', NATS_URL: 'nats://none', DATABASE_URL: database.url }),
      configClass: AlphaConfig,
      broker: network.connect('alpha'),
      clock: systemClock,
      logger: createLogger({ service: 'alpha', level: 'fatal' }),
      metrics: createMetrics({ service: 'alpha', process: false }),
      health: new HealthRegistry(),
    },
    {
      wrap: (token, part) => {
        made.push(typeof token === 'function' ? token.name : String(token));
        return part;
      },
    },
  );
  await alpha.start();
});

afterAll(async () => {
  await alpha.get<ServiceRuntime>(ServiceRuntime).stop(() => 2_000);
  await alpha.get<PersistenceRuntime>(PersistenceRuntime).close();
  await database.drop();
});

describe('a service without Nest’s container', () => {
  it('answers, commits, publishes and reacts as with it', async () => {
    const outgoing = new OutgoingMessages('caller', systemClock);
    const request = outgoing.request(new Add({ accountId: 'a1', amount: 7 }), Date.now() + 5_000);
    const reply = await caller.request(request, { timeoutMs: 5_000 });
    expect(reply.json()).toEqual({ total: 7 });
    const { type } = Added.contract;
    await until(() => network.messages('EVT_alpha').some(({ headers }) => headers['ce-type'] === type));
    const rows = await until(async () => {
      const found = await alpha
        .get<UnitOfWork>(UnitOfWork)
        .query<{ consumer: string }>("SELECT consumer FROM inbox WHERE consumer = 'statement'");
      return found.length > 0 ? found : undefined;
    });
    expect(rows).toEqual([{ consumer: 'statement' }]);
  });

  it('has each part made once, and shown to whoever wants to put another in its place', () => {
    expect(new Set(made).size).toBe(made.length);
    expect(made).toEqual(expect.arrayContaining(['UnitOfWork', 'DurableConsumers', 'AddHandler']));
  });

  it('says what it cannot provide', async () => {
    @Injectable()
    class Needy {
      constructor(readonly missing: Map<string, string>) {}
    }
    class Module {}
    Reflect.defineMetadata('imports', Reflect.getMetadata('imports', AlphaModule), Module);
    const own = Reflect.getMetadata('providers', AlphaModule) as unknown[];
    Reflect.defineMetadata('providers', [...own, Needy], Module);
    const parts = {
      module: Module,
      spec: { ...spec, manifest: { ...spec.manifest, database: false } },
      config: AlphaConfig.fromEnvironment({ PORT: '0', NATS_URL: 'nats://none' }),
      configClass: AlphaConfig,
      broker: network.connect('alpha'),
      clock: systemClock,
      logger: createLogger({ service: 'alpha', level: 'fatal' }),
      metrics: createMetrics({ service: 'alpha', process: false }),
      health: new HealthRegistry(),
    };
    await expect(makeBareService(parts)).rejects.toMatchObject({ code: 'NOT_PROVIDED' });
  });
});
