import {
  AckPolicy,
  DeliverPolicy,
  DiscardPolicy,
  ReplayPolicy,
  RetentionPolicy,
  StorageType,
  type ConsumerConfig,
  type StreamConfig,
} from '@nats-io/jetstream';
import { nanos } from '@nats-io/nats-core';
import {
  commandFilter,
  commandStream,
  contractNameOf,
  contractsOf,
  DEAD_LETTER_STREAM,
  eventFilter,
  eventStream,
  PATTERN_EVENTS,
  PATTERN_STREAM,
  patternEventFilter,
  patternEventStream,
  patternRoute,
  replyFilter,
  replyStream,
  subjectToken,
  type Contract,
  type ServiceManifest,
} from '@flotilla/contracts-protocol';
import { deterministicId, PARTITIONS } from '@flotilla/kernel';

/** One stream as it must be on the server. */
export interface StreamSpec {
  readonly name: string;
  readonly config: Readonly<Partial<StreamConfig>>;
}

/** One durable consumer as it must be on the server. */
export interface ConsumerSpec {
  readonly stream: string;
  readonly name: string;
  readonly config: Readonly<Partial<ConsumerConfig>>;
}

/** Everything durable that a fleet needs on its broker. */
export interface Topology {
  readonly streams: readonly StreamSpec[];
  readonly consumers: readonly ConsumerSpec[];
}

export interface TopologyOptions {
  /** Copies of every stream; 3 on a cluster. Default 1. */
  readonly replicas?: number;
  /** How long events are kept, in milliseconds. Default 30 days; longer costs disk, and recovery time of the server. */
  readonly eventMaxAgeMs?: number;
  /** The most an event stream keeps; the oldest go first. The server reserves it. Default 1 GiB. */
  readonly eventMaxBytes?: number;
  /** The most a queue of commands or replies holds; more is refused and waits in the outbox. Default 512 MiB. */
  readonly queueMaxBytes?: number;
  /** The most the dead letters take; none is dropped for another. Default 256 MiB. */
  readonly deadLetterMaxBytes?: number;
  /** The most that large bodies take; more is refused and waits in the outbox. Default 512 MiB. */
  readonly payloadMaxBytes?: number;
  /** How long a message id is remembered for de-duplication, in milliseconds. Default 120,000. */
  readonly duplicateWindowMs?: number;
  /** How long the server waits for word of a delivered message before it delivers it again. Default 30,000 ms. */
  readonly ackWaitMs?: number;
  /** Messages of one consumer in flight in all processes together, at most. Default 2,000. */
  readonly maxAckPending?: number;
}

/** Marks streams and consumers as made from contracts, so that stale ones can be told from foreign ones. */
export const MANAGED_METADATA = { 'flotilla-managed': 'true' } as const;

/**
 * Marks the streams from which handled messages are taken out by their consumers. Their retention is not `workqueue`:
 * that has the server remove each message by itself, at the price of storing one (measured: 1,900 instead of 3,300
 * messages a second through one queue).
 */
export const QUEUE_METADATA = { 'flotilla-kind': 'queue' } as const;

/** The consumer of a service's commands on `CMD_<owner>`. */
export function commandConsumer(service: string): string {
  return service;
}

/** The consumer of the answers that a service's sagas wait for, on `REPLY_<service>`. */
export function replyConsumer(service: string): string {
  return service;
}

/** The consumer of one reaction of a service on each `EVT_<owner>` it reacts to. */
export function reactionConsumer(service: string, reaction: string): string {
  return `${service}-${reaction}`;
}

/** The consumer of one partition of an ordered reaction. */
export function partitionConsumer(name: string, partition: number): string {
  return `${name}-p${String(partition).padStart(2, '0')}`;
}

/** The longest name of a consumer that a server takes is 255 bytes. */
const MAX_CONSUMER_NAME = 200;

/**
 * The consumer of one `@EventPattern` of a service: each has its own, so that one that fails holds up no other, and
 * patterns may overlap. The `_` after the service, which no service's name has, keeps it apart from all other names.
 */
export function patternConsumer(service: string, route: string): string {
  const name = `${service}_${subjectToken(route)}`;
  return name.length <= MAX_CONSUMER_NAME ? name : `${name.slice(0, 160)}-${deterministicId(name)}`;
}

