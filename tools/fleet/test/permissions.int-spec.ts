import { jetstreamManager, type JetStreamManager } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/nats-core';
import {
  commandStream,
  contractsOf,
  DEAD_LETTER_STREAM,
  eventStream,
  type ServiceManifest,
} from '@flotilla/contracts-protocol';
import type { EmbeddedNats } from '@flotilla/embedded';
import {
  ConfigBucket,
  connectNats,
  DeadLetters,
  FLEET_USERS,
  inboxPrefixOf,
  NatsBroker,
  topologyOf,
  verifyTopology,
} from '@flotilla/messaging';
import { startTestNats, until, type TestServer } from '@flotilla/testing';
import { discoverServices, type Service } from '../src/services.ts';
import { lagsOf } from '../src/commands/status.ts';
import { OPERATOR_API_SUBJECT } from '../src/operate/operator-api.ts';
import { natsGrants } from '../src/stack/identities.ts';
import { accessOf } from '../src/stack/nats-access.ts';
import { provisionFleet } from '../src/stack/provisioning.ts';

const services = await discoverServices();
const names = services.map(({ name }) => name);
const usersOf = (those: readonly Service[]) =>
  natsGrants(those).map((grant) => ({ ...grant, password: `of ${grant.user}` }));

let nats: TestServer<EmbeddedNats>;
const open: { close(): Promise<void> }[] = [];

beforeAll(async () => {
  nats = await startTestNats({ users: usersOf(services) });
  await provisionFleet(access(FLEET_USERS.provisioner), services);
});
afterEach(async () => {
  for (const each of open.splice(0)) await each.close();
});
afterAll(() => nats.dispose());

const access = (user: string) => accessOf(nats.url, { user, password: `of ${user}` });

async function connected(user: string): Promise<NatsConnection> {
  const connection = await connectNats({ ...access(user), name: user });
  open.push(connection);
  return connection;
}

async function brokerOf(service: string): Promise<NatsBroker> {
  const broker = await NatsBroker.connect({ ...access(service), name: service, service });
  open.push({ close: () => broker.close({ drainMs: 0 }) });
  return broker;
}

function manifestOf(name: string): ServiceManifest {
  const found = services.find((each) => each.name === name);
  if (found === undefined) throw new Error(`no service ${name}`);
  return found.manifest;
}

/** Whether the server lets a user publish there; the message itself may be anything. */
async function mayPublish(connection: NatsConnection, subject: string): Promise<boolean> {
  // The refusal comes before the answer to what is sent after it; whether anybody answers does not matter.
  const refused = connection.request(subject, '{"batch":1,"no_wait":true}', { timeout: 2_000 }).then(
    () => false,
    (error: unknown) => /permissions violation/i.test(String(error)),
  );
  const passed = connection.flush().then(() => new Promise((resolve) => setImmediate(resolve)));
  return !(await Promise.race([refused, passed.then(() => false)]));
}

async function maySubscribe(connection: NatsConnection, subject: string): Promise<boolean> {
  const refused = new Promise<boolean>((resolve) => {
    const subscription = connection.subscribe(subject, { callback: (error) => resolve(error === null) });
    // The refusal comes before the answer to what is sent after it.
    void connection.flush().then(() => resolve(!subscription.isClosed()));
  });
  return refused;
}

/** A service that owns events, has consumers and a database, and is not the one in question. */
function another(name: string): ServiceManifest {
  return manifestOf(name === 'orders' ? 'payments' : 'orders');
}

