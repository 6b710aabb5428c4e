import { jetstreamManager } from '@nats-io/jetstream';
import { newId } from '@flotilla/kernel';
import { provision, topologyOf } from '@flotilla/messaging';
import { startTestService } from '../src/testing/index.ts';
import { until } from '@flotilla/testing';
import { AlphaConfig } from './fixtures/alpha/alpha.config.ts';
import { AlphaModule } from './fixtures/alpha/alpha.module.ts';
import { alphaService } from './fixtures/alpha/alpha.service.ts';
import { Add, Added } from './fixtures/contracts.ts';

it('what the broker has lost is published again when it comes back, and handled once', async () => {
  await using alpha = await startTestService({ module: AlphaModule, config: AlphaConfig });
  const accountId = `account-${newId()}`;
  await alpha.execute(new Add({ accountId, amount: 1 }));
  const lines = () => alpha.sql('SELECT amount FROM statement_lines WHERE account_id = $1', [accountId]);
  await until(async () => (await lines()).length === 1);
  await until(async () => (await alpha.sql('SELECT 1 FROM outbox WHERE published_at IS NULL')).length === 0);
  const [original] = alpha.events(Added);

  // The server loses its store: the stream is made anew, empty.
  const manager = await jetstreamManager(alpha.broker.connection);
  await manager.streams.delete('EVT_alpha');
  await provision(alpha.broker.connection, topologyOf([alphaService]));
  await alpha.nats.restart();

  const stored = await until(() => manager.streams.getMessage('EVT_alpha', { seq: 1 }), {
    timeoutMs: 20_000,
    describe: 'it is published again',
  });
  expect(stored?.header.get('ce-id')).toBe(original?.envelope.id);
  await alpha.publish(new Added({ accountId, amount: 2 }));
  await until(async () => (await lines()).length === 2, { describe: 'what comes behind it is handled' });
  expect(await lines()).toEqual(expect.arrayContaining([{ amount: 1 }, { amount: 2 }]));
}, 60_000);
