import {
  contractsOf,
  defineCommand,
  defineEvent,
  defineQuery,
  type AnyMessageClass,
} from '@flotilla/contracts-protocol';
import { z } from 'zod';
import { asyncApiDocument } from './asyncapi.ts';
import { apiChanges, messageChanges } from './document-changes.ts';
import type { Json } from './schema-document.ts';

const id = z.object({ id: z.string(), at: z.string() });
const names = { owner: 'till', name: 'Pay', version: 1 } as const;
const refused = { errors: { Broke: z.object({ left: z.int() }) } };

const pay = defineCommand({ ...names, payload: id, reply: id, ...refused, key: (payload) => payload.id });
const paid = defineEvent({ owner: 'till', name: 'Paid', version: 1, payload: id, aggregate: ({ id }) => id });

const documentOf = (...classes: AnyMessageClass[]): Json =>
  asyncApiDocument({ version: '1', manifests: [], contracts: contractsOf(classes), comments: new Map() });
const changes = (before: AnyMessageClass, ...after: AnyMessageClass[]): string[] =>
  messageChanges(documentOf(before), documentOf(...after)).map(
    ({ of, part, path, text, breaking }) =>
      `${breaking ? 'breaking' : 'ok'}: ${[of, part, path].filter((each) => each !== '').join(' ')}: ${text}`,
  );

describe('a change of a message', () => {
  it('is none where nothing changed', () => {
    expect(changes(pay, pay)).toEqual([]);
  });

  it('that adds one is compatible, that removes one is breaking', () => {
    expect(changes(paid, paid, pay)).toEqual(['ok: till.Pay.v1: a new command']);
    expect(changes(paid)).toEqual(['breaking: till.Paid.v1: the event is gone']);
  });

  it('that removes a version is compatible once the next one was there beside it', () => {
    const next = defineCommand({ ...names, version: 2, payload: id });
    expect(changes(pay, next)).toEqual([
      'breaking: till.Pay.v1: the command is gone',
      'ok: till.Pay.v2: a new command',
    ]);
    expect(messageChanges(documentOf(pay, next), documentOf(next))).toEqual([
      expect.objectContaining({ of: 'till.Pay.v1', breaking: false }),
    ]);
  });

  it('that makes a query of a command is breaking', () => {
    const query = defineQuery({ ...names, payload: id, reply: id });
    expect(changes(pay, query)).toEqual(['breaking: till.Pay.v1: the command became a query']);
  });

  it('that changes the key is breaking, because messages of one key would overtake each other', () => {
    const other = defineCommand({
      ...names,
      payload: id,
      reply: id,
      ...refused,
      key: (payload) => payload.at,
    });
    expect(changes(pay, other)).toEqual(['breaking: till.Pay.v1: the key {id} became {at}']);
    const none = defineCommand({ ...names, payload: id, reply: id, ...refused });
    expect(changes(pay, none)).toEqual(["breaking: till.Pay.v1: the key {id} became the message's own id"]);
  });

  it('that changes the subject is breaking', () => {
    const before = documentOf(paid);
    const after = structuredClone(before) as { channels: Record<string, { address: string }> };
    for (const channel of Object.values(after.channels))
      channel.address = channel.address.replace('evt.', 'fact.');
    expect(messageChanges(before, after as unknown as Json)).toEqual([
      expect.objectContaining({
        of: 'till.Paid.v1',
        breaking: true,
        text: expect.stringContaining('fact.till') as string,
      }),
    ]);
  });

  it('that drops the aggregate version is breaking, that adds it is compatible', () => {
    const counted = defineEvent({
      ...{ owner: 'till', name: 'Paid', version: 1, payload: id },
      aggregate: (payload) => payload.id,
      aggregateVersion: (payload) => Number(payload.at),
    });
    expect(changes(paid, counted)[0]).toMatch(/^ok/);
    expect(changes(counted, paid)[0]).toMatch(/^breaking/);
  });

  it('that requires more is breaking in commands and in events, and an optional field is not', () => {
    const more = id.extend({ more: z.string() });
    const maybe = id.extend({ more: z.string().optional() });
    const command = (payload: typeof more | typeof maybe): AnyMessageClass =>
      defineCommand({ ...names, payload, reply: id, ...refused, key: ({ id }) => id });
    const event = (payload: typeof more | typeof maybe): AnyMessageClass =>
      defineEvent({ owner: 'till', name: 'Paid', version: 1, payload, aggregate: ({ id }) => id });
    expect(changes(pay, command(more))).toEqual(['breaking: till.Pay.v1 payload more: a new required field']);
    expect(changes(paid, event(more))).toEqual(['breaking: till.Paid.v1 payload more: a new required field']);
    expect(changes(pay, command(maybe))).toEqual(['ok: till.Pay.v1 payload more: a new optional field']);
    expect(changes(paid, event(maybe))).toEqual(['ok: till.Paid.v1 payload more: a new optional field']);
  });

  it('that takes from a reply is breaking, that adds a reply is not', () => {
    const less = defineCommand({
      ...{ ...names, payload: id, ...refused },
      reply: z.object({ id: z.string() }),
      key: (payload) => payload.id,
    });
    expect(changes(pay, less)).toEqual(['breaking: till.Pay.v1 reply at: the field is gone']);
    const silent = defineCommand({ ...names, payload: id, ...refused, key: (payload) => payload.id });
    expect(changes(silent, pay)).toEqual(['ok: till.Pay.v1 reply: it answers now']);
    expect(changes(pay, silent)[0]).toMatch(/^breaking: till.Pay.v1 reply/);
  });

  it('that adds or removes a refusal is compatible, that changes its data may not be', () => {
    const free = defineCommand({ ...names, payload: id, reply: id, key: (payload) => payload.id });
    expect(changes(free, pay)).toEqual(['ok: till.Pay.v1: a new refusal Broke']);
    expect(changes(pay, free)).toEqual(['ok: till.Pay.v1: the refusal Broke is gone']);
    const other = defineCommand({
      ...{ ...names, payload: id, reply: id },
      errors: { Broke: z.object({ left: z.string() }) },
      key: (payload) => payload.id,
    });
    expect(changes(pay, other)).toEqual([
      'breaking: till.Pay.v1 refusal Broke left: the type integer became string',
    ]);
  });

  it('of how long callers wait is compatible', () => {
    const patient = defineCommand({
      ...{ ...names, payload: id, reply: id, ...refused, timeoutMs: 9_000 },
      key: (payload) => payload.id,
    });
    expect(changes(pay, patient)).toEqual(['ok: till.Pay.v1: callers wait 9000 ms, not 5000 ms']);
  });
});

