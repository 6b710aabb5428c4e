import { z } from 'zod';
import {
  contractNameOf,
  defineEvent,
  defineService,
  hasWildcard,
  patternEventFilter,
  patternEventStream,
  patternEventSubject,
  patternRequestSubject,
  patternRoute,
  routeOfSubject,
  type Pattern,
} from './index.ts';

class Shipped extends defineEvent({
  owner: 'shipping',
  name: 'Shipped',
  version: 2,
  payload: z.object({ orderId: z.string() }),
  aggregate: ({ orderId }) => orderId,
}) {}

describe('a message pattern', () => {
  it.each<[Pattern, string, string]>([
    ['order.created', 'order.created', 'order.created'],
    [42, '42', '42'],
    [{ cmd: 'sum' }, '{"cmd":"sum"}', '=7B=22cmd=22=3A=22sum=22=7D'],
    [{ b: 1, a: { y: 'é', x: true } }, '{"a":{"x":true,"y":"é"},"b":1}', expect.any(String) as string],
    [{ cmd: 'a.*.b' }, '{"cmd":"a.*.b"}', '=7B=22cmd=22=3A=22a=2E=2A=2Eb=22=7D'],
    ['say "hi" now', 'say "hi" now', 'say=20=22hi=22=20now'],
    ['a..b', 'a..b', 'a.=.b'],
  ])('%j has a route and a subject, from which the route can be read', (pattern, route, tokens) => {
    expect(patternRoute(pattern)).toBe(route);
    expect(patternRequestSubject(route)).toEqual(
      typeof tokens === 'string' ? `pattern.rpc.${tokens}` : tokens,
    );
    expect(patternEventStream(route)).toBe('PATTERNS');
    expect(routeOfSubject(patternRequestSubject(route))).toBe(route);
    expect(routeOfSubject(patternEventSubject(route, 'k'))).toBe(route);
    expect(hasWildcard(route)).toBe(false);
  });

  it('may be a contract, as its class or its type, and then has the subjects of the contract', () => {
    expect(patternRoute(Shipped)).toBe('shipping.Shipped.v2');
    expect(contractNameOf('shipping.Shipped.v2')).toEqual({ owner: 'shipping', name: 'Shipped', version: 2 });
    expect(patternRequestSubject('shipping.Shipped.v2')).toBe('rpc.shipping.Shipped.v2');
    expect(patternEventSubject('shipping.Shipped.v2', 'order-1')).toBe('evt.shipping.Shipped.v2.2.order-1');
    expect(patternEventFilter('shipping.Shipped.v2')).toBe('evt.shipping.Shipped.v2.*.*');
    expect(patternEventStream('shipping.Shipped.v2')).toBe('EVT_shipping');
    expect(routeOfSubject('evt.shipping.Shipped.v2.2.order-1')).toBe('shipping.Shipped.v2');
    for (const near of ['shipping.shipped.v2', 'shipping.Shipped', 'Shipping.Shipped.v2', 'a.B.v0']) {
      expect(contractNameOf(near)).toBeUndefined();
    }
  });

  it('keeps wildcards', () => {
    expect(patternEventFilter('order.*.paid')).toBe('pattern.evt.order.*.paid');
    expect(patternRequestSubject('order.>')).toBe('pattern.rpc.order.>');
    expect(['order.*', '>', 'order', 'a*b', '{"cmd":"*"}'].map(hasWildcard)).toEqual([
      true,
      true,
      false,
      false,
      false,
    ]);
  });

  it('that cannot be is refused', () => {
    expect(() => patternRoute(undefined as unknown as Pattern)).toThrow(/undefined is no message pattern/);
    expect(() => patternRequestSubject('')).toThrow(/empty/);
    expect(() => patternRequestSubject('a.>.b')).toThrow(/only at the end/);
    expect(routeOfSubject('cmd.a.B.v1.0.x')).toBeUndefined();
  });
});

describe('the patterns of a manifest', () => {
  it('default to none', () => {
    expect(defineService({ name: 'shop' }).patterns).toEqual({
      answers: [],
      reacts: [],
      calls: [],
      emits: [],
    });
  });

  it('must fit: every problem is named', () => {
    expect(() =>
      defineService({
        name: 'shop',
        patterns: {
          answers: [Shipped, 'a', 'a'],
          reacts: ['b.>.c'],
          calls: ['x.*'],
          emits: [Shipped, 'c.*'],
        },
      }),
    ).toThrow(
      /patterns\.answers: shipping\.Shipped\.v2 is a event\n.*a is listed twice\n.*only at the end\n.*emits: shipping\.Shipped\.v2 belongs to shipping/s,
    );
  });
});
