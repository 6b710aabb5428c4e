import { natsConfig, natsUsersConfig } from './nats.ts';

describe('natsConfig', () => {
  it('syncs always, listens on the loopback address only, and adds what it is given', () => {
    const config = natsConfig({
      port: 4222,
      httpPort: 8222,
      storeDir: '/data/my store',
      serverName: 'flotilla',
      pidFile: '/data/my store/nats.pid',
      users: [{ user: 'orders', password: 'a"b', permissions: { publish: { allow: ['evt.orders.>'] } } }],
      config: 'write_deadline: "5s"',
    });
    expect(config).toMatchInlineSnapshot(`
      "server_name: "flotilla"
      listen: "127.0.0.1:4222"
      http: "127.0.0.1:8222"
      pid_file: "/data/my store/nats.pid"
      # The largest message that is accepted. Above 8 MB nats-server itself warns: send a reference instead.
      max_payload: 8MB
      jetstream {
        store_dir: "/data/my store"
        # An acknowledged publish is on disk, not in a buffer.
        sync_interval: always
      }
      include "users.conf"
      write_deadline: "5s"
      "
    `);
  });
});

describe('natsUsersConfig', () => {
  it('is JSON, which nats-server reads as it is', () => {
    const permissions = { publish: { allow: ['$JS.API.INFO'] }, allow_responses: true };
    const config = natsUsersConfig([{ user: 'orders', password: 'a"b', permissions }]);
    expect(JSON.parse(config.replace('authorization: ', ''))).toEqual({
      users: [{ user: 'orders', password: 'a"b', permissions }],
    });
  });
});
