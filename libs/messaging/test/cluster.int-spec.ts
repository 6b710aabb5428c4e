import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { jetstreamManager } from '@nats-io/jetstream';
import {
  locateNatsServer,
  startNatsCluster,
  type EmbeddedNats,
  type EmbeddedNatsCluster,
} from '@flotilla/embedded';
import { until } from '@flotilla/testing';
import { connectNats, NatsBroker, provision } from '../src/index.ts';
import { conformanceTopology, launch, padCommands, payloadOf } from '../src/testing/conformance-messages.ts';
import { silentLog } from '../src/testing/silent-log.ts';

describe('three servers with three copies of every stream', () => {
  let directory: string;
  let cluster: EmbeddedNatsCluster;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'flotilla-cluster-'));
    cluster = await startNatsCluster({ binary: (await locateNatsServer()).path, storeDir: directory });
    const admin = await connectNats({ servers: cluster.url.split(','), name: 'admin' });
    await provision(admin, conformanceTopology({ replicas: 3 }));
    await admin.close();
  }, 90_000);
  afterAll(async () => {
    await cluster.stop();
    await rm(directory, { recursive: true, force: true, maxRetries: 5 });
  });

  /** As a service connects, with the times of production. */
  const brokerAt = (servers: readonly EmbeddedNats[]): Promise<NatsBroker> =>
    NatsBroker.connect({
      servers: servers.map(({ url }) => url),
      name: 'test',
      service: 'pad',
      log: silentLog,
    });

  const leaderOfConsumer = async (): Promise<EmbeddedNats> => {
    const admin = await connectNats({ servers: cluster.url.split(','), name: 'admin' });
    try {
      const manager = await jetstreamManager(admin);
      const { cluster: facts } = await manager.consumers.info(padCommands.stream, padCommands.name);
      const leader = cluster.servers.find(({ serverName }) => serverName === facts?.leader);
      if (leader === undefined) throw new Error('The consumer has no leader');
      return leader;
    } finally {
      await admin.close();
    }
  };

  it('goes on within seconds when the server that led its consumer is killed, and loses nothing', async () => {
    await until(() => cluster.inSync(), { timeoutMs: 30_000, describe: 'all copies are up to date' });
    const leader = await leaderOfConsumer();
    // The connection stays: nothing tells the client that what it asked for is forgotten.
    const others = cluster.servers.filter((server) => server !== leader);
    const broker = await brokerAt(others);
    try {
      const seen: number[] = [];
      await broker.consume(padCommands, {}, async ({ message }) => void seen.push(payloadOf(message).n));
      await broker.publish(launch('ariane', 1));
      await until(() => seen.includes(1));
      await leader.kill();
      await until(
        async () => {
          await broker.publish(launch('ariane', 2));
          return true;
        },
        { timeoutMs: 30_000, intervalMs: 250, describe: 'the stream takes a message again' },
      );
      // Less than the missed heartbeats of a longer interval would take.
      await until(() => seen.includes(2), { timeoutMs: 16_000, describe: 'the message is handled' });
      await leader.restart();
      await until(() => cluster.inSync(), { timeoutMs: 60_000, describe: 'all copies are up to date again' });
      expect(await cluster.leaderOf(padCommands.stream)).toBeDefined();
    } finally {
      await broker.close({ drainMs: 0 });
    }
  }, 150_000);
});
