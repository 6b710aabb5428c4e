import { systemClock } from '@flotilla/kernel';
import { NatsBroker } from '@flotilla/messaging';
import { createLogger, createMetrics, HealthRegistry } from '@flotilla/observability';
import { until } from '@flotilla/testing';
import { Module, type Provider } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { createService } from '../src/create-service.ts';
import { serviceSpecOf } from '../src/flotilla.module.ts';
import { AlphaConfig } from './fixtures/alpha/alpha.config.ts';
import { AlphaModule } from './fixtures/alpha/alpha.module.ts';
import { AlphaStack } from './support/alpha-stack.ts';

describe('a service that cannot be made', () => {
  const broken = (part: Provider) => {
    @Module({ imports: [AlphaModule], providers: [part] })
    class BrokenModule {}
    return BrokenModule;
  };
  const fails = (): never => {
    throw new Error('there is no such part');
  };

  it.each<[string, Provider, RegExp]>([
    ['while its database is opened', { provide: 'part', useFactory: fails }, /no such part/],
    [
      'when its database is open',
      { provide: 'part', useFactory: fails, inject: [DataSource] },
      /no such part/,
    ],
    [
      'at its initialisation',
      { provide: 'part', useFactory: () => ({ onModuleInit: fails }), inject: [] },
      /no such part/,
    ],
  ])(
    'leaves no connection to its database open: %s',
    async (_when, part, says) => {
      await using stack = await AlphaStack.start();
      const broker = await NatsBroker.connect({ servers: stack.natsUrl, name: 'alpha', service: 'alpha' });
      const service = createService({
        module: broken(part),
        spec: serviceSpecOf(AlphaModule),
        config: AlphaConfig.fromEnvironment({
          NATS_URL: stack.natsUrl,
          DATABASE_URL: stack.database.url,
          PORT: '0',
        }),
        configClass: AlphaConfig,
        broker,
        connection: broker.connection,
        clock: systemClock,
        logger: createLogger({ service: 'alpha', level: 'silent' }),
        metrics: createMetrics({ service: 'alpha', process: false }),
        health: new HealthRegistry(),
      });
      await expect(service).rejects.toThrow(says);
      await until(async () => (await stack.database.connections()).length === 0, { timeoutMs: 3_000 });
      await broker.close({ drainMs: 0 });
    },
    60_000,
  );
});
