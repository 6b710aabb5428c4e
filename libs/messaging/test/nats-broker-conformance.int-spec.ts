import { startTestNats, type TestServer } from '@flotilla/testing';
import type { EmbeddedNats } from '@flotilla/embedded';
import { brokerConformance } from '../src/testing/index.ts';
import { natsHarness } from './nats-harness.ts';

let nats: TestServer<EmbeddedNats>;
beforeAll(async () => {
  nats = await startTestNats();
});
afterAll(() => nats.dispose());

brokerConformance('NATS', () => natsHarness(nats.url));
