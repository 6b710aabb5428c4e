import { createHash } from 'node:crypto';
import { jetstreamManager } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/nats-core';
import type { EmbeddedNats } from '@flotilla/embedded';
import { errorCode } from '@flotilla/kernel';
import { startTestNats, until, type TestServer } from '@flotilla/testing';
import {
  connectNats,
  DeadLetters,
  payloadHeader,
  permissionsOf,
  provision,
  type NatsBroker,
  type OutgoingMessage,
} from '../src/index.ts';
import {
  conformanceTopology,
  control as controlManifest,
  controlLog,
  launch,
  launched,
  launchRequest,
  launchRpc,
  okReply,
  pad as padManifest,
  padCommands,
} from '../src/testing/conformance-messages.ts';
import { quickBroker } from './nats-harness.ts';

const MAX_PAYLOAD = 64 * 1_024;
const text = 'é'.repeat(1_500_000); // three million bytes
const fleet = [padManifest, { ...controlManifest, calls: padManifest.answers }];
const large = (message: OutgoingMessage, content = text): OutgoingMessage => ({
  ...message,
  body: JSON.stringify({ text: content }),
});
const fewAttempts = { maxAttempts: 2, backoff: { initialMs: 5, maxMs: 10 } };

let nats: TestServer<EmbeddedNats>;
let admin: NatsConnection;
let pad: NatsBroker;
let control: NatsBroker;

/** As other programs see the stream: the chunks of a reference. */
async function chunkSubjects(): Promise<string[]> {
  const manager = await jetstreamManager(admin);
  const info = await manager.streams.info('PAYLOADS', { subjects_filter: '>' });
  return Object.keys(info.state.subjects ?? {});
}

beforeEach(async () => {
  nats = await startTestNats({
    config: `max_payload: ${MAX_PAYLOAD}`,
    users: [
      { user: 'admin', password: 'admin' },
      ...fleet.map((manifest) => ({
        user: manifest.name,
        password: manifest.name,
        permissions: permissionsOf(manifest, fleet),
      })),
    ],
  });
  admin = await connectNats({
    servers: nats.url,
    name: 'admin',
    credentials: { user: 'admin', password: 'admin' },
  });
  await provision(admin, conformanceTopology());
  const connect = (service: string): Promise<NatsBroker> =>
    quickBroker(nats.url, { service, credentials: { user: service, password: service } });
  [pad, control] = await Promise.all([connect('pad'), connect('control')]);
});
afterEach(async () => {
  await Promise.all([pad.close({ drainMs: 500 }), control.close({ drainMs: 500 }), admin.close()]);
  await nats.dispose();
});

describe('a body that is many times larger than the server takes', () => {
  it('arrives as an event, a request and an answer, with the permissions of the manifests', async () => {
    expect(pad.connection.info?.max_payload).toBe(MAX_PAYLOAD);
    const seen: unknown[] = [];
    await control.consume(controlLog, {}, async ({ message }) => void seen.push(message.json()));
    await pad.publish(large(launched('ariane')));
    await until(() => seen.length === 1);
    expect((seen[0] as { text: string }).text === text).toBe(true);

    await pad.serve(launchRpc, { queue: 'pad', maxInFlight: 2 }, async (request) =>
      okReply(request, request.json()),
    );
    const answer = await control.request(large(launchRequest('ariane')), { timeoutMs: 20_000 });
    expect((answer.json() as { text: string }).text === text).toBe(true);
  });

  it('is stored once however often it is sent, under its digest, in chunks that anybody can read', async () => {
    const event = large(launched('ariane'));
    await pad.publish(event);
    const chunks = await chunkSubjects();
    await pad.publish({ ...event, id: 'another-sending' });
    expect(await chunkSubjects()).toEqual(chunks);

    // What docs/wire.md tells a program in another language to do.
    const manager = await jetstreamManager(admin);
    const stored = await manager.streams.getMessage('EVT_pad', { seq: 1 });
    const ref = stored?.header.get(payloadHeader.ref) ?? '';
    const count = Number(stored?.header.get(payloadHeader.chunks));
    expect([stored?.data.length, chunks.length]).toEqual([0, count]);
    const parts: Uint8Array[] = [];
    for (let index = 0; index < count; index++)
      parts.push((await admin.request(`$JS.API.DIRECT.GET.PAYLOADS.${ref}.${index}`)).data);
    const body = Buffer.concat(parts);
    expect(String(body.length)).toBe(stored?.header.get(payloadHeader.size));
    expect(ref).toBe(`payload.evt.pad.${createHash('sha256').update(body).digest('hex')}`);
    expect(body.toString() === event.body).toBe(true);
  });

  it('may be written and read only by who sends and receives such messages', async () => {
    const denied = { code: 'PUBLISH_REFUSED' };
    await expect(
      control.publish({ ...large(launched('x')), subject: 'evt.pad.Launched.v1.0.x' }),
    ).rejects.toMatchObject(denied);
    await control.publish(large(launch('ariane')));
    const [command = ''] = await chunkSubjects();
    await expect(control.connection.request(`$JS.API.DIRECT.GET.PAYLOADS.${command}`)).rejects.toThrow(
      /Permissions Violation/i,
    );
    expect(
      (await pad.connection.request(`$JS.API.DIRECT.GET.PAYLOADS.${command}`)).data.length,
    ).toBeGreaterThan(0);
  });
});

