import { startTestNats, type TestServer } from '@flotilla/testing';
import type { EmbeddedNats } from '@flotilla/embedded';
import { ClientProxyFactory, Transport } from '@nestjs/microservices';
import { FlotillaClient, FlotillaServer } from '../../src/nest/index.ts';
import { silentLog } from '../../src/testing/silent-log.ts';
import { quickPull } from '../nats-harness.ts';
import { transportConformance } from './transport-conformance.ts';

describe('the programming model of Nest', () => {
  let nats: TestServer<EmbeddedNats>;

  beforeAll(async () => {
    nats = await startTestNats();
  });
  afterAll(() => nats.dispose());

  transportConformance('Transport.NATS', () => ({
    server: () => ({ transport: Transport.NATS, options: { servers: [nats.url] } }),
    client: () => ClientProxyFactory.create({ transport: Transport.NATS, options: { servers: [nats.url] } }),
  }));

  transportConformance('FlotillaServer and FlotillaClient', () => ({
    server: () => ({
      strategy: new FlotillaServer({
        service: 'shop',
        servers: nats.url,
        provision: true,
        pull: quickPull,
        log: silentLog,
      }),
    }),
    client: () =>
      ClientProxyFactory.create({
        customClass: FlotillaClient,
        options: { service: 'caller', servers: nats.url, log: silentLog },
      }),
  }));
});
