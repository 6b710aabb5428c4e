import { jetstreamManager, RetentionPolicy, StorageType } from '@nats-io/jetstream';
import { nanos, type NatsConnection } from '@nats-io/nats-core';
import { startTestNats, type TestServer } from '@flotilla/testing';
import type { EmbeddedNats } from '@flotilla/embedded';
import { connectNats, provision, verifyTopology } from '../src/index.ts';
import { conformanceTopology } from '../src/testing/conformance-messages.ts';
import { containing, matching } from './matchers.ts';
import { removeAllStreams } from './nats-harness.ts';

describe('provisioning', () => {
  let nats: TestServer<EmbeddedNats>;
  let connection: NatsConnection;
  const topology = conformanceTopology();

  beforeAll(async () => {
    nats = await startTestNats();
    connection = await connectNats({ servers: nats.url, name: 'provision' });
  });
  afterAll(async () => {
    await connection.close();
    await nats.dispose();
  });
  beforeEach(() => removeAllStreams(connection));

  it('makes everything once, and then finds nothing to do', async () => {
    const first = await provision(connection, topology);
    expect(first.created).toEqual([
      ...topology.streams.map(({ name }) => name),
      ...topology.consumers.map(({ stream, name }) => `${stream}/${name}`),
    ]);
    const second = await provision(connection, topology);
    expect(second).toMatchObject({ created: [], updated: [], stale: [], deleted: [] });
    expect(second.unchanged).toEqual(first.created);
    await verifyTopology(connection, topology, { strict: true });
  });

  it('puts right what somebody changed by hand', async () => {
    await provision(connection, topology);
    const manager = await jetstreamManager(connection);
    await manager.streams.update('EVT_pad', { max_age: nanos(600_000) });
    await manager.consumers.update('CMD_pad', 'pad', { max_ack_pending: 3 });
    await expect(verifyTopology(connection, topology, { strict: true })).rejects.toMatchObject({
      code: 'PROVISIONING_DRIFT',
      drifts: containing([
        {
          resource: 'stream EVT_pad',
          field: 'max_age',
          expected: nanos(30 * 86_400_000),
          actual: nanos(600_000),
        },
        { resource: 'consumer CMD_pad/pad', field: 'max_ack_pending', expected: 2_000, actual: 3 },
      ]),
    });
    expect((await provision(connection, topology)).updated).toEqual(['EVT_pad', 'CMD_pad/pad']);
    await verifyTopology(connection, topology, { strict: true });
  });

  it('names every field that the server will not change, with the reason', async () => {
    const manager = await jetstreamManager(connection);
    await manager.streams.add({
      name: 'CMD_pad',
      subjects: ['cmd.pad.>'],
      storage: StorageType.Memory,
      retention: RetentionPolicy.Workqueue,
    });
    const provisioned = provision(connection, topology);
    await expect(provisioned).rejects.toMatchObject({
      code: 'PROVISIONING_DRIFT',
      drifts: containing([
        {
          resource: 'stream CMD_pad',
          field: 'storage',
          expected: 'file',
          actual: 'memory',
          reason: matching(/can not change/),
        },
        expect.objectContaining({ field: 'retention', expected: 'limits', actual: 'workqueue' }) as unknown,
      ]),
    });
    await expect(provisioned).rejects.toThrow(/stream CMD_pad: storage should be "file" and is "memory"/);
  });

  it('tells a service that starts what is missing, or not what it relies on', async () => {
    await expect(verifyTopology(connection, topology)).rejects.toThrow(
      /Not on the server: consumer CMD_pad\/pad, .*stream REPLY_control, .*stream TRIALS\. Run `fleet provision`/,
    );
    await provision(connection, topology);
    const manager = await jetstreamManager(connection);
    await manager.consumers.delete('EVT_pad', 'control-screen-p07');
    await expect(verifyTopology(connection, topology)).rejects.toMatchObject({
      code: 'MISSING_TOPOLOGY',
      missing: ['consumer EVT_pad/control-screen-p07'],
    });
    await provision(connection, topology);
    // Limits are the operator's business, filters are not.
    await manager.streams.update('CMD_pad', { max_bytes: 48 * 1024 ** 2 });
    await verifyTopology(connection, topology);
    await manager.consumers.update('EVT_pad', 'control-log', { filter_subjects: ['evt.pad.Other.v1.*.*'] });
    await expect(verifyTopology(connection, topology)).rejects.toMatchObject({
      drifts: [
        {
          resource: 'consumer EVT_pad/control-log',
          field: 'filter_subjects',
          expected: ['evt.pad.Launched.v1.*.*'],
          actual: ['evt.pad.Other.v1.*.*'],
        },
      ],
    });
  });

  it('reports consumers that nobody needs any more, and deletes them when asked', async () => {
    await provision(connection, topology);
    const manager = await jetstreamManager(connection);
    await manager.consumers.add('EVT_pad', { durable_name: 'control-old', filter_subjects: ['evt.pad.>'] });
    expect((await provision(connection, topology)).stale).toEqual(['EVT_pad/control-old']);
    const report = await provision(connection, topology, { deleteStale: true });
    expect(report).toMatchObject({ deleted: ['EVT_pad/control-old'], stale: [] });
    await verifyTopology(connection, topology, { strict: true });
  });
});
