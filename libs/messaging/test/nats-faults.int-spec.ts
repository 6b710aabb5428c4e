import { jetstreamManager } from '@nats-io/jetstream';
import { errorCode } from '@flotilla/kernel';
import { startTestNats, until, type TestServer } from '@flotilla/testing';
import type { EmbeddedNats } from '@flotilla/embedded';
import {
  connectNats,
  noMessagingMetrics,
  provision,
  type HealReason,
  type MessagingMetrics,
  type NatsBroker,
} from '../src/index.ts';
import {
  conformanceTopology,
  controlScreen,
  launch,
  launched,
  launchRequest,
  launchRpc,
  okReply,
  padCommands,
  payloadOf,
} from '../src/testing/conformance-messages.ts';
import { matching } from './matchers.ts';
import { quickBroker, removeAllStreams } from './nats-harness.ts';

class CountedMetrics implements MessagingMetrics {
  readonly heals: HealReason[] = [];
  readonly counts: Record<string, number> = {};
  readonly #count = (name: string) => (): void => {
    this.counts[name] = (this.counts[name] ?? 0) + 1;
  };
  readonly disconnected = this.#count('disconnected');
  readonly reconnected = this.#count('reconnected');
  readonly publishRefused = this.#count('publishRefused');
  readonly slowConsumer = this.#count('slowConsumer');
  readonly redelivered = this.#count('redelivered');
  readonly retried = this.#count('retried');
  readonly deadLettered = this.#count('deadLettered');
  readonly deadLetterFailed = this.#count('deadLetterFailed');
  readonly stalled = this.#count('stalled');
  readonly overloaded = this.#count('overloaded');
  readonly pending = noMessagingMetrics.pending;
  readonly paused = noMessagingMetrics.paused;
  readonly resumed = noMessagingMetrics.resumed;
  readonly stuck = noMessagingMetrics.stuck;
  readonly deadLettersUnwritten = noMessagingMetrics.deadLettersUnwritten;
  healed(_consumer: string, reason: HealReason): void {
    this.heals.push(reason);
  }
}

