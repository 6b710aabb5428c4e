import {
  contractsOf,
  defineCommand,
  defineEvent,
  defineQuery,
  defineService,
} from '@flotilla/contracts-protocol';
import { z } from 'zod';
import { asyncApiDocument, keyExpression } from './asyncapi.ts';
import type { ContractComments } from './doc-comments.ts';
import { at } from './schema-document.ts';
import { asyncApiProblems, openApiProblems } from './validate-documents.ts';

class Pay extends defineCommand({
  owner: 'till',
  name: 'Pay',
  version: 1,
  payload: z.object({
    id: z.uuid(),
    amount: z.int(),
    note: z
      .string()
      .meta({ examples: ['thanks'] })
      .optional(),
  }),
  reply: z.object({ left: z.int() }),
  errors: { Broke: z.object({ left: z.int() }) },
  key: (payload) => payload.id,
}) {}
class Balance extends defineQuery({
  owner: 'till',
  name: 'Balance',
  version: 1,
  payload: z.object({}),
  reply: z.object({ left: z.int() }),
}) {}
class Paid extends defineEvent({
  owner: 'till',
  name: 'Paid',
  version: 1,
  payload: z.object({ id: z.uuid(), version: z.int() }),
  aggregate: (payload) => payload.id,
  aggregateVersion: (payload) => payload.version,
}) {}

const comments = new Map<string, ContractComments>([
  [
    'till.Pay.v1',
    {
      text: 'Takes money.',
      payload: { text: 'of a constant', fields: { amount: { text: 'In pence.' } } },
      reply: {},
      errors: { Broke: { text: 'There is too little.', fields: { left: { text: 'What there is.' } } } },
    },
  ],
]);
const document = asyncApiDocument({
  version: '1.2.3',
  manifests: [
    defineService({ name: 'till', handles: [Pay, Balance], publishes: [Paid] }),
    defineService({
      name: 'shop',
      calls: [Balance],
      sends: [Pay],
      reacts: { receipts: { events: [Paid], ordered: true } },
    }),
  ],
  contracts: contractsOf([Paid, Pay, Balance]),
  comments,
});
const messages = at(document, 'components', 'messages');

