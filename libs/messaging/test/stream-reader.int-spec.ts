import { defineService } from '@flotilla/contracts-protocol';
import type { EmbeddedNats } from '@flotilla/embedded';
import { startTestNats, type TestServer } from '@flotilla/testing';
import { connectNats, permissionsOf, provision, streamReader, type NatsBroker } from '../src/index.ts';
import {
  conformanceTopology,
  Launched,
  launched,
  pad as padManifest,
} from '../src/testing/conformance-messages.ts';
import { quickBroker } from './nats-harness.ts';

const viewer = defineService({
  name: 'viewer',
  reacts: { view: { events: [Launched], replayable: true } },
});
const user = (name: string) => ({ user: name, password: name });

describe('reading a stream without a consumer', () => {
  let nats: TestServer<EmbeddedNats>;
  let pad: NatsBroker;
  let reader: NatsBroker;

  beforeAll(async () => {
    const fleet = [padManifest, viewer];
    nats = await startTestNats({
      users: [
        user('admin'),
        ...fleet.map((manifest) => ({
          ...user(manifest.name),
          permissions: permissionsOf(manifest, fleet),
        })),
      ],
    });
    const admin = await connectNats({ servers: nats.url, name: 'admin', credentials: user('admin') });
    await provision(admin, conformanceTopology());
    await admin.close();
    pad = await quickBroker(nats.url, { service: 'pad', credentials: user('pad') });
    reader = await quickBroker(nats.url, { service: 'viewer', credentials: user('viewer') });
    for (let n = 1; n <= 7; n++) await pad.publish(launched('ariane', n));
  });
  afterAll(async () => {
    await Promise.all([pad.close(), reader.close()]);
    await nats.dispose();
  });

  it('gives pages in order, from any place, to the end', async () => {
    const streams = streamReader(reader.connection);
    const numbers = async (from: number, limit: number): Promise<number[]> =>
      (await streams.read('EVT_pad', from, limit)).map(
        ({ body }) => (JSON.parse(new TextDecoder().decode(body)) as { n: number }).n,
      );
    expect(await numbers(1, 3)).toEqual([1, 2, 3]);
    expect(await numbers(4, 3)).toEqual([4, 5, 6]);
    expect(await numbers(7, 3)).toEqual([7]);
    expect(await numbers(8, 3)).toEqual([]);
    expect(await streams.streamState('EVT_pad')).toMatchObject({ firstSequence: 1, lastSequence: 7 });
  });

  it('gives messages with their envelope', async () => {
    const [first] = await streamReader(reader.connection).read('EVT_pad', 1, 1);
    expect(first).toMatchObject({
      sequence: 1,
      subject: expect.stringMatching(/^evt\.pad\.Launched\.v1\.\d+\.ariane$/) as string,
      headers: { 'ce-type': 'pad.Launched.v1', 'ce-subject': 'ariane' },
    });
  });

  it('is for those whose manifest says so', () => {
    const allowed = (manifest: typeof viewer): readonly string[] =>
      permissionsOf(manifest, [padManifest, viewer]).publish.allow;
    expect(allowed(viewer)).toEqual(
      expect.arrayContaining(['$JS.API.DIRECT.GET.EVT_pad', 'ops.pad.history']),
    );
    const other = defineService({ name: 'viewer', reacts: { view: { events: [Launched] } } });
    expect(allowed(other).filter((each) => /DIRECT\.GET\.EVT_|^ops/.test(each))).toEqual([]);
  });
});