/** The stream under the key-value bucket `CONFIG`, which holds the settings that change without a restart. */
export const CONFIG_STREAM = 'KV_CONFIG';

/** Values of one setting that the bucket keeps, the current one included; the most a key-value bucket can. */
export const CONFIG_HISTORY = 64;

/** Where a setting of a service is kept: the key `<service>.<setting>` of the bucket `CONFIG`. */
export function configSubject(service: string, key: string): string {
  return `$KV.CONFIG.${service}.${key}`;
}

/** The stream that keeps what operators did: who, when, what and why. */
export const AUDIT_STREAM = 'AUDIT';

/** The stream that says which messages were tried alone, and how that ended; see ADR 0049. */
export const TRIAL_STREAM = 'TRIALS';

/**
 * Where the trials of a message by a consumer of a service are recorded. By its id: it may be in the stream more than
 * once, and a stream that is made anew gives its sequences to others.
 */
export function trialSubject(service: string, consumer: string, messageId: string): string {
  const token = subjectToken(messageId);
  return `${trialPrefix(service)}.${consumer}.${token.length <= 200 ? token : deterministicId(messageId)}`;
}

/** The beginning of all trial subjects of a service. */
export function trialPrefix(service: string): string {
  return `trial.${service}`;
}

/** The stream with the bodies that are too large for their messages. */
export const PAYLOAD_STREAM = 'PAYLOADS';

/** Headers of a message whose body is in {@link PAYLOAD_STREAM}: extension attributes of CloudEvents. */
export const payloadHeader = {
  /** `payload.<kind>.<owner>.<SHA-256 of the body, hexadecimal>`. */
  ref: 'ce-dataref',
  /** Bytes of the body. */
  size: 'ce-datasize',
  /** The chunks are at `<dataref>.0` to `<dataref>.<chunks - 1>`. */
  chunks: 'ce-datachunks',
} as const;

/**
 * Where the large bodies of messages to a subject are: after its first two words, `evt.orders`, so that who may send
 * there may write them, and who may receive from there may read them.
 */
export function payloadPrefix(subject: string): string {
  return `payload.${subject.split('.', 2).join('.')}`;
}

const GIB = 1024 ** 3;
const MIB = 1024 ** 2;
const DAY_MS = 86_400_000;

/**
 * Derives the streams and consumers of a fleet from what its services say of themselves; the topology of one
 * manifest is what that service needs. Pure; the order of the manifests does not matter.
 */
export function topologyOf(manifests: readonly ServiceManifest[], options: TopologyOptions = {}): Topology {
  const commandOwners = new Set<string>();
  const eventOwners = new Set<string>();
  const replyServices = new Set<string>();
  const consumers: ConsumerSpec[] = [];
  let patternEvents = false;

  for (const manifest of manifests) {
    const { name } = manifest;
    const commands = contractsOf(manifest.answers).filter((contract) => contract.kind === 'command');
    for (const [owner, contracts] of byOwner(commands)) {
      commandOwners.add(owner);
      consumers.push(
        consumerSpec(
          commandStream(owner),
          commandConsumer(name),
          contracts.map((each) => commandFilter(each)),
          options,
        ),
      );
    }
    // The queue is there even when nobody answers yet: what is sent waits in it.
    for (const { owner } of contractsOf(manifest.sends)) commandOwners.add(owner);
    if (manifest.sends.length > 0) {
      replyServices.add(name);
      consumers.push(consumerSpec(replyStream(name), replyConsumer(name), [replyFilter(name)], options));
    }
    for (const { owner } of contractsOf(manifest.publishes)) eventOwners.add(owner);
    for (const [reaction, { events, ordered }] of Object.entries(manifest.reacts)) {
      const consumer = reactionConsumer(name, reaction);
      for (const [owner, contracts] of byOwner(contractsOf(events))) {
        eventOwners.add(owner);
        if (ordered === true)
          consumers.push(...orderedSpecs(eventStream(owner), consumer, contracts, options));
        else {
          consumers.push(
            consumerSpec(
              eventStream(owner),
              consumer,
              contracts.map((each) => eventFilter(each)),
              options,
            ),
          );
        }
      }
    }
    for (const route of manifest.patterns.reacts.map(patternRoute)) {
      const stream = patternEventStream(route);
      const { config, ...rest } = consumerSpec(
        stream,
        patternConsumer(name, route),
        [patternEventFilter(route)],
        options,
      );
      // Code that knew only core NATS is not written for the events of the last month, all at once.
      const policy = stream === PATTERN_STREAM ? { deliver_policy: DeliverPolicy.New } : {};
      consumers.push({ ...rest, config: { ...config, ...policy } });
    }
    for (const route of [...manifest.patterns.reacts, ...manifest.patterns.emits].map(patternRoute)) {
      const contract = contractNameOf(route);
      if (contract) eventOwners.add(contract.owner);
      else patternEvents = true;
    }
  }

  const streams = [
    ...[...commandOwners].map((owner) =>
      queueSpec(commandStream(owner), `cmd.${owner}.>`, `Commands to ${owner}`, options),
    ),
    ...[...eventOwners].map((owner) => eventSpec(owner, options)),
    ...[...replyServices].map((service) =>
      queueSpec(replyStream(service), replyFilter(service), `Answers to the sagas of ${service}`, options),
    ),
    ...(patternEvents ? [patternSpec(options)] : []),
    deadLetterSpec(options),
    auditSpec(options),
    configSpec(options),
    payloadSpec(options),
    trialSpec(options),
  ];
  const byName = (a: { name: string }, b: { name: string }): number => (a.name < b.name ? -1 : 1);
  return {
    streams: streams.sort(byName),
    consumers: consumers.sort((a, b) =>
      a.stream === b.stream ? byName(a, b) : a.stream < b.stream ? -1 : 1,
    ),
  };
}

