import { Svcm } from '@nats-io/services';
import { connect } from '@nats-io/transport-node';
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

  it('answers a plain client on all subjects of the API, in the shapes of ADR-32', async () => {
    const broker = await quickBroker(nats.url, { service: 'launcher' });
    await broker.serve(launchRpc, { queue: 'launcher', maxInFlight: 1 }, async (request) => {
      const answer = okReply(request, 1);
      if (request.envelope.subject !== 'grounded') return answer;
      // As the chassis answers: the handler has not thrown, and the caller sees an error all the same.
      return {
        headers: { ...answer.headers, 'ce-outcome': 'refused' },
        body: JSON.stringify({ code: 'Grounded', message: 'the weather', retry: 'never' }),
      };
    });
    await broker.announce({ name: 'launcher', version: '2.0.0', description: 'L', endpoints: [launchRpc] });
    for (const rocket of ['ariane', 'vega', 'grounded'])
      await broker.request(launchRequest(rocket), { timeoutMs: 5_000 });

    const plain = await connect({ servers: nats.url });
    const ask = async (subject: string): Promise<Record<string, unknown>> =>
      (await plain.request(subject, undefined, { timeout: 2_000 })).json();
    const ping = await ask('$SRV.PING.launcher');
    expect(ping).toEqual({
      type: 'io.nats.micro.v1.ping_response',
      name: 'launcher',
      id: expect.any(String) as string,
      version: '2.0.0',
      metadata: {},
    });
    const { type: _type, ...identity } = ping;
    const id = String(identity['id']);
    expect(await ask(`$SRV.PING.launcher.${id}`)).toEqual(ping);
    const info = {
      type: 'io.nats.micro.v1.info_response',
      ...identity,
      description: 'L',
      endpoints: [{ name: 'Launch-v1', subject: launchRpc, queue_group: 'launcher', metadata: {} }],
    };
    expect(await ask('$SRV.INFO.launcher')).toEqual(info);
    expect(await ask(`$SRV.INFO.launcher.${id}`)).toEqual(info);
    const stats = await ask(`$SRV.STATS.launcher.${id}`);
    expect(stats).toEqual({
      type: 'io.nats.micro.v1.stats_response',
      ...identity,
      started: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/) as string,
      endpoints: [
        {
          name: 'Launch-v1',
          subject: launchRpc,
          queue_group: 'launcher',
          num_requests: 3,
          num_errors: 1,
          last_error: 'Grounded: the weather',
          processing_time: expect.any(Number) as number,
          average_processing_time: expect.any(Number) as number,
        },
      ],
    });
    const [endpoint] = stats['endpoints'] as { processing_time: number; average_processing_time: number }[];
    expect(endpoint!.processing_time).toBeGreaterThan(0);
    expect(endpoint!.average_processing_time).toBe(Math.round(endpoint!.processing_time / 3));
    expect(await ask('$SRV.STATS.launcher')).toEqual(stats);

    // Without a name, every service answers.
    const names = new Set<unknown>();
    for (const verb of ['PING', 'INFO', 'STATS']) {
      for await (const answer of await plain.requestMany(`$SRV.${verb}`, undefined, {
        strategy: 'stall',
        maxWait: 2_000,
      }))
        names.add(`${verb} ${answer.json<{ name: string }>().name}`);
    }
    expect([...names]).toEqual(expect.arrayContaining(['PING launcher', 'INFO launcher', 'STATS launcher']));
    await plain.close();
    await broker.close();
    const after = await connect({ servers: nats.url });
    await expect(after.request('$SRV.PING.launcher')).rejects.toThrow(/no responders/i);
    await after.close();
  });

  it('must have a name and a version that the API allows', async () => {
    const announcement = { name: 'launch pad', version: 'one', description: '', endpoints: [] };
    await expect(pad.announce(announcement)).rejects.toThrow(/name "launch pad" .*; version "one" is not/);
  });
});
