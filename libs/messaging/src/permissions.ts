import {
  commandFilter,
  commandStream,
  contractsOf,
  DEAD_LETTER_STREAM,
  eventFilter,
  eventStream,
  patternEventFilter,
  patternEventStream,
  patternRequestSubject,
  patternRoute,
  replyFilter,
  replyStream,
  rpcSubject,
  type ServiceManifest,
} from '@flotilla/contracts-protocol';
import { inboxPrefixOf } from './nats/connect-nats.ts';
import {
  AUDIT_STREAM,
  CONFIG_STREAM,
  configSubject,
  PAYLOAD_STREAM,
  payloadPrefix,
  topologyOf,
  TRIAL_STREAM,
  trialPrefix,
} from './topology.ts';

/** What a NATS user may do, in the words of the server's configuration. */
export interface BrokerPermissions {
  readonly publish: { readonly allow: readonly string[] };
  readonly subscribe: { readonly allow: readonly string[] };
  /** Lets it answer the requests that it gets. */
  readonly allow_responses: boolean;
}

export interface PermissionsOptions {
  /** Subjects that the service sees as hints, with `Broker.watch`. Default: none. */
  readonly watches?: readonly string[];
}

/**
 * What the NATS user of a service may do: what its manifest says, and nothing more. It may use its consumers and read
 * the configuration of its streams, but not make, change or delete either; what it has handled it takes out of its queues. `fleet` is needed to know whose
 * sagas wait for its answers.
 */
export function permissionsOf(
  manifest: ServiceManifest,
  fleet: readonly ServiceManifest[],
  options: PermissionsOptions = {},
): BrokerPermissions {
  const { name } = manifest;
  const publish = new Set<string>();
  const subscribe = new Set<string>([`${inboxPrefixOf(name)}.>`, ...(options.watches ?? [])]);
  for (const owner of manifest.watches) subscribe.add(`evt.${owner}.>`);

  for (const verb of ['PING', 'INFO', 'STATS']) {
    for (const subject of [`$SRV.${verb}`, `$SRV.${verb}.${name}`, `$SRV.${verb}.${name}.*`])
      subscribe.add(subject);
  }
  for (const contract of contractsOf(manifest.answers)) subscribe.add(rpcSubject(contract));
  for (const contract of contractsOf(manifest.calls)) publish.add(rpcSubject(contract));
  for (const contract of contractsOf(manifest.sends)) {
    publish.add(commandFilter(contract));
    // A command goes as a request where it can.
    publish.add(rpcSubject(contract));
  }
  for (const contract of contractsOf(manifest.publishes)) publish.add(eventFilter(contract));

  const { patterns } = manifest;
  for (const pattern of patterns.answers) subscribe.add(patternRequestSubject(patternRoute(pattern)));
  for (const pattern of patterns.calls) publish.add(patternRequestSubject(patternRoute(pattern)));
  // A broadcast handler sees them as they happen.
  for (const pattern of patterns.reacts) subscribe.add(patternEventFilter(patternRoute(pattern)));
  for (const pattern of patterns.emits) publish.add(patternEventFilter(patternRoute(pattern)));
  // Large bodies go where the messages go: whoever sends them writes there, whoever gets them reads there.
  const writes = new Set<string>();
  const reads = new Set<string>([`reply.${name}`]);
  for (const { kind, owner } of contractsOf(manifest.answers)) {
    for (const each of [writes, reads]) each.add(`rpc.${owner}`);
    if (kind === 'command') reads.add(`cmd.${owner}`);
  }
  for (const { owner } of contractsOf(manifest.calls))
    for (const each of [writes, reads]) each.add(`rpc.${owner}`);
  for (const { owner } of contractsOf(manifest.sends)) {
    writes.add(`cmd.${owner}`);
    for (const each of [writes, reads]) each.add(`rpc.${owner}`);
  }
  for (const { owner } of contractsOf(manifest.publishes)) writes.add(`evt.${owner}`);
  for (const { events } of Object.values(manifest.reacts))
    for (const { owner } of contractsOf(events)) reads.add(`evt.${owner}`);
  for (const pattern of [...patterns.answers, ...patterns.calls])
    for (const each of [writes, reads]) each.add(patternRequestSubject(patternRoute(pattern)));
  for (const pattern of patterns.emits) writes.add(patternEventFilter(patternRoute(pattern)));
  for (const pattern of patterns.reacts) reads.add(patternEventFilter(patternRoute(pattern)));

  const answered = new Set(contractsOf(manifest.answers).map(({ type }) => type));
  const published = new Set<string>([
    ...contractsOf(manifest.publishes).map(({ owner }) => eventStream(owner)),
    ...contractsOf(manifest.sends).map(({ owner }) => commandStream(owner)),
    ...patterns.emits.map((pattern) => patternEventStream(patternRoute(pattern))),
  ]);
  for (const sender of fleet) {
    if (!contractsOf(sender.sends).some(({ type }) => answered.has(type))) continue;
    publish.add(replyFilter(sender.name));
    writes.add(`reply.${sender.name}`);
    published.add(replyStream(sender.name));
  }
  for (const where of writes) publish.add(`${payloadPrefix(where)}.>`);
  for (const where of reads) publish.add(`$JS.API.DIRECT.GET.${PAYLOAD_STREAM}.${payloadPrefix(where)}.>`);
  publish.add(`dlq.${name}.>`);
  // What it tries alone, it writes down.
  publish.add(`${trialPrefix(name)}.>`);
  publish.add(`$JS.API.DIRECT.GET.${TRIAL_STREAM}.${trialPrefix(name)}.>`);
  for (const { events, replayable } of Object.values(manifest.reacts)) {
    if (replayable !== true) continue;
    for (const { owner } of contractsOf(events)) {
      publish.add(`$JS.API.DIRECT.GET.${eventStream(owner)}`);
      publish.add(`ops.${owner}.history`);
    }
  }
  // Operators help its sagas, start its schedules and rebuild its views; others read its history.
  subscribe.add(`ops.${name}.>`);
  // It reads its own settings and sees when they change.
  subscribe.add(configSubject(name, '*'));
  publish.add(`$JS.API.DIRECT.GET.${CONFIG_STREAM}.${configSubject(name, '*')}`);

  // Whether its streams and consumers are there, and whether what it published is still there.
  publish.add('$JS.API.INFO');
  const topology = topologyOf([manifest]);
  for (const stream of topology.streams) publish.add(`$JS.API.STREAM.INFO.${stream.name}`);
  for (const stream of published) {
    publish.add(`$JS.API.STREAM.INFO.${stream}`);
    publish.add(`$JS.API.STREAM.MSG.GET.${stream}`);
  }
  // It takes what it has handled out of its queues.
  const queues = new Set([
    ...contractsOf(manifest.answers).map(({ owner }) => commandStream(owner)),
    replyStream(name),
  ]);
  for (const { stream, name: consumer } of topology.consumers) {
    publish.add(`$JS.API.CONSUMER.INFO.${stream}.${consumer}`);
    publish.add(`$JS.API.CONSUMER.MSG.NEXT.${stream}.${consumer}`);
    publish.add(`$JS.ACK.${stream}.${consumer}.>`);
    if (queues.has(stream)) publish.add(`$JS.API.STREAM.PURGE.${stream}`);
  }
  return {
    publish: { allow: [...publish].sort() },
    subscribe: { allow: [...subscribe].sort() },
    allow_responses: true,
  };
}