describe('the NATS broker under faults', () => {
  let nats: TestServer<EmbeddedNats>;
  let pad: NatsBroker;
  let control: NatsBroker;
  let metrics: CountedMetrics;

  beforeAll(async () => {
    nats = await startTestNats();
  });
  afterAll(() => nats.dispose());

  beforeEach(async () => {
    if (!nats.server.running) await nats.server.restart();
    const admin = await connectNats({ servers: nats.url, name: 'admin' });
    await removeAllStreams(admin);
    await provision(admin, conformanceTopology());
    await admin.close();
    metrics = new CountedMetrics();
    [pad, control] = await Promise.all([
      quickBroker(nats.url, { metrics }),
      quickBroker(nats.url, { service: 'control', metrics }),
    ]);
  });
  afterEach(async () => {
    await Promise.all([pad.close({ drainMs: 0 }), control.close({ drainMs: 0 })]);
  });

  it('goes on consuming after the server was killed and started again, and says meanwhile what is wrong', async () => {
    const seen: number[] = [];
    const consumption = await pad.consume(
      padCommands,
      {},
      async ({ message }) => void seen.push(payloadOf(message).n),
    );
    const ordered = new Map<string, number>();
    await control.consume(controlScreen, { ordered: true }, async ({ message }) => {
      const { rocket, n } = payloadOf(message);
      ordered.set(rocket, n);
    });
    await control.publish(launch('ariane', 1));
    await until(() => seen.includes(1));

    await nats.server.kill();
    await until(() => !pad.health().connected && !control.health().connected);
    expect(pad.health().detail).toMatch(/disconnected from .* reconnecting/);
    expect(consumption.state()).toMatchObject({ status: 'healing', detail: matching(/disconnected/) });
    await expect(control.publish(launch('ariane', 2))).rejects.toMatchObject({
      code: 'BROKER_UNAVAILABLE',
      retry: 'later',
    });
    await expect(control.request(launchRequest('ariane'), { timeoutMs: 1_000 })).rejects.toMatchObject({
      code: 'BROKER_UNAVAILABLE',
    });

    await nats.server.restart();
    await until(() => pad.health().jetstream && control.health().jetstream, { timeoutMs: 15_000 });
    await control.publish(launch('ariane', 3));
    await pad.publish(launched('ariane', 4));
    await until(() => seen.includes(3) && ordered.get('ariane') === 4);
    expect(consumption.state().status).toBe('running');
    expect(metrics.counts).toMatchObject({ disconnected: 2, reconnected: 2 });
    expect(metrics.heals).toContain('reconnected');
  }, 40_000);

  it('fails what is in flight with a typed error when the connection breaks', async () => {
    await pad.serve(launchRpc, { queue: 'pad', maxInFlight: 1 }, () => new Promise(() => undefined));
    const asked = control.request(launchRequest('ariane'), { timeoutMs: 60_000 });
    const refused = expect(asked).rejects.toMatchObject({ code: 'BROKER_UNAVAILABLE' });
    const published = Promise.allSettled(
      Array.from({ length: 2_000 }, (_, n) => control.publish(launch(`rocket-${n}`, n))),
    );
    await nats.server.kill();
    await refused;
    const results = await published;
    const failures = results.flatMap((result) =>
      result.status === 'rejected' ? [result.reason as unknown] : [],
    );
    expect(failures.length).toBeGreaterThan(0);
    for (const failure of failures)
      expect(failure).toMatchObject({ code: 'BROKER_UNAVAILABLE', retry: 'later' });
  }, 40_000);

  it('stores each message once when everything is published again after a crash', async () => {
    const messages = Array.from({ length: 500 }, (_, n) => launch(`rocket-${n}`, n));
    const first = Promise.allSettled(messages.map((message) => control.publish(message)));
    await nats.server.kill();
    await first;
    await nats.server.restart();
    await until(() => control.health().jetstream, { timeoutMs: 15_000 });
    await Promise.all(messages.map((message) => control.publish(message)));
    const manager = await jetstreamManager(control.connection);
    expect((await manager.streams.info('CMD_pad')).state.messages).toBe(500);
  }, 40_000);

  it('gives messages that were in flight when the server died to their handlers once, and settles them', async () => {
    // Longer than the restart takes: else the server may deliver again just as the handler ends, as it should.
    await provision(control.connection, conformanceTopology({ ackWaitMs: 30_000 }));
    let open = (): void => undefined;
    const gate = new Promise<void>((resolve) => (open = resolve));
    const attempts: number[] = [];
    await pad.consume(padCommands, {}, async ({ attempt }) => {
      attempts.push(attempt);
      await gate;
    });
    await control.publish(launch('ariane', 1));
    await until(() => attempts.length === 1);
    await nats.server.kill();
    await until(() => !pad.health().connected);
    await nats.server.restart();
    await until(() => pad.health().jetstream, { timeoutMs: 15_000 });
    open();
    const manager = await jetstreamManager(pad.connection);
    await until(async () => (await manager.streams.info('CMD_pad')).state.messages === 0);
    expect(attempts).toEqual([1]);
  }, 40_000);

  it('reports a consumer that somebody deleted, and receives again once it is provisioned', async () => {
    const seen: number[] = [];
    const consumption = await pad.consume(
      padCommands,
      {},
      async ({ message }) => void seen.push(payloadOf(message).n),
    );
    await control.publish(launch('ariane', 1));
    await until(() => seen.length === 1);

    const manager = await jetstreamManager(control.connection);
    await manager.consumers.delete('CMD_pad', 'pad');
    await until(() => /run `fleet provision`/.test(consumption.state().detail ?? ''));
    expect(consumption.state().status).toBe('healing');
    expect(pad.health()).toMatchObject({
      connected: true,
      jetstream: false,
      detail: 'CMD_pad/pad: the consumer is not on the server: run `fleet provision`',
    });
    await control.publish(launch('ariane', 2));

    await provision(control.connection, conformanceTopology());
    await until(() => seen.includes(2), { timeoutMs: 15_000 });
    // The new consumer may begin with what the old one had handled and nobody had taken out of the queue yet.
    expect([...new Set(seen)]).toEqual([1, 2]);
    expect(pad.health()).toEqual({ connected: true, jetstream: true });
    expect(metrics.heals).toContain('consumer-missing');
  }, 30_000);

  it('opens a consumer again of which nothing is heard, although the connection stands', async () => {
    const seen: number[] = [];
    const consumption = await pad.consume(
      padCommands,
      {},
      async ({ message }) => void seen.push(payloadOf(message).n),
    );
    process.kill(nats.server.pid, 'SIGSTOP');
    try {
      await until(() => metrics.heals.includes('heartbeats-missed'));
      expect(consumption.state()).toMatchObject({
        status: 'healing',
        detail: matching(/^CMD_pad\/pad: nothing heard for \d+ ms/),
      });
    } finally {
      process.kill(nats.server.pid, 'SIGCONT');
    }
    await until(() => consumption.state().status === 'running', { timeoutMs: 15_000 });
    await control.publish(launch('ariane', 1));
    await until(() => seen.length === 1);
  }, 30_000);

  it('says so in its health when JetStream does not answer, and when it does again', async () => {
    const frozen = await startTestNats();
    const broker = await quickBroker(frozen.url, { publishTimeoutMs: 300, metrics });
    try {
      expect(broker.health().jetstream).toBe(true);
      process.kill(frozen.server.pid, 'SIGSTOP');
      try {
        // The signal may take a moment; until then the answer is that there is no such stream.
        await until(async () => {
          const [result] = await Promise.allSettled([broker.publish(launch('ariane'))]);
          return result.status === 'rejected' && errorCode(result.reason) === 'PUBLISH_TIMEOUT';
        });
        expect(broker.health()).toMatchObject({ jetstream: false, detail: matching(/no acknowledgement/) });
      } finally {
        process.kill(frozen.server.pid, 'SIGCONT');
      }
      await until(() => broker.health().jetstream, { timeoutMs: 15_000 });
    } finally {
      await broker.close();
      await frozen.dispose();
    }
  }, 30_000);

  it('closes in bounded time although the server is away', async () => {
    await pad.consume(padCommands, {}, async () => undefined);
    await control.consume(controlScreen, { ordered: true }, async () => undefined);
    await pad.serve(launchRpc, { queue: 'pad', maxInFlight: 1 }, async (request) => okReply(request, 1));
    await pad.announce({ name: 'pad', version: '1.0.0', description: '', endpoints: [launchRpc] });
    await nats.server.kill();
    await until(() => !pad.health().connected && !control.health().connected);
    const started = performance.now();
    await Promise.all([pad.close(), control.close()]);
    expect(performance.now() - started).toBeLessThan(5_000);
    expect(pad.connection.isClosed()).toBe(true);
  }, 20_000);

  it('refuses what the server would refuse, before sending it', async () => {
    const message = launch('ariane');
    // What the server does not take travels apart, up to 64 MiB.
    const large = { ...message, body: JSON.stringify('x'.repeat(64 * 1_024 * 1_024)) };
    await expect(control.publish(large)).rejects.toMatchObject({ code: 'MESSAGE_TOO_LARGE', retry: 'never' });
    const split = { ...message, headers: { ...message.headers, 'x-note': 'two\r\nlines' } };
    await expect(control.publish(split)).rejects.toMatchObject({ code: 'INVALID_HEADER' });
  });

  it('keeps a message whose dead letter is refused, until the dead letter can be written', async () => {
    const manager = await jetstreamManager(control.connection);
    await manager.streams.delete('DLQ');
    const quick = { backoff: { initialMs: 5, maxMs: 20 }, maxAttempts: 2 };
    await pad.consume(padCommands, quick, async () => {
      throw new Error('always');
    });
    await control.publish(launch('ariane'));
    await until(() => (metrics.counts['deadLetterFailed'] ?? 0) >= 3);
    expect((await manager.streams.info('CMD_pad')).state.messages).toBe(1);
    await provision(control.connection, conformanceTopology());
    await until(async () => (await manager.streams.info('DLQ')).state.messages === 1);
    await until(async () => (await manager.streams.info('CMD_pad')).state.messages === 0);
    expect(metrics.counts['deadLettered']).toBe(1);
  });

  it('does not hold more than it may, however much waits', async () => {
    let open = (): void => undefined;
    const gate = new Promise<void>((resolve) => (open = resolve));
    for (let n = 0; n < 100; n++) await control.publish(launch(`rocket-${n}`, n));
    let done = 0;
    await pad.consume(padCommands, { maxInFlight: 5 }, async () => {
      await gate;
      done++;
    });
    const manager = await jetstreamManager(control.connection);
    const held = async (): Promise<number> =>
      (await manager.consumers.info('CMD_pad', 'pad')).num_ack_pending;
    await until(async () => (await held()) === 10);
    await control.connection.flush();
    expect(await held()).toBe(10);
    open();
    await until(() => done === 100);
  });

  it('answers a plain client, and takes the answers of a plain program', async () => {
    await pad.serve(launchRpc, { queue: 'pad', maxInFlight: 1 }, async (request) =>
      okReply(request, { ok: 1 }),
    );
    const plain = await connectNats({ servers: nats.url, name: 'plain' });
    const bare = await plain.request(launchRpc, '{}', { timeout: 5_000 });
    expect(bare.headers?.get('Nats-Service-Error-Code')).toBe('500');
    expect(bare.json()).toMatchObject({ code: 'MALFORMED_ENVELOPE' });

    plain.subscribe('rpc.plain.Echo.v1', {
      callback: (_error, message) => void message.respond('{"echo":true}'),
    });
    await plain.flush();
    const echo = { ...launchRequest('ariane'), subject: 'rpc.plain.Echo.v1' };
    const reply = await control.request(echo, { timeoutMs: 5_000 });
    expect(reply.envelope).toMatchObject({ outcome: 'ok', type: 'pad.Launch.v1', source: 'unknown' });
    expect(reply.json()).toEqual({ echo: true });
    await plain.close();
  });

  it('gives up connecting at its deadline, and at once when the credentials are wrong', async () => {
    const nobody = quickBroker('nats://127.0.0.1:9', { connectTimeoutMs: 300 });
    await expect(nobody).rejects.toMatchObject({ code: 'BROKER_UNAVAILABLE' });
    const guarded = await startTestNats({ users: [{ user: 'pad', password: 'right' }] });
    try {
      const wrong = quickBroker(guarded.url, { credentials: { user: 'pad', password: 'wrong' } });
      await expect(wrong).rejects.toThrow(/the credentials of pad were refused/);
    } finally {
      await guarded.dispose();
    }
  });
});
