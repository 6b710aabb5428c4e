import {
  commandFilter,
  commandStream,
  contractsOf,
  DEAD_LETTER_STREAM,
  eventFilter,
  eventStream,
  replyFilter,
  replyStream,
  rpcSubject,
  type ServiceManifest,
} from '@flotilla/contracts-protocol';
import { inboxPrefixOf } from './nats/connect-nats.ts';
import { topologyOf } from './topology.ts';

/** What a NATS user may do, in the words of the server's configuration. */
export interface BrokerPermissions {
  readonly publish: { readonly allow: readonly string[] };
  readonly subscribe: { readonly allow: readonly string[] };
  /** Lets it answer the requests that it gets. */
  readonly allow_responses: true;
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

  for (const verb of ['PING', 'INFO', 'STATS']) {
    for (const subject of [`$SRV.${verb}`, `$SRV.${verb}.${name}`, `$SRV.${verb}.${name}.*`])
      subscribe.add(subject);
  }
  // What operators ask of it, and other services that build something again from its history.
  subscribe.add(`ops.${name}.*`);
  for (const contract of contractsOf(manifest.answers)) subscribe.add(rpcSubject(contract));
  for (const contract of contractsOf(manifest.calls)) publish.add(rpcSubject(contract));
  for (const contract of contractsOf(manifest.sends)) publish.add(commandFilter(contract));
  for (const contract of contractsOf(manifest.publishes)) publish.add(eventFilter(contract));

  const answered = new Set(contractsOf(manifest.answers).map(({ type }) => type));
  const published = new Set<string>([
    ...contractsOf(manifest.publishes).map(({ owner }) => eventStream(owner)),
    ...contractsOf(manifest.sends).map(({ owner }) => commandStream(owner)),
  ]);
  for (const sender of fleet) {
    if (!contractsOf(sender.sends).some(({ type }) => answered.has(type))) continue;
    publish.add(replyFilter(sender.name));
    published.add(replyStream(sender.name));
  }
  publish.add(`dlq.${name}.>`);
  for (const { events, replayable } of Object.values(manifest.reacts)) {
    if (replayable !== true) continue;
    for (const { owner } of contractsOf(events)) {
      publish.add(`$JS.API.DIRECT.GET.${eventStream(owner)}`);
      publish.add(`ops.${owner}.history`);
    }
  }

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

/** What the user that operates the fleet may do: ask services, and read, replay and delete dead letters. */
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
        '$SRV.>',
      ],
    },
    subscribe: { allow: [`${inboxPrefixOf(user)}.>`] },
    allow_responses: true,
  };
}
