import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execFile } from 'node:child_process';
import { connectNats } from '@flotilla/messaging';
import { createTestCertificates, startTestNats } from '@flotilla/testing';
import { jetstreamManager } from '@nats-io/jetstream';

it('fleet provision, and what operators do, go over TLS', async () => {
  await using certificates = await createTestCertificates();
  const nats = await startTestNats({ config: certificates.natsConfig });
  const data = mkdtempSync(join(tmpdir(), 'fleet-tls-'));
  const { caFile, client } = certificates;
  const fleet = (args: string[], env: Record<string, string>): Promise<{ code: number; output: string }> =>
    new Promise((resolve) => {
      execFile(
        process.execPath,
        [
          '--conditions=@flotilla/source',
          join(import.meta.dirname, '../src/main.ts'),
          ...args,
          '--data',
          data,
        ],
        { env: { PATH: process.env['PATH'], NATS_URL: nats.url, ...env } },
        (error, stdout, stderr) =>
          resolve({ code: error === null ? 0 : Number(error.code ?? 1), output: stdout + stderr }),
      );
    });
  const env = { NATS_TLS_CA: caFile, NATS_TLS_CERT: client.certFile, NATS_TLS_KEY: client.keyFile };
  try {
    expect(await fleet(['provision'], env)).toMatchObject({ code: 0 });
    const connection = await connectNats({ servers: nats.url, name: 'test', tls: { caFile, ...client } });
    const manager = await jetstreamManager(connection);
    expect((await manager.streams.info('EVT_orders')).config.name).toBe('EVT_orders');
    await connection.close();
    expect(await fleet(['dlq', 'groups', '--json'], env)).toMatchObject({
      code: 0,
      output: expect.stringContaining('"groups": []') as string,
    });
    const wrong = await fleet(['dlq', 'groups'], { ...env, NATS_TLS_CA: join(data, 'ca.pem') });
    expect(wrong.code).toBe(1);
    expect(wrong.output).toMatch(/NATS_TLS_UNUSABLE: NATS_TLS_CA, the file .*ca\.pem: it cannot be read/);
  } finally {
    await nats.dispose();
    rmSync(data, { recursive: true });
  }
}, 60_000);
