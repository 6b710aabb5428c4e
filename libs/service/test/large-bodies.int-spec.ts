import { jetstreamManager } from '@nats-io/jetstream';
import { newId } from '@flotilla/kernel';
import { provision, topologyOf } from '@flotilla/messaging';
import { until } from '@flotilla/testing';
import { startTestService, type TestService } from '../src/testing/index.ts';
import {
  ArchiveConfig,
  ArchiveModule,
  archiveService,
  File,
  Filed,
  Find,
} from './fixtures/archive/archive.ts';

const text = 'ab'.repeat(1_500_000);

let archive: TestService;
beforeEach(async () => {
  archive = await startTestService({
    module: ArchiveModule,
    config: ArchiveConfig,
    natsConfig: 'max_payload: 128KB',
  });
});
afterEach(() => archive.stop());

const copyOf = async (id: string): Promise<boolean> => {
  const found = await archive.query(new Find({ id, text: '' }));
  return found.length === 1 && found[0]?.text === text;
};

it('a message of three megabytes goes through a service whose broker takes 128 KiB, either way', async () => {
  const asked = newId();
  expect((await archive.execute(new File({ id: asked, text }))).text === text).toBe(true);
  await until(() => copyOf(asked));

  const sent = newId();
  const answer = await archive.send(new File({ id: sent, text }));
  expect(answer.outcome === 'ok' && answer.reply.text === text).toBe(true);
  await until(() => copyOf(sent));
  const rows = await archive.sql<{ bytes: number }>(
    'SELECT octet_length(body) AS bytes FROM outbox ORDER BY bytes DESC LIMIT 1',
  );
  expect(rows[0]?.bytes).toBeGreaterThan(text.length);
});

it('when the broker has lost everything, the outbox brings message and body back', async () => {
  const id = newId();
  await archive.execute(new File({ id, text }));
  await until(() => copyOf(id));
  await until(
    async () => (await archive.sql('SELECT 1 FROM outbox WHERE published_at IS NULL')).length === 0,
  );
  const manager = await jetstreamManager(archive.broker.connection);
  for (const stream of ['EVT_archive', 'PAYLOADS']) await manager.streams.delete(stream);
  await provision(archive.broker.connection, topologyOf([archiveService]));
  // A new consumer sees the event again; who has handled it recognises it.
  await archive.sql('DELETE FROM copies');
  await archive.sql(`DELETE FROM inbox WHERE consumer = 'copies'`);
  await archive.nats.restart();
  await until(() => copyOf(id).catch(() => false), { timeoutMs: 25_000, describe: 'it is handled again' });
  expect(archive.events(Filed).length).toBeGreaterThan(0);
}, 60_000);

it('when only the large bodies are lost, they are written again for the messages that wait for them', async () => {
  const id = newId();
  await archive.execute(new File({ id, text }));
  await until(() => copyOf(id));
  await until(
    async () => (await archive.sql('SELECT 1 FROM outbox WHERE published_at IS NULL')).length === 0,
  );
  const manager = await jetstreamManager(archive.broker.connection);
  const bodies = async () => (await manager.streams.info('PAYLOADS')).state.messages;
  await manager.streams.delete('PAYLOADS');
  await provision(archive.broker.connection, topologyOf([archiveService]));
  expect(await bodies()).toBe(0);
  await archive.nats.restart();
  // The event's; the answer's and the request's bodies were for whoever asked.
  await until(async () => (await bodies().catch(() => 0)) > 0, { timeoutMs: 25_000 });
  const event = await manager.streams.getMessage('EVT_archive', { seq: 1 });
  const ref = event?.header.get('ce-dataref') ?? '';
  const last = Number(event?.header.get('ce-datachunks')) - 1;
  await until(async () => {
    const chunk = await archive.broker.connection.request(`$JS.API.DIRECT.GET.PAYLOADS.${ref}.${last}`);
    return chunk.data.length > 0;
  });
}, 60_000);
