import { BusinessError, type AnyMessage } from '@flotilla/contracts-protocol';
import { errorCode } from '@flotilla/kernel';
import type { Broker } from '@flotilla/messaging';
import {
  currentUnitOfWork,
  Outbox,
  UnitOfWork,
  type InboxEntry,
  type Processed,
  type ProcessOptions,
  type RunOptions,
} from '@flotilla/persistence';
import { BROKER } from '@flotilla/service';
import { OutgoingMessages } from '@flotilla/service/testing';
import { EventBus, type IEvent } from '@nestjs/cqrs';
import { libraryFile } from '../world/services.ts';
import type { Tampering } from '../world/service-process.ts';
import { withMethods } from '../world/with-methods.ts';

type Methods = Partial<Pick<UnitOfWork, 'run' | 'process' | 'query' | 'bulk'>>;

/** The unit of work of every service with some of its methods replaced. */
export function unitOfWorkWith(replace: (inner: UnitOfWork) => Methods): Tampering {
  return {
    part: (token, part) => {
      if (token !== UnitOfWork) return part;
      const inner = part as UnitOfWork;
      return withMethods(inner, replace(inner));
    },
  };
}

export const inboxOutsideTransaction = unitOfWorkWith((inner) => ({
  async process<T>(
    entry: InboxEntry,
    work: () => Promise<T>,
    { onRefusal, ...options }: ProcessOptions = {},
  ): Promise<Processed<T>> {
    const noted = await inner.process(entry, () => Promise.resolve(), { independent: true });
    if (noted.duplicate) return noted;
    const all = { ...options, ...(entry.key !== undefined && { key: entry.key }) };
    try {
      return { duplicate: false, result: await inner.run(work, all) };
    } catch (error) {
      if (isRefusal(error) && onRefusal !== undefined) await inner.run(async () => onRefusal(error), all);
      throw error;
    }
  },
}));

function isRefusal(error: unknown): error is BusinessError {
  return error instanceof BusinessError;
}

export const noInbox = unitOfWorkWith((inner) => ({
  async process<T>(
    entry: InboxEntry,
    work: () => Promise<T>,
    options: ProcessOptions = {},
  ): Promise<Processed<T>> {
    return inner.process(withFreshMessageId(entry), work, options);
  },
}));

/** A message that nobody has seen before, each time. */
export function withFreshMessageId(entry: InboxEntry): InboxEntry {
  return { ...entry, messageId: `${entry.messageId} ${Math.random()}` };
}

export const commitTakenForGranted = unitOfWorkWith((inner) => ({
  async run<T>(work: () => Promise<T>, options?: RunOptions): Promise<T> {
    let result: T | undefined;
    return inner
      .run(async () => (result = await work()), options)
      .catch((error: unknown) => orGranted(error, result as T));
  },
  async process<T>(
    entry: InboxEntry,
    work: () => Promise<T>,
    options?: ProcessOptions,
  ): Promise<Processed<T>> {
    let result: T | undefined;
    return inner
      .process(entry, async () => (result = await work()), options)
      .catch((error: unknown) => orGranted(error, { duplicate: false, result: result as T }));
  },
}));

function orGranted<T>(error: unknown, result: T): T {
  if (errorCode(error) === 'COMMIT_OUTCOME_UNKNOWN') return result;
  throw error;
}

export const outboxOutsideTransaction: Tampering = {
  service: (service) => {
    const broker = service.get<Broker>(BROKER);
    const outgoing = service.get<OutgoingMessages>(OutgoingMessages);
    const publish = (event: IEvent): void => {
      const message = outgoing.event(event as AnyMessage);
      currentUnitOfWork()?.afterCommit(() => void broker.publish(message).catch(() => undefined));
    };
    service.get<EventBus>(EventBus).publisher = {
      publish,
      publishAll: (events: IEvent[]) => events.forEach(publish),
    };
  },
};

export const noRelay: Tampering = {
  everywhere: async () => {
    const { OutboxRelay } = await libraryFile<{ OutboxRelay: { prototype: { start: () => void } } }>(
      'persistence',
      'outbox/outbox-relay.ts',
    );
    const { start } = OutboxRelay.prototype;
    OutboxRelay.prototype.start = () => undefined;
    return () => (OutboxRelay.prototype.start = start);
  },
};

export const noReconciler: Tampering = {
  service: (service) => {
    const outbox = service.get<Outbox>(Outbox);
    outbox.reconcile = () => Promise.resolve({ lost: 0, streams: [] });
  },
};
