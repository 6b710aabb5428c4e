import { systemClock } from '@flotilla/kernel';
import { SimulatedJetStream } from './index.ts';
import type { Topology } from '../topology.ts';
import type { Broker } from '../broker.ts';
import { brokerConformance } from '../testing/index.ts';
import { silentLog } from '../testing/silent-log.ts';

/** A world of real time in which nothing is lost: the simulated server is a broker like the others. */
brokerConformance('simulated', async () => {
  let server: SimulatedJetStream | undefined;
  const hosts = new Map<Broker, { alive: boolean }>();
  const current = (): SimulatedJetStream => {
    if (server === undefined) throw new Error('provision comes first');
    return server;
  };
  return {
    provision: async (topology: Topology) => {
      server = new SimulatedJetStream(topology, {
        clock: systemClock,
        crossing: () => ({ lost: false, delayMs: 0 }),
        deliver: (delayMs, _label, arrive) => void systemClock.after(delayMs, arrive),
        impatient: () => false,
      });
    },
    connect: async (service) => {
      const host = { alive: true, run: <T>(code: () => T): T => code() };
      const broker = current().connect({ service, host, log: silentLog });
      hosts.set(broker, host);
      return broker;
    },
    crash: async (broker) => {
      const host = hosts.get(broker);
      if (host !== undefined) host.alive = false;
    },
    deadLetters: async () => current().messages('DLQ'),
    dispose: async () => undefined,
  };
});