describe.each(names)('the NATS user of %s', (name) => {
  it('does what its manifest says', async () => {
    const manifest = manifestOf(name);
    const broker = await brokerOf(name);
    const { connection } = broker;
    await verifyTopology(connection, topologyOf([manifest]), { service: name });
    expect(await new ConfigBucket(connection).read(name, 'maxInFlight')).toBeUndefined();
    for (const { contract } of manifest.publishes)
      expect(
        await mayPublish(connection, `evt.${contract.owner}.${contract.name}.v${contract.version}.0.k`),
      ).toBe(true);
    for (const { contract } of manifest.sends)
      expect(
        await mayPublish(connection, `cmd.${contract.owner}.${contract.name}.v${contract.version}.0.k`),
      ).toBe(true);
    for (const { contract } of manifest.calls)
      expect(
        await mayPublish(connection, `rpc.${contract.owner}.${contract.name}.v${contract.version}`),
      ).toBe(true);
    for (const { contract } of manifest.answers)
      expect(
        await maySubscribe(connection, `rpc.${contract.owner}.${contract.name}.v${contract.version}`),
      ).toBe(true);
    for (const { stream, name: consumer } of topologyOf([manifest]).consumers) {
      expect(await mayPublish(connection, `$JS.API.CONSUMER.MSG.NEXT.${stream}.${consumer}`)).toBe(true);
      expect(await mayPublish(connection, `$JS.ACK.${stream}.${consumer}.1.1.1.1.0`)).toBe(true);
    }
  });

  it("publishes no other service's event, command, answer, large body or setting", async () => {
    const connection = await connected(name);
    const other = another(name);
    const sent = new Set(contractsOf(manifestOf(name).sends).map(({ type }) => type));
    const foreign = [
      ...contractsOf(other.publishes).map((each) => `evt.${each.owner}.${each.name}.v${each.version}.0.k`),
      ...services
        .flatMap(({ manifest }) => contractsOf(manifest.answers))
        .filter(({ type }) => !sent.has(type))
        .map((each) => `cmd.${each.owner}.${each.name}.v${each.version}.0.k`),
      `evt.${other.name}.Invented.v1.0.k`,
      `payload.evt.${other.name}.x.0`,
      `dlq.${other.name}.x`,
      `trial.${other.name}.x.1`,
      `$KV.CONFIG.${name}.maxInFlight`,
      `$KV.CONFIG.${other.name}.maxInFlight`,
      `ops.${other.name}.saga`,
      `${inboxPrefixOf(other.name)}.x`,
    ];
    const allowed = [];
    for (const subject of foreign) if (await mayPublish(connection, subject)) allowed.push(subject);
    expect(allowed).toEqual([]);
  });

  it("takes, acknowledges and reads nothing of another's consumers and streams", async () => {
    const connection = await connected(name);
    const own = new Set(
      topologyOf([manifestOf(name)]).consumers.map((each) => `${each.stream}.${each.name}`),
    );
    const consumers = topologyOf(services.map(({ manifest }) => manifest)).consumers;
    const allowed = [];
    for (const { stream, name: consumer } of consumers) {
      if (own.has(`${stream}.${consumer}`)) continue;
      for (const subject of [
        `$JS.API.CONSUMER.MSG.NEXT.${stream}.${consumer}`,
        `$JS.ACK.${stream}.${consumer}.1.1.1.1.0`,
        `$JS.API.CONSUMER.INFO.${stream}.${consumer}`,
        `$JS.API.CONSUMER.DELETE.${stream}.${consumer}`,
      ])
        if (await mayPublish(connection, subject)) allowed.push(subject);
    }
    for (const subject of [
      `$JS.API.STREAM.MSG.GET.${DEAD_LETTER_STREAM}`,
      `$JS.API.DIRECT.GET.${DEAD_LETTER_STREAM}`,
      `$JS.API.DIRECT.GET.KV_CONFIG.$KV.CONFIG.${another(name).name}.maxInFlight`,
      `$JS.API.DIRECT.GET.TRIALS.trial.${another(name).name}.x.1`,
    ])
      if (await mayPublish(connection, subject)) allowed.push(subject);
    expect(allowed).toEqual([]);
  });

  it('makes, changes, purges and deletes no stream but its own queues, of which it takes out what it handled', async () => {
    const connection = await connected(name);
    const streams = topologyOf(services.map(({ manifest }) => manifest)).streams.map((each) => each.name);
    const queues = new Set([
      ...contractsOf(manifestOf(name).answers).map(({ owner }) => commandStream(owner)),
      `REPLY_${name}`,
    ]);
    const allowed = [];
    for (const stream of streams) {
      for (const verb of ['CREATE', 'UPDATE', 'DELETE', 'PURGE', 'MSG.DELETE', 'SNAPSHOT', 'RESTORE']) {
        if (verb === 'PURGE' && queues.has(stream)) continue;
        const subject = `$JS.API.STREAM.${verb}.${stream}`;
        if (await mayPublish(connection, subject)) allowed.push(subject);
      }
      const subject = `$JS.API.CONSUMER.CREATE.${stream}.mine`;
      if (await mayPublish(connection, subject)) allowed.push(subject);
    }
    expect(allowed).toEqual([]);
  });

  it("subscribes to no subject of all, no other's inbox, and answers for no other", async () => {
    const connection = await connected(name);
    const other = another(name);
    const answered = new Set(contractsOf(manifestOf(name).answers).map(({ type }) => type));
    const foreign = [
      '>',
      '*.>',
      'cmd.>',
      'evt.>',
      'reply.>',
      'dlq.>',
      'rpc.>',
      '$JS.>',
      '$KV.>',
      '$SYS.>',
      '_INBOX.>',
      `${inboxPrefixOf(other.name)}.>`,
      `reply.${other.name}.>`,
      `ops.${other.name}.>`,
      ...contractsOf(other.answers)
        .filter(({ type }) => !answered.has(type))
        .map((each) => `rpc.${each.owner}.${each.name}.v${each.version}`),
    ];
    const allowed = [];
    for (const subject of foreign) if (await maySubscribe(connection, subject)) allowed.push(subject);
    expect(allowed).toEqual([]);
  });
});