describe('the AsyncAPI document', () => {
  it('is valid for the official parser', async () => {
    expect(await asyncApiProblems(document)).toEqual([]);
  });

  it('has the subjects of the wire', () => {
    const channels = at(document, 'channels');
    expect(Object.fromEntries(Object.keys(channels).map((id) => [id, at(channels, id)['address']]))).toEqual({
      'rpc.till.Pay.v1': 'rpc.till.Pay.v1',
      'rpc.till.Pay.v1.reply': null,
      'cmd.till.Pay.v1': 'cmd.till.Pay.v1.{partition}.{key}',
      'rpc.till.Balance.v1': 'rpc.till.Balance.v1',
      'rpc.till.Balance.v1.reply': null,
      'evt.till.Paid.v1': 'evt.till.Paid.v1.{partition}.{key}',
      'reply.shop': 'reply.shop.{partition}.{key}',
      dlq: 'dlq.{service}.{consumer}',
    });
  });

  it('says who sends and receives what', () => {
    const operations = at(document, 'operations');
    expect(
      Object.fromEntries(Object.keys(operations).map((id) => [id, at(operations, id)['action']])),
    ).toEqual({
      'shop.calls.till.Balance.v1': 'send',
      'shop.dead-letters': 'send',
      'shop.reacts.receipts.till.Paid.v1': 'receive',
      'shop.sends.till.Pay.v1': 'send',
      'till.answers.till.Balance.v1': 'receive',
      'till.answers.till.Pay.v1': 'receive',
      'till.dead-letters': 'send',
      'till.handles.till.Pay.v1': 'receive',
      'till.publishes.till.Paid.v1': 'send',
    });
    expect(at(operations, 'shop.sends.till.Pay.v1', 'reply')).toMatchObject({
      address: { location: '$message.header#/ce-replyto' },
      channel: { $ref: '#/channels/reply.shop' },
      messages: ['till.Pay.v1.ok', 'till.Pay.v1.refused.Broke', 'failed'].map((name) => ({
        $ref: `#/channels/reply.shop/messages/${name}`,
      })),
    });
    expect(at(messages, 'till.Paid.v1', 'x-flotilla')).toEqual({
      kind: 'event',
      version: 1,
      key: '{id}',
      aggregateVersion: '{version}',
      sentBy: ['till'],
      receivedBy: ['shop'],
    });
  });

  it('has payloads, answers and refusals with what the sources say of them', () => {
    expect(at(messages, 'till.Pay.v1')).toMatchObject({
      summary: 'Takes money.',
      payload: {
        properties: {
          id: { type: 'string', format: 'uuid' },
          amount: { type: 'integer', description: 'In pence.' },
          note: { examples: ['thanks'] },
        },
        required: ['id', 'amount'],
      },
    });
    expect(at(messages, 'till.Pay.v1', 'payload', 'properties', 'id')['pattern']).toBeUndefined();
    expect(at(messages, 'till.Pay.v1', 'payload')['description']).toBeUndefined();
    expect(at(messages, 'till.Pay.v1.ok', 'payload')).toEqual({
      type: 'object',
      properties: { left: { type: 'integer' } },
      required: ['left'],
    });
    expect(at(messages, 'till.Pay.v1.refused.Broke')).toMatchObject({
      summary: 'There is too little.',
      payload: {
        properties: {
          code: { const: 'Broke' },
          data: { properties: { left: { description: 'What there is.' } } },
        },
      },
    });
  });

  it('does not depend on the order in which things are found', () => {
    const again = asyncApiDocument({
      version: '1.2.3',
      manifests: [
        defineService({ name: 'till', handles: [Pay, Balance], publishes: [Paid] }),
        defineService({
          name: 'shop',
          calls: [Balance],
          sends: [Pay],
          reacts: { receipts: { events: [Paid], ordered: true } },
        }),
      ],
      contracts: contractsOf([Balance, Paid, Pay]),
      comments,
    });
    expect(JSON.stringify(again)).toBe(JSON.stringify(document));
  });
});

describe('the official parsers', () => {
  it('say where an AsyncAPI document is wrong', async () => {
    const broken = structuredClone(document);
    at(broken, 'components', 'messages', 'till.Paid.v1')['payload'] = { type: 'objekt' };
    expect((await asyncApiProblems(broken)).join('\n')).toMatch(/till\.Paid\.v1\.payload/);
    const dangling = structuredClone(document);
    at(dangling, 'operations', 'till.publishes.till.Paid.v1')['channel'] = { $ref: '#/channels/nowhere' };
    expect((await asyncApiProblems(dangling)).join('\n')).toMatch(/nowhere|does not exist/);
  });

  it('say where an OpenAPI document is wrong, and leave a valid one alone', async () => {
    const info = { title: 'x', version: '1' };
    const openapi = (responses: unknown) => ({
      openapi: '3.1.0',
      info,
      paths: { '/a': { get: { responses } } },
    });
    const valid = openapi({ 200: { description: 'fine', content: {} } });
    const before = JSON.stringify(valid);
    expect(await openApiProblems(valid)).toEqual([]);
    expect(JSON.stringify(valid)).toBe(before);
    expect((await openApiProblems(openapi({ 200: {} }))).join('\n')).toMatch(/description/);
  });
});

describe('a key', () => {
  it.each([
    [(payload: { id: string }) => payload.id, '{id}'],
    [(payload: { order: { id: string } }) => payload.order.id, '{order.id}'],
    [(payload: { a: string; b: string }) => `${payload.a}:${payload.b}`, '{a}:{b}'],
    [(payload: { a: string }) => payload.a.toLowerCase(), '{a.toLowerCase}'],
    [
      () => {
        throw new Error('no');
      },
      'computed',
    ],
    [undefined, undefined],
  ])('is shown as it is read: %s', (of, expression) => {
    expect(keyExpression(of as ((payload: never) => string) | undefined)).toBe(expression);
  });
});
