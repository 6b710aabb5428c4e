import type { NatsConnection } from '@nats-io/nats-core';
import { jetstreamManager } from '@nats-io/jetstream';
import {
  connectNats,
  DeadLetters,
  NatsBroker,
  provision,
  type Broker,
  type NatsBrokerOptions,
} from '../src/index.ts';
import { silentLog } from '../src/testing/silent-log.ts';
import type { BrokerHarness } from '../src/testing/index.ts';

/** Short times, so that a test sees in a second what takes half a minute in production. */
export const quickPull = { expiresMs: 2_000, heartbeatMs: 500 };

export function quickBroker(url: string, options: Partial<NatsBrokerOptions> = {}): Promise<NatsBroker> {
  return NatsBroker.connect({
    servers: url,
    name: options.service ?? 'test',
    service: 'pad',
    pull: quickPull,
    trimQueuesEveryMs: 100,
    log: silentLog,
    ...options,
  });
}

/** A harness on a server that has been emptied. */
export async function natsHarness(url: string): Promise<BrokerHarness> {
  const admin = await connectNats({ servers: url, name: 'harness' });
  await removeAllStreams(admin);
  const crashed: Broker[] = [];
  return {
    provision: async (topology) => {
      await provision(admin, topology);
    },
    connect: (service) => quickBroker(url, { service }),
    deadLetters: async () =>
      (await new DeadLetters(admin).list()).map((letter) => ({
        subject: `dlq.${letter.service}.${letter.consumer}`,
        headers: {
          ...letter.headers,
          'flotilla-error-code': letter.errorCode,
          'flotilla-error-message': letter.errorMessage,
          'flotilla-attempts': String(letter.attempts),
          'flotilla-original-subject': letter.originalSubject,
          'flotilla-original-stream': letter.originalStream,
          'flotilla-original-sequence': String(letter.originalSequence),
          'flotilla-history': JSON.stringify(letter.history),
        },
        body: letter.body,
      })),
    crash: async (broker) => {
      crashed.push(broker);
      if (broker instanceof NatsBroker) await broker.connection.close();
    },
    dispose: async () => {
      await Promise.all(crashed.map((broker) => broker.close({ drainMs: 0 })));
      await admin.close();
    },
  };
}

export async function removeAllStreams(connection: NatsConnection): Promise<void> {
  const manager = await jetstreamManager(connection);
  for await (const name of manager.streams.names()) await manager.streams.delete(name);
}