describe('the others', () => {
  it('without a user, or with a wrong password, may not even connect', async () => {
    const refused = { code: 'BROKER_UNAVAILABLE' };
    await expect(connectNats({ servers: nats.url, name: 'nobody' })).rejects.toMatchObject(refused);
    const wrong = accessOf(nats.url, { user: 'orders', password: 'of payments' });
    await expect(connectNats({ ...wrong, name: 'thief' })).rejects.toMatchObject(refused);
  });

  it('as the operator, look at queues and dead letters and change settings, but make no stream and take no message', async () => {
    const connection = await connected(FLEET_USERS.operator);
    expect((await lagsOf(connection)).length).toBeGreaterThan(10);
    await new DeadLetters(connection).list();
    const bucket = new ConfigBucket(connection);
    await bucket.set('shipping', 'maxInFlight', '9', { by: 'ada', after: 0 });
    expect(await bucket.read('shipping', 'maxInFlight')).toMatchObject({ value: '9' });
    expect(await maySubscribe(connection, OPERATOR_API_SUBJECT)).toBe(true);
    for (const subject of [
      '$JS.API.STREAM.DELETE.EVT_orders',
      '$JS.API.STREAM.PURGE.EVT_orders',
      '$JS.API.STREAM.UPDATE.EVT_orders',
      '$JS.API.CONSUMER.MSG.NEXT.EVT_orders.tracking-views',
      '$JS.API.CONSUMER.DELETE.EVT_orders.tracking-views',
      '$JS.ACK.EVT_orders.tracking-views.1.1.1.1.0',
      'rpc.orders.PlaceOrder.v1',
      `${inboxPrefixOf('orders')}.x`,
    ])
      expect([subject, await mayPublish(connection, subject)]).toEqual([subject, false]);
    expect(await maySubscribe(connection, '>')).toBe(false);
  });

  it('as the provisioner, make streams and consumers, but neither publish, take, read nor purge', async () => {
    const connection = await connected(FLEET_USERS.provisioner);
    const manager: JetStreamManager = await jetstreamManager(connection);
    expect((await manager.streams.info(eventStream('orders'))).config.name).toBe('EVT_orders');
    for (const subject of [
      'evt.orders.OrderPlaced.v1.0.k',
      'cmd.payments.CapturePayment.v1.0.k',
      '$KV.CONFIG.orders.maxInFlight',
      '$JS.API.STREAM.MSG.GET.EVT_orders',
      '$JS.API.DIRECT.GET.EVT_orders',
      '$JS.API.STREAM.PURGE.EVT_orders',
      '$JS.API.CONSUMER.MSG.NEXT.EVT_orders.tracking-views',
    ])
      expect([subject, await mayPublish(connection, subject)]).toEqual([subject, false]);
    expect(await maySubscribe(connection, 'evt.>')).toBe(false);
  });

  it('as the auditor, read every message, see those that pass, and change nothing', async () => {
    const connection = await connected(FLEET_USERS.auditor);
    expect(await maySubscribe(connection, 'evt.>')).toBe(true);
    expect(await mayPublish(connection, '$JS.API.DIRECT.GET.EVT_orders')).toBe(true);
    expect((await lagsOf(connection)).length).toBeGreaterThan(10);
    for (const subject of [
      'evt.orders.OrderPlaced.v1.0.k',
      'ops.orders.saga',
      'rpc.orders.PlaceOrder.v1',
      '$KV.CONFIG.orders.maxInFlight',
      '$JS.API.STREAM.DELETE.EVT_orders',
      '$JS.API.STREAM.PURGE.EVT_orders',
      '$JS.API.STREAM.MSG.DELETE.DLQ',
      '$JS.API.CONSUMER.MSG.NEXT.EVT_orders.tracking-views',
    ])
      expect([subject, await mayPublish(connection, subject)]).toEqual([subject, false]);
    expect(await maySubscribe(connection, '>')).toBe(false);
  });
});

