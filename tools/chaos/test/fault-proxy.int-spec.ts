import { createServer, connect, type Server, type Socket } from 'node:net';
import { createDataSource, migrate, requireUnitOfWork, UnitOfWork } from '@flotilla/persistence';
import { connectNats } from '@flotilla/messaging';
import { createTestDatabase, sharedNatsUrl, until, type TestDatabase } from '@flotilla/testing';
import { FaultProxy } from '../src/proxy/fault-proxy.ts';
import { LengthFramer, type Protocol } from '../src/proxy/frames.ts';
import { natsProtocol } from '../src/proxy/nats-frames.ts';
import { asksForCommit, postgresProtocol, saysCommitted } from '../src/proxy/postgres-frames.ts';

/** Every byte is a frame, named by itself. */
const bytes: Protocol = {
  name: 'bytes',
  up: () => new LengthFramer(oneByte),
  down: () => new LengthFramer(oneByte),
};

function oneByte(chunk: Buffer): { kind: string; length: number } | undefined {
  return chunk.length === 0 ? undefined : { kind: chunk.toString('latin1', 0, 1), length: 1 };
}

const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});
const add = <T>(value: T, close: (value: T) => Promise<unknown>): T => {
  closers.push(() => close(value));
  return value;
};

async function proxyTo(targetPort: number, protocol: Protocol): Promise<FaultProxy> {
  return add(await FaultProxy.listen({ targetPort, protocol }), (proxy) => proxy.close());
}

