import { PARTITIONS } from '@flotilla/kernel';
import {
  contractsOf,
  envelopeHeader,
  jsonSchemaOf,
  type AnyMessageClass,
  type Contract,
  type ServiceManifest,
} from '@flotilla/contracts-protocol';
import type { ContractComments } from './doc-comments.ts';
import { describeSchema, tidySchema, type Json } from './schema-document.ts';

/** What the documents are made of. */
export interface ReferenceFacts {
  readonly version: string;
  readonly manifests: readonly ServiceManifest[];
  readonly contracts: readonly Contract[];
  readonly comments: ReadonlyMap<string, ContractComments>;
}

/** A service that sends or receives a message, and how. */
interface Party {
  readonly service: string;
  readonly how: 'answers' | 'calls' | 'sends' | 'publishes' | 'reacts';
  /** Of a reaction: its name. */
  readonly reaction?: string;
  /** Of a reaction: whether it keeps the order across replicas. */
  readonly ordered?: boolean;
}

/** The AsyncAPI 3 document of all messages of the fleet, in the order of their types. Pure. */
export function asyncApiDocument({ version, manifests, contracts, comments }: ReferenceFacts): Json {
  const channels: Json = {};
  const operations: Json = {};
  const messages: Json = {};
  for (const contract of sorted(contracts, ({ type }) => type)) {
    const parties = partiesOf(contract, manifests);
    Object.assign(messages, messagesOf(contract, parties, comments.get(contract.type)));
    Object.assign(channels, channelsOf(contract));
    for (const party of parties) Object.assign(operations, operationOf(contract, party));
  }
  Object.assign(channels, replyChannels(manifests, contracts), deadLetterChannel());
  Object.assign(operations, deadLetterOperations(manifests));
  return {
    asyncapi: '3.0.0',
    info: {
      title: 'Flotilla: messages',
      version,
      description:
        'Every message between the services, made from the contracts in libs/contracts and the manifests in apps. ' +
        'docs/wire.md says how subjects, headers, streams, retries and dead letters work.',
      tags: [...new Set([...contracts.map(({ owner }) => owner), ...manifests.map(({ name }) => name)])]
        .sort()
        .map((name) => ({ name, description: `What ${name} owns, sends or receives` })),
    },
    defaultContentType: 'application/json',
    servers: {
      nats: {
        host: '127.0.0.1:3022',
        protocol: 'nats',
        description: 'NATS with JetStream, from 2.12.7 on. The address is that of the embedded stack.',
      },
    },
    channels: byKey(channels),
    operations: byKey(operations),
    components: {
      messages: { ...messages, failed: failedMessage(), 'dead-letter': deadLetterMessage() },
      schemas: headerSchemas(),
      parameters: {
        partition: {
          description: 'A stable hash of the key (docs/wire.md)',
          enum: Array.from({ length: PARTITIONS }, (_, partition) => String(partition)),
        },
        key: {
          description: 'The key as one token of a subject (docs/wire.md)',
          location: `$message.header#/${envelopeHeader.subject}`,
        },
      },
      correlationIds: {
        correlation: {
          description: 'Shared by everything that one request from outside caused',
          location: `$message.header#/${envelopeHeader.correlationId}`,
        },
      },
    },
  };
}

/** How the key of a contract is read from its payload, such as `{orderId}`; undefined: the message's own id. */
export function keyExpression(of: ((payload: never) => unknown) | undefined): string | undefined {
  if (of === undefined) return undefined;
  try {
    return String(of(recorder('') as never));
  } catch {
    return 'computed';
  }
}

/** A value that says which path of the payload was read. */
function recorder(path: string): unknown {
  return new Proxy(() => undefined, {
    get: (_, name) => {
      if (name === Symbol.toPrimitive || name === 'toString') return () => `{${path}}`;
      return typeof name === 'symbol' ? undefined : recorder(path === '' ? name : `${path}.${name}`);
    },
    apply: () => recorder(path),
  });
}

