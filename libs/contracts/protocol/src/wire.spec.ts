import { z } from 'zod';
import {
  commandFilter,
  commandSubject,
  decodeAnswer,
  decodeEnvelope,
  defineEvent,
  encodeAnswer,
  encodeEnvelope,
  eventFilter,
  eventSubject,
  keyOfToken,
  MalformedEnvelopeError,
  readFailure,
  replySubject,
  rpcSubject,
  subjectToken,
  type Envelope,
} from './index.ts';

const { contract } = defineEvent({
  owner: 'orders',
  name: 'OrderPlaced',
  version: 1,
  payload: z.object({ orderId: z.string() }),
  aggregate: (payload) => payload.orderId,
});

describe('subjects', () => {
  it('are derived from the contract', () => {
    expect([
      rpcSubject(contract),
      commandSubject(contract, 'o-1'),
      eventSubject(contract, 'o-1'),
      replySubject('orders', 'o-1'),
      commandFilter(contract),
      eventFilter(contract, 3),
    ]).toMatchSnapshot();
  });

  it.each([
    ['85123A', '85123A'],
    ['BANK CHARGES', 'BANK=20CHARGES'],
    ['a.b*>', 'a=2Eb=2A=3E'],
    ['é', '=C3=A9'],
    ['', '='],
  ])('turn the key "%s" into the token %s, and back', (key, token) => {
    expect(subjectToken(key)).toBe(token);
    expect(keyOfToken(token)).toBe(key);
  });
});

describe('the envelope', () => {
  const full: Envelope = {
    id: 'm-1',
    type: contract.type,
    source: 'orders',
    time: '2026-01-02T03:04:05.678Z',
    subject: 'o-1',
    correlationId: 'c-1',
    causationId: 'm-0',
    deadline: Date.parse('2026-01-02T03:04:10.000Z'),
    aggregateVersion: 4,
    replyTo: 'reply.orders.1.o-1',
    outcome: 'refused',
    replayed: true,
    traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
    tracestate: 'a=b',
  };

  it('survives the way through the headers', () => {
    const headers = encodeEnvelope(full);
    expect(headers).toMatchSnapshot();
    expect(decodeEnvelope((name) => headers[name])).toEqual(full);
  });

  it('leaves out of a brief message what its id stands for, and nothing else', () => {
    const alone: Envelope = { ...full, subject: full.id, correlationId: full.id };
    const headers = encodeEnvelope(alone, true);
    expect(headers).not.toHaveProperty('ce-subject');
    expect(headers).not.toHaveProperty('ce-correlationid');
    expect(decodeEnvelope((name) => headers[name])).toEqual(alone);
    expect(encodeEnvelope(full, true)).toEqual(encodeEnvelope(full));
  });

  it('of an answer is completed by the request', () => {
    const fields = { id: 'a-1', type: contract.type, source: 'inventory', causationId: 'm-1' } as const;
    const headers = encodeAnswer({ ...fields, outcome: 'ok', replayed: true });
    const header = (name: string): string | undefined => headers[name];
    expect(decodeAnswer(header, encodeEnvelope(full))).toMatchObject({
      ...fields,
      outcome: 'ok',
      replayed: true,
      subject: 'o-1',
      correlationId: 'c-1',
    });
    expect(decodeAnswer(header, { 'ce-id': 'm-1' })).toMatchObject({ subject: 'm-1', correlationId: 'm-1' });
    const told: Record<string, string> = { ...headers, 'ce-subject': 's', 'ce-correlationid': 'c' };
    expect(decodeAnswer((name) => told[name], encodeEnvelope(full))).toMatchObject({
      subject: 's',
      correlationId: 'c',
    });
  });

  it('reads each deadline as itself, whichever came before', () => {
    for (const deadline of [1_000, 2_000, 2_000, 1_000]) {
      const headers = encodeEnvelope({ ...full, deadline });
      expect(headers['ce-deadline']).toBe(new Date(deadline).toISOString());
      expect(decodeEnvelope((name) => headers[name]).deadline).toBe(deadline);
    }
  });

  it('needs no more than an id and a type from a plain client', () => {
    const headers: Record<string, string> = { 'ce-id': 'm-1', 'ce-type': 'x.Y.v1' };
    expect(decodeEnvelope((name) => headers[name])).toMatchObject({
      subject: 'm-1',
      correlationId: 'm-1',
      source: 'unknown',
    });
  });

  it('reports all that is wrong with it', () => {
    const headers: Record<string, string> = {
      'ce-specversion': '0.3',
      'ce-deadline': 'soon',
      'ce-aggregateversion': 'x',
      'ce-outcome': 'maybe',
    };
    const decode = (): unknown => decodeEnvelope((name) => headers[name]);
    expect(decode).toThrow(MalformedEnvelopeError);
    expect(decode).toThrow(
      /ce-id: is missing; ce-type: is missing; ce-specversion.*ce-deadline.*ce-aggregateversion.*ce-outcome/,
    );
  });

  it('reads a failure of any shape', () => {
    expect(readFailure({ code: 'X', message: 'm', retry: 'never', data: 1 })).toEqual({
      code: 'X',
      message: 'm',
      retry: 'never',
      data: 1,
    });
    expect(readFailure('boom')).toMatchObject({ code: 'UNREADABLE_FAILURE' });
    expect(readFailure(undefined)).toMatchObject({ code: 'UNREADABLE_FAILURE' });
  });
});
