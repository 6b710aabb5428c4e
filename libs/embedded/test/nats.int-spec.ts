import { createServer } from 'node:net';
import { stat, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import {
  DataDirectoryInUseError,
  freePort,
  PortBusyError,
  ServerStartError,
  type ServerExit,
} from '../src/index.ts';
import { errorOf, natsIn, temporaryDirectories } from './support.ts';

const newDirectory = temporaryDirectories();

describe('startNats', () => {
  it('keeps acknowledged messages over a restart and over kill -9', async () => {
    const nats = await natsIn(await newDirectory());
    const messages = async (): Promise<number> => {
      const connection = await connect({ servers: nats.url });
      try {
        return (await (await jetstreamManager(connection)).streams.info('EVT')).state.messages;
      } finally {
        await connection.close();
      }
    };
    const connection = await connect({ servers: nats.url, reconnect: false });
    await (await jetstreamManager(connection)).streams.add({ name: 'EVT', subjects: ['evt.>'] });
    await jetstream(connection).publish('evt.a', 'one');
    await connection.close();
    await nats.restart();
    expect(await messages()).toBe(1);
    const before = nats.pid;
    await nats.kill();
    expect(nats.running).toBe(false);
    await nats.restart();
    expect(nats.pid).not.toBe(before);
    expect(await messages()).toBe(1);
    await nats.stop();
    await nats.stop();
  });

  it('tells of every end, and whether it was wanted', async () => {
    const nats = await natsIn(await newDirectory());
    const exits: ServerExit[] = [];
    nats.onExit((exit) => exits.push(exit));
    process.kill(nats.pid, 'SIGKILL');
    await nats.exited;
    await nats.restart();
    await nats.stop();
    expect(exits).toMatchObject([{ signal: 'SIGKILL', expected: false }, { expected: true }]);
  });

  it('refuses a busy port by name', async () => {
    const server = createServer();
    const port = await freePort();
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
    const error = await errorOf(PortBusyError, natsIn(await newDirectory(), { port }));
    expect(error.port).toBe(port);
    const monitoring = await errorOf(PortBusyError, natsIn(await newDirectory(), { httpPort: port }));
    expect(monitoring.message).toContain('NATS monitoring');
    await new Promise((resolve) => server.close(resolve));
  });

  it('refuses a store that another server has', async () => {
    const dir = await newDirectory();
    const nats = await natsIn(dir);
    const error = await errorOf(DataDirectoryInUseError, natsIn(dir));
    expect(error.pid).toBe(nats.pid);
    await nats.kill();
    const second = await natsIn(dir); // the pid file of a killed server does not count
    await second.stop();
    await writeFile(join(dir, 'nats.pid'), String(process.pid)); // and a pid that another program has now, neither
    await (await natsIn(dir)).stop();
  });

  it('shows what the server said when the configuration is wrong', async () => {
    const error = await errorOf(ServerStartError, natsIn(await newDirectory(), { config: 'nonsense {' }));
    expect(error.message).toContain('NATS did not start: it ended at once (code 1)');
    expect(error.logTail).toContain('Parse error on line');
  });

  it('gives users their permissions and keeps their passwords from other users of the machine', async () => {
    const nats = await natsIn(await newDirectory(), {
      users: [
        { user: 'all', password: 'secret' },
        {
          user: 'orders',
          password: 'p"w',
          permissions: { publish: { allow: ['evt.orders.>'] }, subscribe: {} },
        },
      ],
    });
    await expect(connect({ servers: nats.url, maxReconnectAttempts: 0 })).rejects.toThrow(/Authorization/i);
    const orders = await connect({ servers: nats.url, user: 'orders', pass: 'p"w' });
    const refused = (async () => {
      for await (const status of orders.status()) if (status.type === 'error') return status.error.message;
      return 'no error';
    })();
    orders.publish('evt.payments.x');
    expect(await refused).toMatch(/permissions violation for publish to "evt.payments.x"/i);
    await orders.close();
    expect((await stat(nats.configFile)).mode & 0o777).toBe(0o600);
    expect(await readFile(nats.configFile, 'utf8')).toContain('sync_interval: always');
    await nats.stop();
  });

  it('offers monitoring when it is asked for', async () => {
    const httpPort = await freePort();
    const nats = await natsIn(await newDirectory(), { httpPort });
    const response = await fetch(`${nats.monitorUrl}/healthz`, { headers: { connection: 'close' } });
    expect(await response.json()).toMatchObject({ status: 'ok' });
    await nats.stop();
  });
});