function orderedSpecs(
  stream: string,
  consumer: string,
  contracts: readonly Contract[],
  options: TopologyOptions,
): ConsumerSpec[] {
  return Array.from({ length: PARTITIONS }, (_, partition) => {
    const filters = contracts.map((contract) => eventFilter(contract, partition));
    // One at a time: whoever gets the next one knows that the one before is done.
    return consumerSpec(stream, partitionConsumer(consumer, partition), filters, {
      ...options,
      maxAckPending: 1,
    });
  });
}

function byOwner(contracts: readonly Contract[]): Map<string, Contract[]> {
  return Map.groupBy(contracts, ({ owner }) => owner);
}

function consumerSpec(
  stream: string,
  name: string,
  filters: readonly string[],
  options: TopologyOptions,
): ConsumerSpec {
  return {
    stream,
    name,
    config: {
      durable_name: name,
      ack_policy: AckPolicy.Explicit,
      ack_wait: nanos(options.ackWaitMs ?? 30_000),
      deliver_policy: DeliverPolicy.All,
      replay_policy: ReplayPolicy.Instant,
      filter_subjects: [...filters].sort(),
      max_ack_pending: options.maxAckPending ?? 2_000,
      // Attempts are counted by the consumer, who dead-letters; the server would just stop delivering.
      max_deliver: -1,
      // As many as the stream.
      num_replicas: 0,
      metadata: { ...MANAGED_METADATA },
    },
  };
}

/** What an outbox has many of at once costs one flush; see ADR 0042. */
const BATCHES: Partial<StreamConfig> = { allow_atomic: true };

function baseSpec(
  name: string,
  subject: string,
  description: string,
  options: TopologyOptions,
): Partial<StreamConfig> {
  return {
    name,
    subjects: [subject],
    description,
    storage: StorageType.File,
    num_replicas: options.replicas ?? 1,
    duplicate_window: nanos(options.duplicateWindowMs ?? 120_000),
    max_msgs: -1,
    max_msg_size: -1,
    max_msgs_per_subject: -1,
    max_consumers: -1,
    no_ack: false,
    allow_direct: true,
    allow_rollup_hdrs: false,
    metadata: { ...MANAGED_METADATA },
  };
}

/** Commands and replies: each is kept until it is handled, however long that takes; see {@link QUEUE_METADATA}. */
function queueSpec(name: string, subject: string, description: string, options: TopologyOptions): StreamSpec {
  return {
    name,
    config: {
      ...baseSpec(name, subject, description, options),
      ...BATCHES,
      retention: RetentionPolicy.Limits,
      // Full means refused: the sender's outbox keeps it and tries again.
      discard: DiscardPolicy.New,
      max_age: 0,
      max_bytes: options.queueMaxBytes ?? 512 * MIB,
      deny_delete: true,
      deny_purge: false,
      metadata: { ...MANAGED_METADATA, ...QUEUE_METADATA },
    },
  };
}