/** The NATS users of a fleet that are no service's, by what they are for. */
export const FLEET_USERS = { operator: 'operator', provisioner: 'provisioner', auditor: 'auditor' } as const;

/**
 * What the user that provisions a fleet may do: make, change and delete streams and consumers and read their state. It
 * neither publishes, nor takes, reads or deletes a message.
 */
export function provisionerPermissions(user: string): BrokerPermissions {
  return {
    publish: {
      allow: [
        '$JS.API.INFO',
        ...['CREATE', 'UPDATE', 'DELETE', 'INFO'].map((verb) => `$JS.API.STREAM.${verb}.*`),
        '$JS.API.STREAM.NAMES',
        '$JS.API.STREAM.LIST',
        ...['CREATE', 'DURABLE.CREATE', 'DELETE', 'INFO'].map((verb) => `$JS.API.CONSUMER.${verb}.>`),
        '$JS.API.CONSUMER.NAMES.*',
        '$JS.API.CONSUMER.LIST.*',
      ],
    },
    subscribe: { allow: [`${inboxPrefixOf(user)}.>`] },
    allow_responses: false,
  };
}

/**
 * What the user that audits a fleet may do: read every message that is stored and see those that pass, the state of
 * streams and consumers too. It changes nothing.
 */
export function auditorPermissions(user: string): BrokerPermissions {
  return {
    publish: {
      allow: [
        '$JS.API.INFO',
        '$JS.API.STREAM.INFO.*',
        '$JS.API.STREAM.NAMES',
        '$JS.API.STREAM.LIST',
        '$JS.API.STREAM.MSG.GET.*',
        '$JS.API.DIRECT.GET.>',
        '$JS.API.CONSUMER.INFO.>',
        '$JS.API.CONSUMER.NAMES.*',
        '$JS.API.CONSUMER.LIST.*',
      ],
    },
    subscribe: {
      allow: [`${inboxPrefixOf(user)}.>`, 'evt.>', 'cmd.>', 'reply.>', 'dlq.>'],
    },
    allow_responses: false,
  };
}

/**
 * What the user that operates a fleet may do: read, edit, replay and delete dead letters, keep and read the record of
 * that, change settings, help sagas and start schedules, look at queues.
 */
export function operatorPermissions(user: string): BrokerPermissions {
  return {
    publish: {
      allow: [
        'cmd.>',
        'evt.>',
        'reply.>',
        'ops.>',
        '$JS.API.INFO',
        '$JS.API.STREAM.INFO.*',
        '$JS.API.STREAM.NAMES',
        '$JS.API.STREAM.LIST',
        '$JS.API.CONSUMER.INFO.>',
        '$JS.API.CONSUMER.LIST.*',
        `$JS.API.STREAM.MSG.GET.${DEAD_LETTER_STREAM}`,
        `$JS.API.STREAM.MSG.DELETE.${DEAD_LETTER_STREAM}`,
        `$JS.API.DIRECT.GET.${DEAD_LETTER_STREAM}`,
        `$JS.API.DIRECT.GET.${AUDIT_STREAM}`,
        '$SRV.>',
        'audit.>',
        'dlq.>',
        'payload.>',
        configSubject('*', '*'),
        // Comparing streams with outboxes; the whole of one is named without a subject.
        '$JS.API.DIRECT.GET.*',
        `$JS.API.DIRECT.GET.${CONFIG_STREAM}.>`,
        `$JS.API.DIRECT.GET.${PAYLOAD_STREAM}.>`,
      ],
    },
    // `fleet operator` answers other programs there.
    subscribe: { allow: [`${inboxPrefixOf(user)}.>`, 'ops.fleet.>'] },
    allow_responses: true,
  };
}
