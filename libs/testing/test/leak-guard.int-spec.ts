import { spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { jetstreamManager } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { Client } from 'pg';
import {
  createTestDatabase,
  installLeakGuard,
  leakGuard,
  LeakError,
  startTestNats,
  type LeakGuardOptions,
} from '../src/index.ts';

async function leaksOf(options: LeakGuardOptions, test: () => unknown): Promise<readonly string[]> {
  const guard = leakGuard({ graceMs: 200, ...options });
  await guard.begin();
  await test();
  try {
    await guard.check();
    return [];
  } catch (error) {
    if (!(error instanceof LeakError)) throw error;
    return error.leaks;
  }
}

describe('leakGuard', () => {
  it('finds nothing after a test that cleans up', async () => {
    const database = await createTestDatabase();
    const leaks = await leaksOf({ databases: () => [database] }, async () => {
      const client = new Client({ connectionString: database.url });
      await client.connect();
      await client.end();
      clearTimeout(setTimeout(() => undefined, 60_000));
      setTimeout(() => undefined, 60_000).unref();
    });
    expect(leaks).toEqual([]);
    await database.drop();
  });

  it('names a connection with its last query', async () => {
    const database = await createTestDatabase();
    const client = new Client({ connectionString: database.url, application_name: 'forgetful' });
    const leaks = await leaksOf({ databases: () => [database], handles: false }, async () => {
      await client.connect();
      await client.query('SELECT 42');
    });
    expect(leaks).toEqual([
      expect.stringMatching(/^a connection to test_\w+: \d+ forgetful idle: SELECT 42$/),
    ]);
    await client.end();
    await database.drop();
  });

  it('names a timer, a server and a child process with the line that made it', async () => {
    let timer: NodeJS.Timeout | undefined;
    const server = createServer();
    let child: ReturnType<typeof spawn> | undefined;
    const leaks = await leaksOf({}, async () => {
      timer = setInterval(() => undefined, 60_000);
      child = spawn('sleep', ['60'], { stdio: 'ignore' });
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    });
    clearInterval(timer);
    child?.kill();
    server.close();
    expect(leaks).toEqual(
      expect.arrayContaining([
        expect.stringMatching(/^a timer created at .*leak-guard\.int-spec\.ts:\d+/),
        expect.stringMatching(/^a child process created at .*leak-guard\.int-spec\.ts:\d+/),
        'a listening socket, created by Node later than it was asked for',
      ]),
    );
    expect(leaks).toHaveLength(3);
  });

  it('names streams and consumers that were not declared', async () => {
    await using nats = await startTestNats();
    const connection = await connect({ servers: nats.url });
    const manager = await jetstreamManager(connection);
    await manager.streams.add({ name: 'BEFORE', subjects: ['before'] });
    const jetStream = { url: () => nats.url, expected: ['DECLARED', /^DECLARED\//] };
    const leaks = await leaksOf({ jetStream }, async () => {
      await manager.streams.add({ name: 'DECLARED', subjects: ['declared'] });
      await manager.consumers.add('DECLARED', { durable_name: 'fine' });
      await manager.consumers.add('BEFORE', { durable_name: 'forgotten' });
      await manager.streams.add({ name: 'FORGOTTEN', subjects: ['forgotten'] });
    });
    await connection.close();
    expect([...leaks].sort()).toEqual(['the consumer BEFORE/forgotten', 'the stream FORGOTTEN']);
  });
});

describe('installLeakGuard', () => {
  const timers: NodeJS.Timeout[] = [];
  afterEach(() => timers.splice(0).forEach(clearTimeout));
  installLeakGuard();

  it.each([1, 2])('lets a test pass that is cleaned up after (%i)', () => {
    timers.push(setTimeout(() => undefined, 60_000));
  });
});
