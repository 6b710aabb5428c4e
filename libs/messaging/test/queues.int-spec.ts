import { jetstreamManager, type JetStreamManager } from '@nats-io/jetstream';
import { startTestNats, until, type TestServer } from '@flotilla/testing';
import type { EmbeddedNats } from '@flotilla/embedded';
import { provision, streamView, type NatsBroker } from '../src/index.ts';
import { conformanceTopology, launch, padCommands, payloadOf } from '../src/testing/conformance-messages.ts';
import { matching } from './matchers.ts';
import { quickBroker, removeAllStreams } from './nats-harness.ts';

describe('a queue', () => {
  let nats: TestServer<EmbeddedNats>;
  let pad: NatsBroker;
  let manager: JetStreamManager;
  const messages = async (): Promise<number> => (await manager.streams.info('CMD_pad')).state.messages;

  beforeAll(async () => {
    nats = await startTestNats();
  });
  afterAll(() => nats.dispose());
  beforeEach(async () => {
    pad = await quickBroker(nats.url);
    manager = await jetstreamManager(pad.connection);
    await removeAllStreams(pad.connection);
    await provision(pad.connection, conformanceTopology());
  });
  afterEach(() => pad.close());

  it('loses what was handled, and nothing behind what was not', async () => {
    let open = (): void => undefined;
    const gate = new Promise<void>((resolve) => (open = resolve));
    const seen: number[] = [];
    for (let n = 0; n < 10; n++) await pad.publish(launch(`rocket-${n}`, n));
    await pad.consume(padCommands, {}, async ({ message }) => {
      const { n } = payloadOf(message);
      if (n === 4) await gate;
      seen.push(n);
    });
    await until(async () => (await messages()) === 6);
    expect((await manager.streams.info('CMD_pad')).state.first_seq).toBe(5);
    expect(seen).toHaveLength(9);
    open();
    await until(async () => (await messages()) === 0);
  });

  it('keeps what another consumer of it has to handle', async () => {
    await manager.consumers.add('CMD_pad', {
      durable_name: 'stand-in',
      filter_subjects: ['cmd.pad.Other.v1.*.*'],
      ack_policy: 'explicit',
    });
    const other = { ...launch('ariane'), subject: 'cmd.pad.Other.v1.1.ariane' };
    await pad.publish(other);
    for (let n = 0; n < 3; n++) await pad.publish(launch('ariane', n));
    let handled = 0;
    await pad.consume(padCommands, {}, async () => void handled++);
    await until(async () => handled === 3 && (await messages()) === 1);
    expect((await manager.streams.getMessage('CMD_pad', { seq: 1 }))?.subject).toBe(other.subject);
  });

  it('keeps what no consumer reads: it was never handled', async () => {
    const unread = { ...launch('ariane'), subject: 'cmd.pad.Launch.v9.1.ariane' };
    await pad.publish(unread);
    for (let n = 0; n < 3; n++) await pad.publish(launch('ariane', n));
    let handled = 0;
    await pad.consume(padCommands, {}, async () => void handled++);
    await until(async () => handled === 3 && (await messages()) === 1);
    expect((await manager.streams.getMessage('CMD_pad', { seq: 1 }))?.subject).toBe(unread.subject);
  });

  it('that is full refuses more, and takes it again when there is room', async () => {
    await manager.streams.update('CMD_pad', { max_bytes: 2_000 });
    const sent: number[] = [];
    const refused = await (async () => {
      for (let n = 0; ; n++) {
        try {
          await pad.publish(launch('ariane', n));
          sent.push(n);
        } catch (error) {
          return error;
        }
      }
    })();
    expect(refused).toMatchObject({
      code: 'PUBLISH_REFUSED',
      retry: 'later',
      reason: matching(/maximum bytes/),
    });
    const seen: number[] = [];
    await pad.consume(padCommands, {}, async ({ message }) => void seen.push(payloadOf(message).n));
    await until(async () => (await messages()) === 0);
    expect(seen).toEqual(sent);
    await pad.publish(launch('ariane', 99));
    await until(() => seen.includes(99));
  });

  it('can be asked what it has kept', async () => {
    const view = streamView(pad.connection);
    const message = launch('ariane');
    const { sequence } = await pad.publish(message);
    expect(await view.streamState('CMD_pad')).toMatchObject({ firstSequence: 1, lastSequence: 1 });
    expect(await view.streamState('CMD_nobody')).toBeUndefined();
    expect(await view.exists('CMD_pad', sequence, message.id)).toBe(true);
    expect(await view.exists('CMD_pad', sequence, 'another')).toBe(false);
    expect(await view.exists('CMD_pad', sequence + 1, message.id)).toBe(false);
    await manager.streams.purge('CMD_pad');
    expect(await view.exists('CMD_pad', sequence, message.id)).toBe(true);
  });
});