/** A server that sends back what it gets; `ended` are the ends of its connections. */
async function echo(): Promise<{ port: number; ended: string[]; server: Server }> {
  const ended: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', (error: NodeJS.ErrnoException) => ended.push(error.code ?? error.message));
    socket.on('end', () => ended.push('end'));
    socket.pipe(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  add(server, () => {
    for (const socket of sockets) socket.destroy();
    return new Promise((resolve) => server.close(resolve));
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return { port: address.port, ended, server };
}

/** A client and what it got. */
function clientOf(port: number): { socket: Socket; got: () => string; over: () => string | undefined } {
  const socket = connect({ port, host: '127.0.0.1' });
  let got = '';
  let over: string | undefined;
  socket.on('data', (chunk: Buffer) => (got += chunk.toString('latin1')));
  socket.on('error', (error: NodeJS.ErrnoException) => (over = error.code ?? error.message));
  socket.on('end', () => (over ??= 'end'));
  add(socket, (each) => Promise.resolve(each.destroy()));
  return { socket, got: () => got, over: () => over };
}

describe('a proxy without a fault', () => {
  it('sends on what comes, both ways, and ends as the ends do', async () => {
    const { port, ended } = await echo();
    const proxy = await proxyTo(port, natsProtocol);
    const { socket, got, over } = clientOf(proxy.port);
    const payload = 'x'.repeat(3_000_000);
    const frame = `PUB evt.a ${payload.length}\r\n${payload}\r\n`;
    socket.write(frame);
    socket.write(frame);
    await until(() => got().length === frame.length * 2, { describe: 'everything has come back' });
    expect(got() === frame + frame).toBe(true);
    socket.end();
    await until(() => over() === 'end' && proxy.connections === 0, { describe: 'both ends have ended' });
    expect(ended).toEqual(['end']);
  });
});

describe('a direction that is held', () => {
  it.each(['up', 'down'] as const)(
    'lets nothing through %s, and all of it in order afterwards',
    async (direction) => {
      const { port } = await echo();
      const proxy = await proxyTo(port, bytes);
      const { socket, got } = clientOf(proxy.port);
      socket.write('a');
      await until(() => got() === 'a');
      const passed: string[] = [];
      proxy.watch(({ kind }, seen) => {
        passed.push(`${seen} ${kind}`);
        return 'pass';
      });
      proxy.hold({ [direction]: true });
      socket.write('b');
      socket.write('c');
      // Held on the way up it never reaches the server, held on the way down it has been there.
      await until(() => passed.includes(direction === 'up' ? 'up c' : 'down c'), {
        describe: 'all is on its way',
      });
      expect(got()).toBe('a');
      const late = clientOf(proxy.port);
      late.socket.write('z');
      proxy.hold({});
      await until(() => got() === 'abc' && late.got() === 'z', { describe: 'all has arrived' });
    },
  );
});

describe('latency', () => {
  it('keeps the order of what it delays, also when it ends meanwhile', async () => {
    const { port } = await echo();
    const proxy = await proxyTo(port, bytes);
    const { socket, got } = clientOf(proxy.port);
    proxy.latencyMs = { up: 60, down: 30 };
    for (const letter of 'abcdefgh') socket.write(letter);
    await until(() => got() !== '', { describe: 'the first has come back' });
    proxy.latencyMs = { up: 0, down: 0 };
    for (const letter of 'ijkl') socket.write(letter);
    await until(() => got() === 'abcdefghijkl', { describe: 'all have come back' });
  });
});

describe('a reset', () => {
  it('is one for both ends, and others stay', async () => {
    const { port, ended } = await echo();
    const proxy = await proxyTo(port, bytes);
    const [hit, other] = [clientOf(proxy.port), clientOf(proxy.port)];
    hit.socket.write('a');
    other.socket.write('b');
    await until(() => hit.got() === 'a' && other.got() === 'b');
    proxy.watch(({ kind }) => (kind === '!' ? 'reset' : 'pass'));
    hit.socket.write('c!d');
    await until(() => hit.over() === 'ECONNRESET' && ended.includes('ECONNRESET'), {
      describe: 'both ends know',
    });
    other.socket.write('e');
    await until(() => other.got() === 'be');
    expect(proxy.resetAll()).toBe(1);
    await until(() => other.over() === 'ECONNRESET');
  });

  it('is survived by a client of NATS', async () => {
    const proxy = await proxyTo(Number(new URL(await sharedNatsUrl()).port), natsProtocol);
    const connection = add(
      await connectNats({ servers: `nats://127.0.0.1:${proxy.port}`, name: 'chaos test' }),
      (each) => each.close(),
    );
    const subscription = connection.subscribe('chaos.echo', {
      callback: (_, message) => void message.respond(message.data),
    });
    const answers = async (): Promise<string> =>
      (await connection.request('chaos.echo', 'hello', { timeout: 500 })).string();
    expect(await answers()).toBe('hello');
    proxy.resetAll();
    expect(await until(answers, { describe: 'it is connected again' })).toBe('hello');
    subscription.unsubscribe();
  });
});

describe('a connection reset in the middle of COMMIT', () => {
  let database: TestDatabase;
  let proxy: FaultProxy;
  let unitOfWork: UnitOfWork;

  beforeEach(async () => {
    database = add(
      await createTestDatabase({
        template: { name: 'chaos', migrate: async (url) => void (await migrate({ url })) },
      }),
      (each) => each.drop(),
    );
    const through = new URL(database.url);
    proxy = await proxyTo(Number(through.port), postgresProtocol);
    through.port = String(proxy.port);
    const dataSource = add(await createDataSource({ url: through.href }).initialize(), (each) =>
      each.destroy(),
    );
    const log = { log: () => undefined, warn: () => undefined, error: () => undefined };
    unitOfWork = add(new UnitOfWork({ dataSource, log }), (each) => each.close({ withinMs: 1_000 }));
    await unitOfWork.run(async () => {
      await requireUnitOfWork('This test').query('CREATE TABLE done (message_id text)');
    });
  });

  const handle = (): Promise<{ readonly duplicate: boolean }> =>
    unitOfWork.process({ consumer: 'test', messageId: 'm-1', key: 'k' }, async () => {
      await requireUnitOfWork('This test').query(`INSERT INTO done VALUES ('m-1')`);
    });
  const done = async (): Promise<unknown[]> => unitOfWork.query('SELECT * FROM done');
  /** Resets the first commit that asks, or is said to be done. */
  const resetOnce = (when: 'asked' | 'done'): void => {
    let over = false;
    proxy.watch((frame, direction) => {
      const hit =
        when === 'asked'
          ? direction === 'up' && asksForCommit(frame)
          : direction === 'down' && saysCommitted(frame);
      if (over || !hit) return 'pass';
      over = true;
      return 'reset';
    });
  };

  it.each([
    ['before it takes effect', 'asked', false],
    ['after it took effect', 'done', true],
  ] as const)('%s has an unknown outcome, which the inbox resolves', async (_, when, committed) => {
    resetOnce(when);
    await expect(handle()).rejects.toMatchObject({ code: 'COMMIT_OUTCOME_UNKNOWN' });
    expect(await done()).toHaveLength(committed ? 1 : 0);
    // The message is delivered again.
    expect((await handle()).duplicate).toBe(committed);
    expect(await done()).toHaveLength(1);
  });
});
