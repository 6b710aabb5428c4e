import { z } from 'zod';
import { defineCommand, defineEvent, defineQuery, defineService } from '@flotilla/contracts-protocol';
import { patternConsumer, permissionsOf, topologyOf } from './index.ts';

const payload = z.object({ id: z.string() });
class Place extends defineCommand({ owner: 'shop', name: 'Place', version: 1, payload }) {}
class Find extends defineQuery({ owner: 'shop', name: 'Find', version: 1, payload, reply: payload }) {}
class Reserve extends defineCommand({ owner: 'stock', name: 'Reserve', version: 2, payload }) {}
class Release extends defineCommand({ owner: 'stock', name: 'Release', version: 1, payload }) {}
class Placed extends defineEvent({
  owner: 'shop',
  name: 'Placed',
  version: 1,
  payload,
  aggregate: ({ id }) => id,
}) {}
class Reserved extends defineEvent({
  owner: 'stock',
  name: 'Reserved',
  version: 1,
  payload,
  aggregate: ({ id }) => id,
}) {}

const shop = defineService({
  name: 'shop',
  handles: [Place, Find],
  sends: [Reserve, Release],
  publishes: [Placed],
  reacts: { stock: { events: [Reserved] } },
});
const stock = defineService({ name: 'stock', handles: [Reserve, Release], publishes: [Reserved] });
const views = defineService({
  name: 'views',
  calls: [Find],
  reacts: { view: { events: [Placed, Reserved], ordered: true } },
});

describe('the topology of a fleet', () => {
  it('has a stream for each owner and a consumer for each subscription', () => {
    const { streams, consumers } = topologyOf([shop, stock, views]);
    expect(streams.map(({ name, config }) => `${name} ${config.subjects?.join()}`)).toMatchSnapshot();
    expect(
      consumers.map(({ stream, name, config }) => `${stream}/${name} ${config.filter_subjects?.join(' ')}`),
    ).toMatchSnapshot();
  });

  it('fixes every setting that matters', () => {
    const { streams, consumers } = topologyOf([shop], { replicas: 3 });
    expect(streams).toMatchSnapshot();
    expect(consumers[0]).toMatchSnapshot();
  });

  it('delivers to an ordered consumer one message of a partition at a time', () => {
    const { consumers } = topologyOf([views], { maxAckPending: 50 });
    expect(consumers).toHaveLength(32);
    expect(new Set(consumers.map(({ config }) => config.max_ack_pending))).toEqual(new Set([1]));
    expect(consumers[3]).toMatchObject({
      stream: 'EVT_shop',
      name: 'views-view-p03',
      config: { filter_subjects: ['evt.shop.Placed.v1.3.*'] },
    });
  });

  it('does not depend on the order of the services', () => {
    expect(topologyOf([views, stock, shop])).toEqual(topologyOf([shop, stock, views]));
  });

  it('has a queue for commands that nobody answers yet', () => {
    expect(topologyOf([shop]).streams.map(({ name }) => name)).toContain('CMD_stock');
  });
});

describe('the permissions of a service', () => {
  it('are what its manifest says', () => {
    expect(permissionsOf(stock, [shop, stock, views])).toMatchSnapshot();
    expect(permissionsOf(shop, [shop, stock, views], { watches: ['evt.views.>'] })).toMatchSnapshot();
  });
});

describe('the patterns of Nest controllers', () => {
  const billing = defineService({
    name: 'billing',
    database: false,
    patterns: {
      answers: [{ cmd: 'sum' }, Find],
      reacts: ['order.created', 'order.*', Placed],
      calls: ['tax.rate'],
      emits: ['invoice.sent'],
    },
  });

  it('have one stream, and a consumer for each that takes events', () => {
    const { streams, consumers } = topologyOf([billing]);
    const ofEvents = streams.filter(({ name }) => /^(?:EVT_|PATTERNS$)/.test(name));
    expect(ofEvents.map(({ name, config }) => [name, config.subjects])).toEqual([
      ['EVT_shop', ['evt.shop.>']],
      ['PATTERNS', ['pattern.evt.>']],
    ]);
    expect(
      consumers.map(({ stream, name, config }) => [
        stream,
        name,
        config.filter_subjects,
        config.deliver_policy,
      ]),
    ).toEqual([
      ['EVT_shop', 'billing_shop=2EPlaced=2Ev1', ['evt.shop.Placed.v1.*.*'], 'all'],
      ['PATTERNS', 'billing_order=2E=2A', ['pattern.evt.order.*'], 'new'],
      ['PATTERNS', 'billing_order=2Ecreated', ['pattern.evt.order.created'], 'new'],
    ]);
    // Who only sends has the stream too: what it sends is kept until somebody is there.
    const sender = defineService({ name: 'sender', database: false, patterns: { emits: ['a'] } });
    expect(topologyOf([sender]).streams.map(({ name }) => name)).toContain('PATTERNS');
    expect(topologyOf([shop]).streams.map(({ name }) => name)).not.toContain('PATTERNS');
  });

  it('have consumers of bounded names', () => {
    const long = patternConsumer('billing', 'x.'.repeat(300));
    expect(long.length).toBeLessThan(200);
    expect(long).not.toBe(patternConsumer('billing', `${'x.'.repeat(300)}y`));
  });

  it('may be used by the user of the service, and no others', () => {
    const { publish, subscribe } = permissionsOf(billing, [billing]);
    expect(subscribe.allow).toEqual(
      expect.arrayContaining(['pattern.rpc.=7B=22cmd=22=3A=22sum=22=7D', 'rpc.shop.Find.v1']),
    );
    expect(publish.allow).toEqual(
      expect.arrayContaining([
        'pattern.rpc.tax.rate',
        'pattern.evt.invoice.sent',
        '$JS.API.CONSUMER.MSG.NEXT.PATTERNS.billing_order=2Ecreated',
        '$JS.ACK.EVT_shop.billing_shop=2EPlaced=2Ev1.>',
        // Where their large bodies are.
        'payload.pattern.evt.>',
        'payload.pattern.rpc.>',
        '$JS.API.DIRECT.GET.PAYLOADS.payload.pattern.evt.>',
        '$JS.API.DIRECT.GET.PAYLOADS.payload.evt.shop.>',
      ]),
    );
    expect(publish.allow.filter((subject) => subject.startsWith('pattern.'))).toHaveLength(2);
    expect(publish.allow.filter((subject) => subject.includes('PURGE'))).toEqual([]);
  });
});
