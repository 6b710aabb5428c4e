import { decodeAnswer, decodeEnvelope, defineQuery } from '@flotilla/contracts-protocol';
import { runWithContext } from '@flotilla/observability';
import { ManualClock } from '@flotilla/testing';
import { z } from 'zod';
import { OutgoingMessages } from './outgoing.ts';

class GetPrice extends defineQuery({
  owner: 'shop',
  name: 'GetPrice',
  version: 1,
  payload: z.object({ sku: z.string() }),
  reply: z.number(),
}) {}

const clock = new ManualClock();
const asker = new OutgoingMessages('asker', clock);
const shop = new OutgoingMessages('shop', clock);
const envelopeOf = (headers: Readonly<Record<string, string>>) => decodeEnvelope((name) => headers[name]);

describe('a request', () => {
  it('leaves out what is its own id', () => {
    const { id, headers } = asker.request(new GetPrice({ sku: 'a' }), clock.now() + 1_000);
    expect(headers).not.toHaveProperty('ce-subject');
    expect(headers).not.toHaveProperty('ce-correlationid');
    expect(envelopeOf(headers)).toMatchObject({ id, subject: id, correlationId: id });
  });

  it('says what it belongs to', () => {
    const { headers } = runWithContext({ correlationId: 'c-1', messageId: 'm-1' }, () =>
      asker.request(new GetPrice({ sku: 'a' }), clock.now() + 1_000),
    );
    expect(envelopeOf(headers)).toMatchObject({ correlationId: 'c-1', causationId: 'm-1' });
  });
});

describe('an answer', () => {
  it('does not repeat what its request said, and is read as if it did', () => {
    const { id, headers } = runWithContext({ correlationId: 'c-1' }, () =>
      asker.request(new GetPrice({ sku: 'a' }), clock.now() + 1_000),
    );
    const answer = shop.reply(envelopeOf(headers), 'a-1', 'ok', 7);
    expect(answer).toEqual({
      headers: {
        'ce-specversion': '1.0',
        'content-type': 'application/json',
        'ce-id': 'a-1',
        'ce-type': 'shop.GetPrice.v1',
        'ce-source': 'shop',
        'ce-causationid': id,
        'ce-outcome': 'ok',
      },
      body: '7',
    });
    expect(decodeAnswer((name) => answer.headers[name], headers)).toMatchObject({
      subject: id,
      correlationId: 'c-1',
    });
  });

  it('has all its headers where it goes to a stream', () => {
    const request = asker.request(new GetPrice({ sku: 'a' }), clock.now() + 1_000);
    const to = { ...envelopeOf(request.headers), replyTo: 'reply.asker.1.s-1', correlationId: 'c-2' };
    const { headers } = shop.reply(to, 'a-1', 'ok', null, true);
    expect(envelopeOf(headers)).toMatchObject({
      subject: to.subject,
      correlationId: 'c-2',
      causationId: request.id,
      replayed: true,
    });
    expect(headers).toHaveProperty('ce-time');
  });
});
