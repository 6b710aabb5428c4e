import { spawn } from 'node:child_process';
import { stat } from 'node:fs/promises';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { Client } from 'pg';
import { startTestNats, startTestPostgres, testServerVariables } from '../src/index.ts';

describe('servers of a test of its own', () => {
  it('NATS can be killed and restarted, keeps what it had, and leaves nothing', async () => {
    await using nats = await startTestNats();
    const before = await connect({ servers: nats.url, reconnect: false });
    await (await jetstreamManager(before)).streams.add({ name: 'EVT', subjects: ['evt.>'] });
    await jetstream(before).publish('evt.a');
    await nats.server.kill();
    await before.closed();
    await nats.server.restart();
    const after = await connect({ servers: nats.url });
    expect((await (await jetstreamManager(after)).streams.info('EVT')).state.messages).toBe(1);
    await after.close();
    await nats.dispose();
    await expect(stat(nats.server.storeDir)).rejects.toThrow('ENOENT');
  });

  it('Postgres takes settings, survives kill -9, and leaves nothing', async () => {
    await using postgres = await startTestPostgres({ settings: { max_connections: 7 } });
    const ask = async (sql: string): Promise<unknown> => {
      const client = new Client({ connectionString: postgres.url });
      await client.connect();
      try {
        return (await client.query<Record<string, unknown>>(sql)).rows;
      } finally {
        await client.end();
      }
    };
    expect(await ask('SHOW max_connections')).toEqual([{ max_connections: '7' }]);
    await ask('CREATE TABLE kept AS SELECT 1 AS id');
    await postgres.server.kill();
    await postgres.server.restart();
    expect(await ask('SELECT id FROM kept')).toEqual([{ id: 1 }]);
    await postgres.dispose();
    await expect(stat(postgres.server.dataDir)).rejects.toThrow('ENOENT');
  });
});

describe('with-test-servers', () => {
  const run = async (...command: string[]): Promise<{ code: number | null; output: string }> => {
    const script = fileURLToPath(new URL('../src/with-test-servers.ts', import.meta.url));
    const env = { ...process.env };
    delete env[testServerVariables.desk];
    const child = spawn(process.execPath, ['--conditions=@flotilla/source', script, ...command], {
      env,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
    const output = await text(child.stdout);
    return { code: await ended, output };
  };

  it('shares one pair of servers among the processes of a command', async () => {
    const index = new URL('../src/index.ts', import.meta.url).href;
    const program = `console.log(JSON.stringify(await (await import('${index}')).testServers()))`;
    const node = `"${process.execPath}" --conditions=@flotilla/source --input-type=module -e "${program}"`;
    const { code, output } = await run('sh', '-c', `${node} && ${node} && exit 3`);
    const lines = output.trim().split('\n');
    expect(lines).toHaveLength(2);
    expect(lines[0]).toBe(lines[1]);
    expect(lines[0]).toMatch(/"natsUrl":"nats:\/\/127\.0\.0\.1:\d+"/);
    expect(code).toBe(3);
  });
});
