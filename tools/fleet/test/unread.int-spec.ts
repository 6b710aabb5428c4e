import { connectNats, inboxPrefixOf, NatsBroker, provision, topologyOf } from '@flotilla/messaging';
import { startTestNats, until } from '@flotilla/testing';
import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import { unreadLine, unreadMessages } from '../src/operate/unread.ts';
import { discoverServices } from '../src/services.ts';
import { natsGrants } from '../src/stack/identities.ts';

it('messages on subjects that no consumer reads are found, by those who may look, and nothing else is', async () => {
  const services = await discoverServices();
  const manifests = services.map(({ manifest }) => manifest);
  const password = 'of-the-test';
  const nats = await startTestNats({
    users: [
      ...natsGrants(services).map((grant) => ({ ...grant, password })),
      { user: 'admin', password, permissions: { publish: { allow: ['>'] }, subscribe: { allow: ['>'] } } },
    ],
  });
  const as = (user: string) =>
    connectNats({
      servers: nats.url,
      name: user,
      credentials: { user, password },
      ...(user !== 'admin' && { inboxPrefix: inboxPrefixOf(user) }),
    });
  const admin = await as('admin');
  const [operator, auditor] = [await as('operator'), await as('auditor')];
  try {
    await provision(admin, topologyOf(manifests));
    expect(await unreadMessages(operator)).toEqual([]);
    const stream = jetstream(admin);
    const reserve = 'cmd.inventory.ReserveStock';
    // What is read, and only waits; an event, which needs no reader.
    await stream.publish(`${reserve}.v1.3.o-1`, '{}');
    await stream.publish('evt.orders.OrderPlaced.v9.1.o-1', '{}');
    for (const order of ['o-1', 'o-2', 'o-3']) await stream.publish(`${reserve}.v9.3.${order}`, '{}');
    await stream.publish('cmd.payments.Misspelt.v1', '{}');
    const found = await unreadMessages(operator);
    const since = expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/) as string;
    expect(found).toEqual([
      { stream: 'CMD_inventory', subject: `${reserve}.v9`, messages: 3, since },
      { stream: 'CMD_payments', subject: 'cmd.payments.Misspelt.v1', messages: 1, since },
    ]);
    expect(unreadLine(found[0]!)).toMatch(
      /^3 message\(s\) on cmd\.inventory\.ReserveStock\.v9 in CMD_inventory since /,
    );
    expect(await unreadMessages(auditor)).toEqual(found);

    // They stay while the others are handled.
    const broker = await NatsBroker.connect({
      servers: nats.url,
      name: 'test',
      service: 'inventory',
      credentials: { user: 'admin', password },
      trimQueuesEveryMs: 50,
      log: { info: () => undefined, warn: () => undefined, error: () => undefined },
    });
    await broker.consume(
      { stream: 'CMD_inventory', name: 'inventory' },
      { maxAttempts: 1 },
      async () => undefined,
    );
    const manager = await jetstreamManager(admin);
    await until(async () => (await manager.streams.info('CMD_inventory')).state.messages === 3);
    await broker.close();
    expect(await unreadMessages(operator)).toEqual(found);
  } finally {
    await Promise.all([admin, operator, auditor].map((each) => each.close()));
    await nats.dispose();
  }
});
