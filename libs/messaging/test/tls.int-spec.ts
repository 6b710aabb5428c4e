import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createTestCertificates, startTestNats, until, type TestCertificates } from '@flotilla/testing';
import { connectNats, type NatsTls } from '../src/index.ts';

describe('TLS', () => {
  let certificates: TestCertificates;
  let others: TestCertificates;
  let nats: Awaited<ReturnType<typeof startTestNats>>;

  beforeAll(async () => {
    [certificates, others] = await Promise.all([createTestCertificates(), createTestCertificates()]);
    nats = await startTestNats({ config: certificates.natsConfig });
  });
  afterAll(async () => {
    await nats.dispose();
    await certificates[Symbol.asyncDispose]();
    await others[Symbol.asyncDispose]();
  });

  const connect = (tls: NatsTls | undefined, servers = nats.url) =>
    connectNats({ servers, name: 'test', connectTimeoutMs: 500, ...(tls && { tls }) });

  it('is spoken with the authority, certificate and key that are named', async () => {
    const connection = await connect({ caFile: certificates.caFile, ...certificates.client });
    expect(connection.info).toMatchObject({ tls_required: true, tls_verify: true });
    const subscription = connection.subscribe('hello', { max: 1 });
    connection.publish('hello', 'world');
    for await (const message of subscription) expect(message.string()).toBe('world');
    await connection.close();
  });

  it('goes on after the server was restarted', async () => {
    const connection = await connect({ caFile: certificates.caFile, ...certificates.client });
    await nats.server.restart();
    await until(() =>
      connection.flush().then(
        () => true,
        () => false,
      ),
    );
    await connection.close();
  });

  it('is refused to a server that another authority signed, and by one that knows nobody of ours', async () => {
    await expect(connect({ caFile: others.caFile, ...certificates.client })).rejects.toMatchObject({
      code: 'BROKER_UNAVAILABLE',
    });
    await expect(connect({ caFile: certificates.caFile, ...others.client })).rejects.toMatchObject({
      code: 'BROKER_UNAVAILABLE',
    });
  });

  it('is insisted on: a server without it gets no credentials', async () => {
    await using plain = await startTestNats();
    await expect(connect({ caFile: certificates.caFile }, plain.url)).rejects.toMatchObject({
      code: 'BROKER_UNAVAILABLE',
    });
  });

  it('names the file that cannot be used, at once', async () => {
    const { caFile, client } = certificates;
    const nonsense = join(caFile, '..', 'nonsense.pem');
    writeFileSync(nonsense, 'no certificate');
    const refused = async (tls: NatsTls, setting: string, file: string, says: RegExp): Promise<void> => {
      await expect(connect(tls)).rejects.toMatchObject({ code: 'NATS_TLS_UNUSABLE', setting, file });
      await expect(connect(tls)).rejects.toThrow(says);
    };
    await refused(
      { caFile: '/nowhere/ca.pem' },
      'NATS_TLS_CA',
      '/nowhere/ca.pem',
      /NATS_TLS_CA, the file \/nowhere\/ca\.pem: it cannot be read \(ENOENT\)/,
    );
    await refused({ caFile: nonsense }, 'NATS_TLS_CA', nonsense, /it holds no certificate in PEM/);
    await refused(
      { caFile, ...client, keyFile: caFile },
      'NATS_TLS_KEY',
      caFile,
      /it holds no private key in PEM/,
    );
    await refused(
      { caFile, ...client, keyFile: others.client.keyFile },
      'NATS_TLS_KEY',
      others.client.keyFile,
      /it is not the key of the certificate in/,
    );
    await refused(
      { certFile: client.certFile },
      'NATS_TLS_KEY',
      client.certFile,
      /missing beside NATS_TLS_CERT/,
    );
  });
});