describe('a dead letter of a large body', () => {
  it('keeps the reference, is shown whole, and can be sent back, also repaired', async () => {
    let works = false;
    const seen: number[] = [];
    await pad.consume(padCommands, fewAttempts, async ({ message }) => {
      if (!works) throw new Error('not yet');
      seen.push((message.json() as { text: string }).text.length);
    });
    await control.publish(large(launch('ariane')));
    const letters = new DeadLetters(admin);
    await until(async () => (await letters.list()).length === 1);
    const [letter] = await letters.list();
    const sequence = letter?.sequence ?? 0;
    expect([letter?.body.length, letter?.headers[payloadHeader.ref]]).toEqual([
      0,
      expect.stringMatching(/^payload\.cmd\.pad\./) as string,
    ]);
    expect((await letters.get(sequence)).body.length).toBeGreaterThan(3_000_000);
    works = true;
    await letters.replay(sequence);
    await until(() => seen.length === 1);

    works = false;
    await control.publish(large(launch('vega')));
    await until(async () => (await letters.list()).length === 1);
    const [second] = await letters.list();
    works = true;
    await letters.replay(second?.sequence ?? 0, { body: JSON.stringify({ text: text.slice(1) }) });
    await until(() => seen.length === 2);
    works = false;
    await control.publish(large(launch('soyuz')));
    await until(async () => (await letters.list()).length === 1);
    const [third] = await letters.list();
    works = true;
    await letters.replay(third?.sequence ?? 0, { body: JSON.stringify({ text: 'short' }) });
    await until(() => seen.length === 3);
    expect(seen).toEqual([text.length, text.length - 1, 5]);
  });
});

describe('a body that is not there', () => {
  const wipe = async (): Promise<void> => {
    const manager = await jetstreamManager(admin);
    await manager.streams.delete('PAYLOADS');
    await provision(admin, conformanceTopology());
  };

  it('is waited for, then a dead letter says so; published again, it can be sent back', async () => {
    const event = large(launched('ariane'));
    await pad.publish(event);
    await wipe();
    const seen: unknown[] = [];
    const given: string[] = [];
    await control.consume(
      controlLog,
      {
        ...fewAttempts,
        onDeadLetter: ({ message }, error) => void given.push(message.subject, errorCode(error)),
      },
      async ({ message }) => void seen.push(message.json()),
    );
    const letters = new DeadLetters(admin);
    const [letter] = await until(async () => {
      const all = await letters.list();
      return all.length > 0 && all;
    });
    expect(letter).toMatchObject({ errorCode: 'PAYLOAD_MISSING', attempts: 2 });
    expect(given).toEqual([event.subject, 'PAYLOAD_MISSING']);
    expect((await letters.get(letter?.sequence ?? 0)).body.length).toBe(0);
    expect(seen).toEqual([]);
    // As the outbox does it: the same message under the same id, body included.
    await pad.publish(event);
    await letters.replay(letter?.sequence ?? 0);
    await until(() => seen.length === 1);
  });

  it('comes in time when its sender writes it while it is waited for', async () => {
    const event = large(launched('ariane'));
    await pad.publish(event);
    await wipe();
    const seen: unknown[] = [];
    await control.consume(
      controlLog,
      { maxAttempts: 100, backoff: { initialMs: 20, maxMs: 50 } },
      async ({ message }) => void seen.push(message.json()),
    );
    await pad.publish(event);
    await until(() => seen.length === 1);
  });

  it('is never taken for another: what does not match its digest is refused for good', async () => {
    await pad.publish(large(launched('ariane')));
    const [chunk = ''] = await chunkSubjects();
    admin.publish(chunk, 'something else');
    await admin.flush();
    await control.consume(controlLog, fewAttempts, async () => undefined);
    const letters = new DeadLetters(admin);
    await until(async () => (await letters.list()).length === 1);
    expect((await letters.list())[0]).toMatchObject({ errorCode: 'PAYLOAD_CORRUPT', attempts: 1 });
  });

  it('is a failure to who asks, when the store is away', async () => {
    const manager = await jetstreamManager(admin);
    await pad.serve(launchRpc, { queue: 'pad', maxInFlight: 2 }, async (request) =>
      okReply(request, { text }),
    );
    await manager.streams.delete('PAYLOADS');
    const answer = await control.request(launchRequest('ariane'), { timeoutMs: 10_000 });
    expect([answer.envelope.outcome, answer.json()]).toEqual([
      'failed',
      expect.objectContaining({ code: 'NO_STREAM' }),
    ]);
    await expect(
      control.request(large(launchRequest('ariane')), { timeoutMs: 10_000 }),
    ).rejects.toMatchObject({
      code: 'NO_STREAM',
    });
  });
});