function eventSpec(owner: string, options: TopologyOptions): StreamSpec {
  return eventsSpec(eventStream(owner), `evt.${owner}.>`, `Events of ${owner}`, options);
}

function patternSpec(options: TopologyOptions): StreamSpec {
  return eventsSpec(PATTERN_STREAM, PATTERN_EVENTS, 'Events of patterns without a contract', options);
}

function eventsSpec(
  name: string,
  subject: string,
  description: string,
  options: TopologyOptions,
): StreamSpec {
  return {
    name,
    config: {
      ...baseSpec(name, subject, description, options),
      ...BATCHES,
      retention: RetentionPolicy.Limits,
      discard: DiscardPolicy.Old,
      max_age: nanos(options.eventMaxAgeMs ?? 30 * DAY_MS),
      max_bytes: options.eventMaxBytes ?? GIB,
      deny_delete: true,
      deny_purge: true,
    },
  };
}

/** Dead letters stay until a person replays or drops them. */
function deadLetterSpec(options: TopologyOptions): StreamSpec {
  return {
    name: DEAD_LETTER_STREAM,
    config: {
      ...baseSpec(DEAD_LETTER_STREAM, 'dlq.>', 'Dead letters of all services', options),
      retention: RetentionPolicy.Limits,
      discard: DiscardPolicy.New,
      max_age: 0,
      max_bytes: options.deadLetterMaxBytes ?? 256 * MIB,
      deny_delete: false,
      deny_purge: true,
    },
  };
}

/** What operators did is kept for more than a year, and nobody can take a line out of it. */
function auditSpec(options: TopologyOptions): StreamSpec {
  return {
    name: AUDIT_STREAM,
    config: {
      ...baseSpec(AUDIT_STREAM, 'audit.>', 'What operators did', options),
      retention: RetentionPolicy.Limits,
      // Full means refused: no act without its record.
      discard: DiscardPolicy.New,
      max_age: nanos(400 * DAY_MS),
      max_bytes: 64 * MIB,
      deny_delete: true,
      deny_purge: true,
    },
  };
}

/** A key-value bucket, as the clients of NATS make one, so that they can read and write it. */
function configSpec(options: TopologyOptions): StreamSpec {
  return {
    name: CONFIG_STREAM,
    config: {
      ...baseSpec(CONFIG_STREAM, '$KV.CONFIG.>', 'Settings that change without a restart', options),
      retention: RetentionPolicy.Limits,
      discard: DiscardPolicy.New,
      max_age: 0,
      max_msgs_per_subject: CONFIG_HISTORY,
      max_msg_size: 16 * 1024,
      max_bytes: 16 * MIB,
      allow_rollup_hdrs: true,
      deny_delete: true,
      deny_purge: false,
    },
  };
}

/** Bodies that are too large for their messages: kept a day longer than events, so that none refers to nothing. */
function payloadSpec(options: TopologyOptions): StreamSpec {
  return {
    name: PAYLOAD_STREAM,
    config: {
      ...baseSpec(PAYLOAD_STREAM, 'payload.>', 'Bodies that are too large for their messages', options),
      retention: RetentionPolicy.Limits,
      discard: DiscardPolicy.New,
      max_age: nanos((options.eventMaxAgeMs ?? 30 * DAY_MS) + DAY_MS),
      max_bytes: options.payloadMaxBytes ?? 512 * MIB,
      // Written again, a chunk is the same chunk, and its time begins anew.
      max_msgs_per_subject: 1,
      deny_delete: true,
      deny_purge: true,
    },
  };
}

/** One line per suspect. Without it the next trial is its first again, so the oldest may go. */
function trialSpec(options: TopologyOptions): StreamSpec {
  return {
    name: TRIAL_STREAM,
    config: {
      ...baseSpec(TRIAL_STREAM, 'trial.>', 'Messages that may end their process, tried alone', options),
      retention: RetentionPolicy.Limits,
      discard: DiscardPolicy.Old,
      max_age: nanos(DAY_MS),
      max_msgs_per_subject: 1,
      max_msg_size: 16 * 1024,
      max_bytes: 16 * MIB,
      deny_delete: true,
      deny_purge: true,
    },
  };
}
