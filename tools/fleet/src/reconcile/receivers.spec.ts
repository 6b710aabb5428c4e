import { defineCommand, defineEvent, defineService } from '@flotilla/contracts-protocol';
import { z } from 'zod';
import { consumerOf, receiversOf, typeOf } from './receivers.ts';

class Open extends defineCommand({ owner: 'shop', name: 'Open', version: 1, payload: z.object({}) }) {}
class Opened extends defineEvent({
  owner: 'shop',
  name: 'Opened',
  version: 2,
  payload: z.object({ id: z.string() }),
  aggregate: ({ id }) => id,
}) {}

const shop = defineService({ name: 'shop', handles: [Open], publishes: [Opened] });
const sign = defineService({
  name: 'sign',
  reacts: { lights: { events: [Opened] }, bell: { events: [Opened], ordered: true } },
});

describe('who takes a message', () => {
  const receivers = receiversOf([shop, sign]);

  it('is what the manifests say', () => {
    expect(receivers.get('shop.Open.v1')).toEqual([
      { service: 'shop', stream: 'CMD_shop', consumer: 'shop', ordered: false, inbox: 'commands' },
    ]);
    expect(receivers.get('shop.Opened.v2')?.map(({ consumer, inbox }) => [consumer, inbox])).toEqual([
      ['sign-lights', 'lights'],
      ['sign-bell', 'bell'],
    ]);
    expect(receivers.get('shop.Closed.v1')).toBeUndefined();
  });

  it('has a consumer for each partition where the order counts', () => {
    const [lights, bell] = receivers.get('shop.Opened.v2') ?? [];
    const subject = 'evt.shop.Opened.v2.7.abc';
    expect([lights, bell].map((each) => each && consumerOf(each, subject))).toEqual([
      'sign-lights',
      'sign-bell-p07',
    ]);
  });

  it.each([
    ['evt.shop.Opened.v2.7.abc', 'shop.Opened.v2'],
    ['cmd.shop.Open.v1.0.k', 'shop.Open.v1'],
    ['reply.shop.tab:1', undefined],
    ['pattern.evt.order.created', undefined],
  ])('is found by the type in its subject: %s', (subject, type) => {
    expect(typeOf(subject)).toBe(type);
  });
});