describe('a change of the HTTP API', () => {
  const text = { type: 'string' };
  const get: Json = {
    description: 'Scope: `x`',
    parameters: [{ name: 'limit', in: 'query', required: false, schema: { type: 'integer', maximum: 9 } }],
    responses: {
      200: {
        content: {
          'application/json': {
            schema: { type: 'object', required: ['a'], properties: { a: text, b: text } },
          },
        },
      },
    },
  };
  const post: Json = {
    requestBody: {
      required: true,
      content: { 'application/json': { schema: { type: 'object', properties: { a: text } } } },
    },
    responses: {},
  };
  const api = (operations: Json): Json => ({ paths: { '/a': operations } });
  const between = (before: Json, after: Json): string[] =>
    apiChanges(api(before), api(after)).map(
      ({ of, part, path, breaking }) =>
        `${breaking ? 'breaking' : 'ok'}: ${[of, part, path].filter((each) => each !== '').join(' ')}`,
    );

  it('adds and removes operations', () => {
    expect(between({ get }, { get })).toEqual([]);
    expect(between({ get }, { get, post })).toEqual(['ok: POST /a']);
    expect(between({ get, post }, { get })).toEqual(['breaking: POST /a']);
  });

  it('needs another scope, or none', () => {
    expect(between({ get }, { get: { ...get, description: 'Scope: `y`' } })).toEqual(['breaking: GET /a']);
    const { description: _, ...open } = get;
    expect(between({ get }, { get: open })).toEqual(['ok: GET /a']);
  });

  it('adds, removes and tightens parameters', () => {
    const key = { name: 'key', in: 'header', schema: text };
    const parameters = get['parameters'] as Json[];
    const having = (...list: Json[]): Json => ({ get: { ...get, parameters: list } });
    expect(between({ get }, having(...parameters, { ...key, required: true }))).toEqual([
      'breaking: GET /a header key',
    ]);
    expect(between({ get }, having(...parameters, { ...key, required: false }))).toEqual([
      'ok: GET /a header key',
    ]);
    expect(between({ get }, having())).toEqual(['breaking: GET /a query limit']);
    const tighter = { ...parameters[0], schema: { type: 'integer', maximum: 8 } };
    expect(between({ get }, having(tighter))).toEqual(['breaking: GET /a query limit']);
  });

  it('takes other bodies', () => {
    const body = (schema: Json): Json => ({
      post: { ...post, requestBody: { required: true, content: { 'application/json': { schema } } } },
    });
    const fields = { a: text, b: text };
    expect(between({ post }, body({ type: 'object', properties: fields }))).toEqual(['ok: POST /a body b']);
    expect(between({ post }, body({ type: 'object', properties: fields, required: ['b'] }))).toEqual([
      'breaking: POST /a body b',
    ]);
    expect(between({ post }, { post: { responses: {} } })).toEqual(['breaking: POST /a body']);
  });

  it('gives other answers', () => {
    const answer = (schema: Json): Json => ({
      get: { ...get, responses: { 200: { content: { 'application/json': { schema } } } } },
    });
    const more = { type: 'object', required: ['a', 'c'], properties: { a: text, b: text, c: text } };
    expect(between({ get }, answer(more))).toEqual(['ok: GET /a 200 c']);
    expect(between({ get }, answer({ type: 'object', properties: { a: text, b: text } }))).toEqual([
      'breaking: GET /a 200 a',
    ]);
    expect(between({ get }, { get: { ...get, responses: { 202: {} } } })).toEqual([
      'breaking: GET /a 200',
      'breaking: GET /a 202',
    ]);
  });
});
