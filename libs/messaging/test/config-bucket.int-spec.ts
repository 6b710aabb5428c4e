import type { EmbeddedNats } from '@flotilla/embedded';
import { startTestNats, until, type TestServer } from '@flotilla/testing';
import type { NatsConnection } from '@nats-io/nats-core';
import { ConfigBucket, connectNats, provision } from '../src/index.ts';
import { conformanceTopology } from '../src/testing/conformance-messages.ts';
import { removeAllStreams } from './nats-harness.ts';

describe('the bucket of settings', () => {
  let nats: TestServer<EmbeddedNats>;
  let connection: NatsConnection;
  let bucket: ConfigBucket;

  beforeAll(async () => {
    nats = await startTestNats();
    connection = await connectNats({ servers: nats.url, name: 'config' });
    bucket = new ConfigBucket(connection);
  });
  afterAll(async () => {
    await connection.close();
    await nats.dispose();
  });
  beforeEach(async () => {
    await removeAllStreams(connection);
    await provision(connection, conformanceTopology());
  });

  it('keeps what a setting was, when and by whom, through a restart of the server', async () => {
    expect(await bucket.read('pad', 'limit')).toBeUndefined();
    expect(await bucket.history('pad', 'limit')).toEqual([]);
    const first = await bucket.set('pad', 'limit', '5', { by: 'ada', after: 0 });
    await bucket.set('control', 'limit', '1', { by: 'eve', after: 0 });
    const second = await bucket.set('pad', 'limit', '6', { by: 'bob\r\nx', after: first });
    const third = await bucket.unset('pad', 'limit', { by: 'ada', after: second });
    await nats.server.restart();
    await until(() => bucket.read('pad', 'limit').catch(() => undefined));
    expect(await bucket.history('pad', 'limit')).toMatchObject([
      { value: '5', revision: first, by: 'ada' },
      { value: '6', revision: second, by: 'bob x' },
      { value: undefined, revision: third, by: 'ada' },
    ]);
    expect((await bucket.read('pad', 'limit'))?.at.getTime()).toBeGreaterThan(Date.now() - 60_000);
    expect(await bucket.keys()).toEqual([
      { service: 'control', key: 'limit' },
      { service: 'pad', key: 'limit' },
    ]);
  });

  it('refuses a change that was decided on what is no longer so', async () => {
    const first = await bucket.set('pad', 'limit', '5', { by: 'ada', after: 0 });
    await expect(bucket.set('pad', 'limit', '6', { by: 'bob', after: 0 })).rejects.toMatchObject({
      code: 'CONFIG_CONFLICT',
    });
    expect(await bucket.read('pad', 'limit')).toMatchObject({ value: '5', revision: first });
  });

  it('is an ordinary key-value bucket to other clients', async () => {
    connection.publish('$KV.CONFIG.pad.limit', '7');
    await connection.flush();
    expect(await bucket.read('pad', 'limit')).toEqual({
      value: '7',
      revision: 1,
      at: expect.any(Date) as Date,
    });
  });

  it('says what to do when it is not there', async () => {
    await removeAllStreams(connection);
    const missing = {
      code: 'MISSING_TOPOLOGY',
      message: expect.stringMatching(/KV_CONFIG.*fleet provision/) as string,
    };
    await expect(bucket.read('pad', 'limit')).rejects.toMatchObject(missing);
    await expect(bucket.keys()).rejects.toMatchObject(missing);
    await expect(bucket.set('pad', 'limit', '1', { by: 'ada', after: 0 })).rejects.toMatchObject(missing);
  });
});