function messagesOf(
  contract: Contract,
  parties: readonly Party[],
  comments: ContractComments | undefined,
): Json {
  const { type, kind, owner, version, timeoutMs } = contract;
  const schemas = jsonSchemaOf(contract, 'draft-7');
  const aggregateVersion = keyExpression(contract.aggregateVersionOf);
  const key = keyExpression(contract.keyOf);
  const { text: _ofType, ...fields } = comments?.payload ?? {};
  const messages: Json = {
    [type]: {
      name: type,
      title: contract.name,
      ...(comments?.text !== undefined && { summary: comments.text }),
      ...common(owner, kind),
      headers: headersOf(kind, type),
      payload: describeSchema(tidySchema(schemas.payload) as Json, fields),
      'x-flotilla': {
        kind,
        version,
        ...(key !== undefined && { key }),
        ...(aggregateVersion !== undefined && { aggregateVersion }),
        ...(kind !== 'event' && { timeoutMs }),
        sentBy: namesOf(parties, ['calls', 'sends', 'publishes']),
        receivedBy: namesOf(parties, ['answers', 'reacts']),
      },
    },
  };
  if (kind === 'event') return messages;
  messages[`${type}.ok`] = {
    name: `${type}.ok`,
    title: `${contract.name}: done`,
    ...common(owner, 'reply'),
    headers: headersOf('reply', type, 'ok'),
    payload: schemas.reply
      ? describeSchema(tidySchema(schemas.reply, { open: true }) as Json, comments?.reply)
      : { type: 'null' },
  };
  for (const [code, data] of Object.entries(schemas.errors)) {
    const { text, ...dataFields } = comments?.errors[code] ?? {};
    messages[`${type}.refused.${code}`] = {
      name: `${type}.refused.${code}`,
      title: `${contract.name}: refused, ${code}`,
      ...(text !== undefined && { summary: text }),
      ...common(owner, 'reply'),
      headers: headersOf('reply', type, 'refused'),
      payload: {
        type: 'object',
        required: ['code', 'message', 'data', 'retry'],
        properties: {
          code: { const: code },
          message: { type: 'string' },
          data: describeSchema(tidySchema(data, { open: true }) as Json, dataFields),
          retry: { const: 'never' },
        },
      },
    };
  }
  return messages;
}

function common(owner: string, kind: string): Json {
  return {
    contentType: 'application/json',
    tags: [{ name: owner }, { name: kind }],
    correlationId: { $ref: '#/components/correlationIds/correlation' },
  };
}

/** The names of the messages that may answer a command or query. */
function answersOf({ type, errors }: Contract): string[] {
  return [`${type}.ok`, ...Object.keys(errors).map((code) => `${type}.refused.${code}`), 'failed'];
}

function channelsOf(contract: Contract): Json {
  const { type, kind, owner, name, version } = contract;
  const parameters = keyParameters();
  const tags = [{ name: owner }];
  if (kind === 'event') {
    return {
      [`evt.${type}`]: {
        address: `evt.${owner}.${name}.v${version}.{partition}.{key}`,
        description: `JetStream, stream EVT_${owner}`,
        parameters,
        messages: refs([type]),
        tags,
      },
    };
  }
  return {
    [`rpc.${type}`]: {
      address: `rpc.${owner}.${name}.v${version}`,
      description: 'Core NATS, request and reply',
      messages: refs([type]),
      tags,
    },
    [`rpc.${type}.reply`]: {
      address: null,
      description: 'The inbox that the request names',
      messages: refs(answersOf(contract)),
      tags,
    },
    ...(kind === 'command' && {
      [`cmd.${type}`]: {
        address: `cmd.${owner}.${name}.v${version}.{partition}.{key}`,
        description: `JetStream, stream CMD_${owner}`,
        parameters,
        messages: refs([type]),
        tags,
      },
    }),
  };
}

/** The answers that each service with sagas waits for. */
function replyChannels(manifests: readonly ServiceManifest[], contracts: readonly Contract[]): Json {
  const byType = new Map(contracts.map((contract) => [contract.type, contract]));
  return Object.fromEntries(
    manifests
      .filter(({ sends }) => sends.length > 0)
      .map(({ name, sends }) => {
        const commands = sorted(contractsOf(sends), ({ type }) => type).filter(({ type }) =>
          byType.has(type),
        );
        return [
          `reply.${name}`,
          {
            address: `reply.${name}.{partition}.{key}`,
            description: `JetStream, stream REPLY_${name}; the key names the saga that waits`,
            parameters: keyParameters(),
            messages: refs([...new Set(commands.flatMap(answersOf))]),
            tags: [{ name }],
          },
        ];
      }),
  );
}

function partiesOf({ type }: Contract, manifests: readonly ServiceManifest[]): Party[] {
  const has = (classes: readonly AnyMessageClass[]): boolean =>
    contractsOf(classes).some((each) => each.type === type);
  return manifests.flatMap(({ name: service, answers, calls, sends, publishes, reacts }) => [
    ...(has(answers) ? [{ service, how: 'answers' } as const] : []),
    ...(has(calls) ? [{ service, how: 'calls' } as const] : []),
    ...(has(sends) ? [{ service, how: 'sends' } as const] : []),
    ...(has(publishes) ? [{ service, how: 'publishes' } as const] : []),
    ...Object.entries(reacts)
      .filter(([, { events }]) => has(events))
      .map(([reaction, { ordered = false }]) => ({ service, how: 'reacts', reaction, ordered }) as const),
  ]);
}

