import { startTestNats, until, type TestServer } from '@flotilla/testing';
import type { EmbeddedNats } from '@flotilla/embedded';
import { FlotillaError } from '@flotilla/kernel';
import { DeadLetters, provision, type NatsBroker } from '../src/index.ts';
import {
  conformanceTopology,
  controlLog,
  controlScreen,
  launch,
  launched,
  padCommands,
  payloadOf,
} from '../src/testing/conformance-messages.ts';
import { matching } from './matchers.ts';
import { quickBroker, removeAllStreams } from './nats-harness.ts';

describe('dead letters', () => {
  let nats: TestServer<EmbeddedNats>;
  let pad: NatsBroker;
  let control: NatsBroker;
  let letters: DeadLetters;
  let broken: boolean;
  let handled: string[];
  const options = { maxAttempts: 2, backoff: { initialMs: 5, maxMs: 10 } };

  beforeAll(async () => {
    nats = await startTestNats();
  });
  afterAll(() => nats.dispose());
  beforeEach(async () => {
    [pad, control] = await Promise.all([
      quickBroker(nats.url),
      quickBroker(nats.url, { service: 'control' }),
    ]);
    await removeAllStreams(pad.connection);
    await provision(pad.connection, conformanceTopology());
    letters = new DeadLetters(control.connection);
    broken = true;
    handled = [];
    const handle = async (name: string, n: number): Promise<void> => {
      if (broken) throw new FlotillaError('ENGINE_FAILURE', 'cold\nengine');
      handled.push(`${name} ${n}`);
    };
    await pad.consume(padCommands, options, ({ message }) => handle('pad', payloadOf(message).n));
    await control.consume(controlLog, options, ({ message }) => handle('log', payloadOf(message).n));
    await control.consume(controlScreen, { ...options, ordered: true }, async ({ message }) => {
      handled.push(`screen ${payloadOf(message).n}`);
    });
  });
  afterEach(async () => {
    await Promise.all([pad.close(), control.close()]);
  });

  it('can be listed, by service and page by page, and counted', async () => {
    for (let n = 0; n < 5; n++) await control.publish(launch(`rocket-${n}`, n));
    await pad.publish(launched('ariane', 9));
    await until(async () => (await letters.count()) === 6);
    expect(await letters.count('pad')).toBe(5);
    expect(await letters.count('nobody')).toBe(0);
    const first = await letters.list({ service: 'pad', limit: 3 });
    const rest = await letters.list({ service: 'pad', after: first[2]!.sequence });
    expect([first.length, rest.length]).toEqual([3, 2]);
    expect(
      [...first, ...rest]
        .map(({ body }) => (JSON.parse(Buffer.from(body).toString()) as { n: number }).n)
        .sort(),
    ).toEqual([0, 1, 2, 3, 4]);
    const [event] = await letters.list({ service: 'control' });
    expect(event).toMatchObject({
      service: 'control',
      consumer: 'control-log',
      errorCode: 'ENGINE_FAILURE',
      errorMessage: 'cold engine',
      errorStack: matching(/^FlotillaError: cold\nengine\n/),
      attempts: 2,
      originalStream: 'EVT_pad',
      type: 'pad.Launched.v1',
      subject: 'ariane',
      history: [{ attempt: 1 }, { attempt: 2 }],
    });
  });

  it('replayed go only to the consumer that failed, once, and are gone then', async () => {
    const event = launched('ariane', 1);
    await pad.publish(event);
    await until(async () => (await letters.count()) === 1);
    const [letter] = await letters.list();
    broken = false;
    const receipt = await letters.replay(letter!.sequence);
    expect(receipt).toMatchObject({ stream: 'EVT_pad', duplicate: false });
    await until(() => handled.includes('log 1'));
    expect(handled).toEqual(['screen 1', 'log 1']);
    expect(await letters.count()).toBe(0);
    await expect(letters.replay(letter!.sequence)).rejects.toMatchObject({ code: 'DEAD_LETTER_NOT_FOUND' });
  });

  it('keep the id of their message, and may be repaired', async () => {
    const message = launch('ariane', 1);
    await control.publish(message);
    await until(async () => (await letters.count()) === 1);
    const [letter] = await letters.list();
    expect(letter!.messageId).toBe(message.id);
    broken = false;
    await letters.replay(letter!.sequence, { body: '{"rocket":"ariane","n":42}' });
    await until(() => handled.includes('pad 42'));
  });

  it('that fail again are new dead letters', async () => {
    await control.publish(launch('ariane', 1));
    await until(async () => (await letters.count()) === 1);
    const [first] = await letters.list();
    await letters.replay(first!.sequence);
    const [second] = await until(async () => {
      const all = await letters.list();
      return all.length === 1 && all[0]!.sequence !== first!.sequence && all;
    });
    expect(second!.headers['flotilla-replay-of']).toBe(String(first!.sequence));
    broken = false;
    await letters.replay(second!.sequence);
    await until(() => handled.includes('pad 1'));
  });

  it('can be dropped, with the reason handed back for the record', async () => {
    await control.publish(launch('ariane', 1));
    await until(async () => (await letters.count()) === 1);
    const [letter] = await letters.list();
    expect(await letters.drop(letter!.sequence, 'a test order')).toMatchObject({
      droppedBecause: 'a test order',
      sequence: letter!.sequence,
    });
    expect(await letters.list()).toEqual([]);
    await expect(letters.get(letter!.sequence)).rejects.toMatchObject({ code: 'DEAD_LETTER_NOT_FOUND' });
  });
});
