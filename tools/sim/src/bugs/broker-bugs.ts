import { newId } from '@flotilla/kernel';
import type { Broker } from '@flotilla/messaging';
import type { Tampering } from '../world/service-process.ts';

/** The broker with some of its methods replaced. */
function withMethods(broker: Broker, methods: Partial<Broker>): Broker {
  return new Proxy(broker, {
    get(target, name) {
      if (name in methods) return methods[name as keyof Broker];
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? (value as (...all: unknown[]) => unknown).bind(target) : value;
    },
  });
}

export const ackBeforeCommit: Tampering = {
  broker: (broker) =>
    withMethods(broker, {
      consume: (consumer, options, handler) =>
        broker.consume(consumer, options, (delivery) => {
          handler(delivery).catch(() => undefined);
          return Promise.resolve();
        }),
    }),
};

export const publishBeforeStored: Tampering = {
  broker: (broker) =>
    withMethods(broker, {
      publish: (message) => {
        broker.publish(message).catch(() => undefined);
        const [kind = '', owner] = message.subject.split('.');
        return Promise.resolve({ stream: `${kind.toUpperCase()}_${owner}`, sequence: 0, duplicate: false });
      },
    }),
};

export const retriedUnderNewIds: Tampering = {
  broker: (broker) =>
    withMethods(broker, {
      publish: (message) => {
        const id = newId();
        return broker.publish({ ...message, id, headers: { ...message.headers, 'ce-id': id } });
      },
    }),
};
