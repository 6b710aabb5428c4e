import { jetstreamManager } from '@nats-io/jetstream';
import { startTestNats, until, type TestServer } from '@flotilla/testing';
import type { EmbeddedNats } from '@flotilla/embedded';
import { provision, type NatsBroker, type OutgoingMessage } from '../src/index.ts';
import { conformanceTopology, controlLog, launched } from '../src/testing/conformance-messages.ts';
import { quickBroker, removeAllStreams } from './nats-harness.ts';

describe('a batch of messages', () => {
  let nats: TestServer<EmbeddedNats>;
  let broker: NatsBroker;

  beforeAll(async () => {
    nats = await startTestNats();
  });
  afterAll(() => nats.dispose());
  beforeEach(async () => {
    broker = await quickBroker(nats.url);
    await removeAllStreams(broker.connection);
    await provision(broker.connection, conformanceTopology());
  });
  afterEach(() => broker.close());

  const messages = (count: number): OutgoingMessage[] =>
    Array.from({ length: count }, (_, index) => launched(`rocket-${index}`));
  const stored = async (): Promise<number> => {
    const manager = await jetstreamManager(broker.connection);
    return (await manager.streams.info('EVT_pad')).state.messages;
  };

  it('is stored in one piece, each message where its receipt says, and delivered like any other', async () => {
    await broker.publish(launched('before'));
    const batch = messages(40);
    const receipts = await broker.publishBatch(batch);
    expect(receipts.map(({ sequence }) => sequence)).toEqual(batch.map((_, index) => index + 2));
    const manager = await jetstreamManager(broker.connection);
    for (const index of [0, 17, 39]) {
      const found = await manager.streams.getMessage('EVT_pad', { seq: index + 2 });
      expect(found?.header.get('ce-id')).toBe(batch[index]?.headers['ce-id']);
    }
    const seen: string[] = [];
    await broker.consume(controlLog, { maxInFlight: 64 }, async ({ message }) => {
      seen.push(message.envelope.id);
    });
    await until(() => seen.length === 41);
    expect(new Set(seen.slice(1))).toEqual(new Set(batch.map(({ headers }) => headers['ce-id'])));
  });

  it('is refused as a whole when the stream has one of the messages; one by one they are taken', async () => {
    const batch = messages(30);
    await broker.publish(batch[12] as OutgoingMessage);
    await expect(broker.publishBatch(batch)).rejects.toMatchObject({ code: 'BATCH_REFUSED' });
    expect(await stored()).toBe(1);
    const receipts = await Promise.all(batch.map((message) => broker.publish(message)));
    expect(receipts.filter(({ duplicate }) => duplicate)).toHaveLength(1);
    expect(await stored()).toBe(30);
  });

  it('is refused by a stream that was made without it', async () => {
    const manager = await jetstreamManager(broker.connection);
    await manager.streams.update('EVT_pad', { allow_atomic: false });
    await expect(broker.publishBatch(messages(24))).rejects.toMatchObject({ code: 'BATCH_REFUSED' });
    expect(await stored()).toBe(0);
  });

  it('fails at once when the server is away', async () => {
    await nats.server.kill();
    await until(() => !broker.health().connected);
    await expect(broker.publishBatch(messages(24))).rejects.toMatchObject({ code: 'BROKER_UNAVAILABLE' });
    await nats.server.restart();
  });
});