describe('a change of what services may do', () => {
  it('reaches a running server: whoever keeps its rights stays connected, and what is new may be used', async () => {
    const without = services.filter(({ name }) => name !== 'notifications');
    await using own = await startTestNats({ users: usersOf(without) });
    const at = (user: string) => accessOf(own.url, { user, password: `of ${user}` });
    const orders = await connectNats({ ...at('orders'), name: 'orders' });
    open.push(orders);
    const interruptions: string[] = [];
    void (async () => {
      for await (const { type } of orders.status()) if (type !== 'ping') interruptions.push(type);
    })();
    const notifications = (): Promise<NatsConnection> =>
      connectNats({ ...at('notifications'), name: 'notifications' });
    await expect(notifications()).rejects.toThrow(/credentials of notifications were refused/);

    await own.server.setUsers(usersOf(services));
    const added = await notifications();
    open.push(added);
    await orders.flush();
    expect(interruptions).toEqual([]);

    // What one may no longer do ends at once, without a new connection.
    const watched = await connectNats({ ...at('gateway'), name: 'gateway' });
    open.push(watched);
    expect(await maySubscribe(watched, 'evt.orders.>')).toBe(true);
    const [gateway] = services.filter(({ name }) => name === 'gateway');
    if (gateway === undefined) throw new Error('no gateway');
    const quiet = { ...gateway, manifest: { ...gateway.manifest, watches: [] } };
    await own.server.setUsers(usersOf(services.map((each) => (each === gateway ? quiet : each))));
    expect(await maySubscribe(watched, 'evt.orders.>')).toBe(false);

    // It is what the server starts with the next time, too.
    await own.server.setUsers(usersOf(without));
    await until(
      async () =>
        added.isClosed() ||
        (await added.flush().then(
          () => false,
          () => true,
        )),
    );
    await own.server.restart();
    await expect(notifications()).rejects.toThrow(/credentials of notifications were refused/);
  });
});
