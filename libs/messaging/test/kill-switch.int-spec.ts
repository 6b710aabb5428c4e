import type { EmbeddedNats } from '@flotilla/embedded';
import { startTestNats, until, type TestServer } from '@flotilla/testing';
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
import { quickBroker, removeAllStreams } from './nats-harness.ts';

describe('a consumer whose handler fails on everything', () => {
  let nats: TestServer<EmbeddedNats>;
  let pad: NatsBroker;
  let control: NatsBroker;
  let letters: DeadLetters;
  let broken: boolean;
  let handled: Set<number>;
  const options = {
    maxAttempts: 3,
    maxInFlight: 4,
    backoff: { initialMs: 5, maxMs: 10 },
    killSwitch: { failures: 5, windowMs: 60_000, probeInitialMs: 50, probeMaxMs: 200 },
  };
  const handle = async (n: number): Promise<void> => {
    if (broken) throw new Error(`engine ${n} is cold`);
    handled.add(n);
  };

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
    letters = new DeadLetters(pad.connection);
    broken = true;
    handled = new Set();
  });
  afterEach(async () => {
    await Promise.all([pad.close(), control.close()]);
  });

  it('pauses, loses nothing to the dead letters while it tries, and goes on by itself', async () => {
    const consumption = await pad.consume(padCommands, options, ({ message }) =>
      handle(payloadOf(message).n),
    );
    for (let n = 0; n < 60; n++) await control.publish(launch(`rocket-${n}`, n));
    await until(() => consumption.state().paused !== undefined);
    expect(pad.health()).toMatchObject({
      connected: true,
      jetstream: true,
      degraded: [expect.stringContaining('consumer pad is paused since') as string],
    });
    await until(() => (consumption.state().paused?.probes ?? 0) >= 5);
    // As many attempts as a message has, and more, were spent on probes.
    expect(await letters.count()).toBe(0);
    expect(handled.size).toBe(0);
    broken = false;
    await until(() => handled.size === 60, { timeoutMs: 20_000 });
    expect(consumption.state().paused).toBeUndefined();
    expect(pad.health().degraded).toBeUndefined();
    expect(await letters.count()).toBe(0);
  });

  it('leaves the messages to another process that can handle them', async () => {
    const consumption = await pad.consume(padCommands, options, ({ message }) =>
      handle(payloadOf(message).n),
    );
    for (let n = 0; n < 20; n++) await control.publish(launch(`rocket-${n}`, n));
    await until(() => consumption.state().paused !== undefined);
    const other = await quickBroker(nats.url);
    await other.consume(padCommands, options, async ({ message }) => {
      handled.add(payloadOf(message).n);
    });
    await until(() => handled.size === 20, { timeoutMs: 20_000 });
    await other.close();
    expect(await letters.count()).toBe(0);
  });

  it('keeps its order when it is ordered', async () => {
    const seen: number[] = [];
    const consumption = await control.consume(
      controlScreen,
      { ...options, ordered: true, killSwitch: { ...options.killSwitch, failures: 3 } },
      async ({ message }) => {
        const { n } = payloadOf(message);
        await handle(n);
        if (message.envelope.subject === 'ariane') seen.push(n);
      },
    );
    for (let n = 0; n < 6; n++) {
      await pad.publish(launched('ariane', n));
      await pad.publish(launched(`other-${n}`, 100 + n));
    }
    await until(() => consumption.state().paused !== undefined);
    broken = false;
    await until(() => handled.size === 12, { timeoutMs: 20_000 });
    expect(seen).toEqual([0, 1, 2, 3, 4, 5]);
  });

  it('is not paused by messages that fail among others that do not', async () => {
    const consumption = await control.consume(controlLog, options, async ({ message }) => {
      const { n } = payloadOf(message);
      if (n % 2 === 1) throw new Error(`engine ${n} is cold`);
      handled.add(n);
    });
    for (let n = 0; n < 20; n++) await pad.publish(launched(`rocket-${n}`, n));
    await until(async () => (await letters.count()) === 10, { timeoutMs: 20_000 });
    expect(handled.size).toBe(10);
    expect(consumption.state().paused).toBeUndefined();
  });
});
