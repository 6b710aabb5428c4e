import { Svcm } from '@nats-io/services';
import { startTestNats, type TestServer } from '@flotilla/testing';
import type { EmbeddedNats } from '@flotilla/embedded';
import { connectNats, type NatsBroker } from '../src/index.ts';
import { launchRequest, launchRpc, okReply } from '../src/testing/conformance-messages.ts';
import { quickBroker } from './nats-harness.ts';

async function all<T>(answers: Promise<AsyncIterable<T>>): Promise<T[]> {
  const list: T[] = [];
  for await (const answer of await answers) list.push(answer);
  return list;
}

describe('a service announcement', () => {
  let nats: TestServer<EmbeddedNats>;
  let pad: NatsBroker;

  beforeAll(async () => {
    nats = await startTestNats();
    pad = await quickBroker(nats.url);
  });
  afterAll(async () => {
    await pad.close();
    await nats.dispose();
  });

  it('is seen by the ordinary client of the NATS service API, with statistics', async () => {
    await pad.serve(launchRpc, { queue: 'pad', maxInFlight: 4 }, async (request) => {
      if (request.envelope.subject === 'broken') throw new Error('cold');
      return okReply(request, 1);
    });
    const announced = await pad.announce({
      name: 'pad',
      version: '1.2.3',
      description: 'Launches rockets',
      endpoints: [launchRpc],
    });
    await pad.request(launchRequest('ariane'), { timeoutMs: 5_000 });
    await pad.request(launchRequest('broken'), { timeoutMs: 5_000 });

    const observer = await connectNats({ servers: nats.url, name: 'observer' });
    // The services package brings a client of its own version; their types differ in detail.
    const client = new Svcm(observer as unknown as ConstructorParameters<typeof Svcm>[0]).client({
      maxWait: 2_000,
      strategy: 'stall',
    });
    const [identity] = await all(client.ping('pad'));
    expect(identity).toMatchObject({ type: 'io.nats.micro.v1.ping_response', name: 'pad', version: '1.2.3' });
    expect(await all(client.info('pad', identity!.id))).toMatchObject([
      {
        description: 'Launches rockets',
        endpoints: [{ name: 'Launch-v1', subject: launchRpc, queue_group: 'pad' }],
      },
    ]);
    const [stats] = await all(client.stats());
    expect(stats!.endpoints).toMatchObject([
      { name: 'Launch-v1', num_requests: 2, num_errors: 1, last_error: 'Error: cold' },
    ]);
    expect(stats!.endpoints![0]!.processing_time).toBeGreaterThan(0);

    await announced.stop();
    await expect(all(client.ping('pad'))).rejects.toThrow(/no responders/);
    await observer.close();
  });

  it('must have a name and a version that the API allows', async () => {
    const announcement = { name: 'launch pad', version: 'one', description: '', endpoints: [] };
    await expect(pad.announce(announcement)).rejects.toThrow(/name "launch pad" .*; version "one" is not/);
  });
});