function operationOf(contract: Contract, { service, how, reaction, ordered = false }: Party): Json {
  const { type, owner, kind } = contract;
  const tags = [...new Set([service, owner])].map((name) => ({ name }));
  // Without a list, all messages of the channel are meant.
  const on = (channel: string) => ({ channel: { $ref: `#/channels/${channel}` }, tags });
  const requestReply = { channel: { $ref: `#/channels/rpc.${type}.reply` } };
  const replyAddress = {
    location: `$message.header#/${envelopeHeader.replyTo}`,
    description: 'The subject that the command names; without one, nobody waits',
  };
  switch (how) {
    case 'calls':
      return {
        [`${service}.calls.${type}`]: {
          action: 'send',
          summary: `${service} asks and waits for the answer`,
          ...on(`rpc.${type}`),
          reply: requestReply,
        },
      };
    case 'sends':
      return {
        [`${service}.sends.${type}`]: {
          action: 'send',
          summary: `A saga of ${service} sends it durably; the answer is stored until the saga has it`,
          ...on(`cmd.${type}`),
          reply: {
            address: replyAddress,
            channel: { $ref: `#/channels/reply.${service}` },
            messages: answersOf(contract).map((each) => ({
              $ref: `#/channels/reply.${service}/messages/${each}`,
            })),
          },
        },
      };
    case 'answers':
      return {
        [`${service}.answers.${type}`]: {
          action: 'receive',
          summary: `${service} answers it${service === owner ? '' : `, in place of ${owner}`}`,
          ...on(`rpc.${type}`),
          reply: requestReply,
        },
        ...(kind === 'command' && {
          [`${service}.handles.${type}`]: {
            action: 'receive',
            summary: `${service} handles it from its stream${service === owner ? '' : `, in place of ${owner}`}`,
            ...on(`cmd.${type}`),
            reply: { address: replyAddress },
          },
        }),
      };
    case 'publishes':
      return {
        [`${service}.publishes.${type}`]: {
          action: 'send',
          summary: `${service} publishes it with the change it tells of`,
          ...on(`evt.${type}`),
        },
      };
    case 'reacts':
      return {
        [`${service}.reacts.${reaction}.${type}`]: {
          action: 'receive',
          summary: `${service} reacts to it (${reaction}${ordered ? ', in order across replicas' : ''})`,
          ...on(`evt.${type}`),
        },
      };
  }
}

function deadLetterChannel(): Json {
  return {
    dlq: {
      address: 'dlq.{service}.{consumer}',
      description: 'JetStream, stream DLQ: messages that no handler could finish, for a person',
      parameters: {
        service: { description: 'The service that could not handle it' },
        consumer: { description: 'Its consumer, as one token of a subject' },
      },
      messages: refs(['dead-letter']),
    },
  };
}

function deadLetterOperations(manifests: readonly ServiceManifest[]): Json {
  return Object.fromEntries(
    manifests
      .filter(({ answers, sends, reacts }) => answers.length + sends.length + Object.keys(reacts).length > 0)
      .map(({ name }) => [
        `${name}.dead-letters`,
        {
          action: 'send',
          summary: `${name} puts away what it cannot handle`,
          channel: { $ref: '#/channels/dlq' },
          tags: [{ name }],
        },
      ]),
  );
}

function failedMessage(): Json {
  return {
    name: 'failed',
    title: 'Failed',
    summary: 'A technical failure; `retry` says whether the same again can help.',
    contentType: 'application/json',
    tags: [{ name: 'reply' }],
    headers: {
      allOf: [
        { $ref: '#/components/schemas/ReplyHeaders' },
        { properties: { [envelopeHeader.outcome]: { const: 'failed' } } },
      ],
    },
    payload: {
      type: 'object',
      required: ['code', 'message', 'retry'],
      properties: {
        code: { type: 'string', examples: ['INVALID_MESSAGE', 'OVERLOADED', 'DEADLINE_EXCEEDED'] },
        message: { type: 'string' },
        retry: { type: 'string', enum: ['later', 'never'] },
      },
    },
  };
}

function deadLetterMessage(): Json {
  return {
    name: 'dead-letter',
    title: 'Dead letter',
    summary: 'The original body and headers, and why it could not be handled.',
    tags: [{ name: 'dead-letter' }],
    headers: { $ref: '#/components/schemas/DeadLetterHeaders' },
    payload: { description: 'The body of the original message' },
  };
}

