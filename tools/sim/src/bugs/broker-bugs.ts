import { newId } from '@flotilla/kernel';
import { libraryFile } from '../world/services.ts';
import type { Tampering } from '../world/service-process.ts';
import { withMethods } from '../world/with-methods.ts';

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

interface TrialsFile {
  readonly Trials: { readonly prototype: { enter: (who: object, start: () => void) => void } };
}

export const trialsSideBySide: Tampering = {
  everywhere: async () => {
    const { prototype } = (await libraryFile<TrialsFile>('messaging', 'trials.ts')).Trials;
    const { enter } = prototype;
    prototype.enter = (_who, start) => start();
    return () => {
      prototype.enter = enter;
    };
  },
};
