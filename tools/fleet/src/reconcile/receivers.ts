import { commandStream, eventStream, type ServiceManifest } from '@flotilla/contracts-protocol';
import { commandConsumer, partitionConsumer, reactionConsumer } from '@flotilla/messaging';

/** A durable subscription that takes a type of message. */
export interface Receiver {
  readonly service: string;
  readonly stream: string;
  /** The name by which messages are addressed to it alone. */
  readonly consumer: string;
  /** One consumer for each partition. */
  readonly ordered: boolean;
  /** The name under which its service's inbox knows what it has handled. */
  readonly inbox: string;
}

/** The inbox of commands, on whatever way they come. */
const COMMAND_INBOX = 'commands';

/** Who takes which type of durable message. */
export function receiversOf(manifests: readonly ServiceManifest[]): ReadonlyMap<string, readonly Receiver[]> {
  const receivers = new Map<string, Receiver[]>();
  const add = (type: string, receiver: Receiver): void => {
    receivers.set(type, [...(receivers.get(type) ?? []), receiver]);
  };
  for (const { name, answers, reacts } of manifests) {
    for (const { contract } of answers) {
      if (contract.kind !== 'command') continue;
      const consumer = commandConsumer(name);
      const stream = commandStream(contract.owner);
      add(contract.type, { service: name, stream, consumer, ordered: false, inbox: COMMAND_INBOX });
    }
    for (const [reaction, { events, ordered = false }] of Object.entries(reacts)) {
      for (const { contract } of events) {
        const consumer = reactionConsumer(name, reaction);
        const stream = eventStream(contract.owner);
        add(contract.type, { service: name, stream, consumer, ordered, inbox: reaction });
      }
    }
  }
  return receivers;
}

/** The consumer of the broker that takes a message of that subject. */
export function consumerOf({ consumer, ordered }: Receiver, subject: string): string {
  return ordered ? partitionConsumer(consumer, Number(subject.split('.')[4])) : consumer;
}

/** The contract type of a durable subject, `evt.orders.OrderPlaced.v1.3.abc`; undefined for any other. */
export function typeOf(subject: string): string | undefined {
  const [kind, owner, name, version] = subject.split('.');
  return (kind === 'evt' || kind === 'cmd') && version !== undefined
    ? `${owner}.${name}.${version}`
    : undefined;
}