function headersOf(kind: Contract['kind'] | 'reply', type: string, outcome?: string): Json {
  const schema = {
    command: 'CommandHeaders',
    query: 'QueryHeaders',
    event: 'EventHeaders',
    reply: 'ReplyHeaders',
  };
  return {
    allOf: [
      { $ref: `#/components/schemas/${schema[kind]}` },
      {
        properties: {
          [envelopeHeader.type]: { const: type },
          ...(outcome !== undefined && { [envelopeHeader.outcome]: { const: outcome } }),
        },
      },
    ],
  };
}

/** CloudEvents 1.0 in binary mode, and the extensions of docs/wire.md. */
function headerSchemas(): Json {
  const h = envelopeHeader;
  const text = (description: string, more: Json = {}): Json => ({ type: 'string', description, ...more });
  const extended = (properties: Json, required: readonly string[] = []): Json => ({
    allOf: [
      { $ref: '#/components/schemas/Headers' },
      { type: 'object', ...(required.length > 0 && { required }), properties },
    ],
  });
  const deadline = {
    [h.deadline]: text('On a request: when the caller stops waiting', { format: 'date-time' }),
  };
  return {
    Headers: {
      type: 'object',
      required: [h.id, h.type],
      properties: {
        [h.id]: text('Unique per message; a message that is sent again keeps it'),
        [h.type]: text("The contract's type; on a reply, that of its command"),
        [h.specVersion]: { const: '1.0' },
        [h.source]: text('The sending service'),
        [h.time]: text('When it was made', { format: 'date-time' }),
        [h.subject]: text('The key: messages of one key are handled one after another'),
        [h.correlationId]: text('Shared by everything that one request from outside caused'),
        [h.causationId]: text('The id of the message whose handling sent this one'),
        [h.contentType]: { const: 'application/json' },
        [h.traceparent]: text('W3C trace context'),
        [h.tracestate]: text('W3C trace context'),
        'Nats-Msg-Id': text('On what a stream stores: what the stream de-duplicates by'),
      },
    },
    QueryHeaders: extended(deadline),
    CommandHeaders: extended({
      ...deadline,
      [h.replyTo]: text('On a durable command: the subject that the answer is published to'),
    }),
    EventHeaders: extended({
      [h.aggregateVersion]: text("The aggregate's version after the event, where the contract has one", {
        pattern: '^[0-9]+$',
      }),
    }),
    ReplyHeaders: extended(
      {
        [h.outcome]: { type: 'string', enum: ['ok', 'refused', 'failed'] },
        [h.replayed]: text('`true`: the answer of an earlier time to the same id'),
      },
      [h.outcome, h.causationId],
    ),
    DeadLetterHeaders: {
      type: 'object',
      required: ['flotilla-error-code', 'flotilla-error-message', 'flotilla-service', 'flotilla-consumer'],
      properties: {
        'flotilla-error-code': text('Why'),
        'flotilla-error-message': text('Why, in words'),
        'flotilla-error-stack': text('A JSON string'),
        'flotilla-attempts': text('Deliveries so far', { pattern: '^[0-9]+$' }),
        'flotilla-service': text('Who could not handle it'),
        'flotilla-consumer': text('Who could not handle it'),
        'flotilla-original-subject': text('Where it came from'),
        'flotilla-original-stream': text('Where it came from'),
        'flotilla-original-sequence': text('Where it came from', { pattern: '^[0-9]+$' }),
        'flotilla-died-at': text('When', { format: 'date-time' }),
        'flotilla-history': text('JSON: the latest attempts, with time, code and message'),
      },
    },
  };
}

function keyParameters(): Json {
  return {
    partition: { $ref: '#/components/parameters/partition' },
    key: { $ref: '#/components/parameters/key' },
  };
}

function refs(names: readonly string[]): Json {
  return Object.fromEntries(names.map((name) => [name, { $ref: `#/components/messages/${name}` }]));
}

function namesOf(parties: readonly Party[], hows: readonly Party['how'][]): string[] {
  return [...new Set(parties.filter(({ how }) => hows.includes(how)).map(({ service }) => service))].sort();
}

function sorted<T>(values: readonly T[], key: (value: T) => string): T[] {
  return values.toSorted((a, b) => (key(a) < key(b) ? -1 : 1));
}

function byKey(object: Json): Json {
  return Object.fromEntries(sorted(Object.entries(object), ([key]) => key));
}
