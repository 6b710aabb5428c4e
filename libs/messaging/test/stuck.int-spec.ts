import type { EmbeddedNats } from '@flotilla/embedded';
import { startTestNats, until, type TestServer } from '@flotilla/testing';
import { jetstream, jetstreamManager, type JetStreamManager } from '@nats-io/jetstream';
import { DeadLetters, provision, type HealReason, type NatsBroker } from '../src/index.ts';
import { noMessagingMetrics } from '../src/messaging-metrics.ts';
import { conformanceTopology, launch, padCommands, payloadOf } from '../src/testing/conformance-messages.ts';
import { quickBroker, removeAllStreams } from './nats-harness.ts';

describe('a consumer that gets nothing although messages wait', () => {
  let nats: TestServer<EmbeddedNats>;
  let pad: NatsBroker;
  let control: NatsBroker;
  let manager: JetStreamManager;
  let handled: number[];
  let reasons: (string | undefined)[];
  let healed: HealReason[];
  const options = { maxAttempts: 2, backoff: { initialMs: 5, maxMs: 50 } };

  beforeAll(async () => {
    nats = await startTestNats();
  });
  afterAll(() => nats.dispose());
  beforeEach(async () => {
    handled = [];
    reasons = [];
    healed = [];
    [pad, control] = await Promise.all([
      quickBroker(nats.url, {
        stuckAfterMs: 200,
        // Long enough for its missing heartbeats not to be what heals.
        pull: { expiresMs: 60_000, heartbeatMs: 30_000 },
        metrics: {
          ...noMessagingMetrics,
          stuck: (_consumer, reason) => reasons.push(reason),
          healed: (_consumer, reason) => healed.push(reason),
        },
      }),
      quickBroker(nats.url, { service: 'control' }),
    ]);
    await removeAllStreams(pad.connection);
    await provision(pad.connection, conformanceTopology({ maxAckPending: 2, ackWaitMs: 2_000 }));
    manager = await jetstreamManager(pad.connection);
  });
  afterEach(async () => {
    await Promise.all([pad.close(), control.close()]);
  });
  const consume = () =>
    pad.consume(padCommands, options, async ({ message }) => {
      handled.push(payloadOf(message).n);
    });

  it('says that somebody has paused it at the server, and goes on when it is resumed', async () => {
    const consumption = await consume();
    await manager.consumers.pause(padCommands.stream, padCommands.name, new Date(Date.now() + 600_000));
    await control.publish(launch('ariane', 1));
    await until(() => consumption.state().stuck === 'paused-at-server');
    expect(pad.health()).toMatchObject({
      jetstream: true,
      degraded: [expect.stringContaining('somebody has paused it at the server') as string],
    });
    await manager.consumers.resume(padCommands.stream, padCommands.name);
    await until(() => handled.length === 1, { timeoutMs: 15_000 });
    await until(() => consumption.state().stuck === undefined);
    expect([reasons[0], reasons.at(-1)]).toEqual(['paused-at-server', undefined]);
  });

  it('says that others hold all that may be in flight, and gets it after the ack wait', async () => {
    for (let n = 0; n < 5; n++) await control.publish(launch(`rocket-${n}`, n));
    const mute = await jetstream(control.connection).consumers.get(padCommands.stream, padCommands.name);
    for (const _ of [1, 2]) await mute.next({ expires: 1_000 });
    const consumption = await consume();
    await until(() => consumption.state().stuck === 'window-full');
    await until(() => handled.length === 5, { timeoutMs: 15_000 });
    await until(() => consumption.state().stuck === undefined);
    expect(healed).toEqual([]);
  });

  it('asks again when the server has lost what it asked for', async () => {
    const { connection } = pad;
    const publish = connection.publish.bind(connection);
    let lost = 0;
    connection.publish = (subject, ...rest) => {
      if (subject.startsWith('$JS.API.CONSUMER.MSG.NEXT.') && lost++ === 0) return;
      publish(subject, ...rest);
    };
    await consume();
    await control.publish(launch('ariane', 1));
    await until(() => handled.length === 1, { timeoutMs: 15_000 });
    expect(healed).toEqual(['no-delivery']);
    await until(() => reasons.length === 2);
    expect(reasons).toEqual(['no-delivery', undefined]);
  });

  it('keeps messages whose dead letters cannot be written, says so, and writes them when it can', async () => {
    const { config } = await manager.streams.info('DLQ');
    await manager.streams.update('DLQ', { ...config, max_msg_size: 1 });
    const consumption = await pad.consume(padCommands, options, () => Promise.reject(new Error('cold')));
    await control.publish(launch('ariane', 1));
    await until(() => consumption.state().unwrittenDeadLetters === 1);
    expect(pad.health().degraded).toEqual([
      expect.stringContaining('consumer pad cannot write 1 dead letter(s)') as string,
    ]);
    await manager.streams.update('DLQ', { ...config, max_msg_size: -1 });
    const letters = new DeadLetters(pad.connection);
    await until(async () => (await letters.count()) === 1, { timeoutMs: 15_000 });
    await until(() => consumption.state().unwrittenDeadLetters === 0);
    expect(pad.health().degraded).toBeUndefined();
  });
});
