import { InMemoryBroker, InMemoryNetwork } from '../index.ts';
import { brokerConformance } from '../testing/index.ts';
import { silentLog } from '../testing/silent-log.ts';

brokerConformance('in memory', async () => {
  const network = new InMemoryNetwork({ streams: [], consumers: [] });
  return {
    provision: async (topology) => network.provision(topology),
    connect: async (service) => network.connect(service, { log: silentLog }),
    crash: async (broker) => {
      if (broker instanceof InMemoryBroker) broker.crash();
    },
    deadLetters: async () => network.messages('DLQ'),
    dispose: async () => undefined,
  };
});
