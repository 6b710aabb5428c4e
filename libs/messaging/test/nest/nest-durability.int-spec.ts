import type { EmbeddedNats } from '@flotilla/embedded';
import { contractOf, encodeEnvelope, eventSubject, rpcSubject } from '@flotilla/contracts-protocol';
import { newId } from '@flotilla/kernel';
import { jetstreamManager } from '@nats-io/jetstream';
import { currentContext, traceHeaders } from '@flotilla/observability';
import { startTestNats, until, type TestServer } from '@flotilla/testing';
import { NestFactory } from '@nestjs/core';
import { RpcException, type MicroserviceOptions } from '@nestjs/microservices';
import { connect, type NatsConnection } from '@nats-io/transport-node';
import { EMPTY, finalize, lastValueFrom, NEVER, of, range } from 'rxjs';
import { connectNats, DeadLetters, type DeadLetter, type NatsBroker } from '../../src/index.ts';
import { FlotillaClient, FlotillaServer, type FlotillaServerOptions } from '../../src/nest/index.ts';
import { silentLog } from '../../src/testing/silent-log.ts';
import { quickBroker, quickPull, removeAllStreams } from '../nats-harness.ts';
import { GetPrice, Priced, SetPrice, Work, WorkModule } from './work.ts';

interface Replica {
  readonly server: FlotillaServer;
  readonly work: Work;
  close(): Promise<void>;
}

describe('Nest controllers on streams', () => {
  let nats: TestServer<EmbeddedNats>;
  let admin: NatsConnection;
  let client: FlotillaClient;
  const open: (() => Promise<unknown>)[] = [];

  beforeAll(async () => {
    nats = await startTestNats();
  });
  afterAll(() => nats.dispose());
  beforeEach(async () => {
    if (!nats.server.running) await nats.server.restart();
    admin = await connectNats({ servers: nats.url, name: 'test' });
    await removeAllStreams(admin);
    client = new FlotillaClient({ service: 'caller', servers: nats.url, log: silentLog });
    open.push(
      () => admin.close(),
      () => client.close(),
    );
  });
  afterEach(async () => {
    for (const close of open.splice(0).reverse()) await close();
  });

  async function start(
    work: Partial<Work> = {},
    options: Partial<FlotillaServerOptions> = {},
  ): Promise<Replica> {
    const server = new FlotillaServer({
      service: 'worker',
      servers: nats.url,
      provision: { ackWaitMs: 1_000 },
      pull: quickPull,
      log: silentLog,
      backoff: { initialMs: 5, maxMs: 10 },
      maxAttempts: 3,
      ...options,
    });
    const all = Object.assign(new Work(), work);
    const app = await NestFactory.createMicroservice<MicroserviceOptions>(WorkModule.with(all), {
      strategy: server,
      ...{ logger: false, abortOnError: false },
    });
    open.push(() => app.close());
    await app.listen();
    return { server, work: all, close: () => app.close() };
  }
  const emit = (pattern: unknown, data: unknown): Promise<unknown> =>
    lastValueFrom(client.emit(pattern, data));
  const send = (pattern: unknown, data: unknown): Promise<unknown> =>
    lastValueFrom(client.send<unknown>(pattern, data));
  const letters = (count: number): Promise<readonly DeadLetter[]> =>
    until(async () => {
      const list = await new DeadLetters(admin).list();
      return list.length >= count && list;
    });

  it('get what was sent while they were away', async () => {
    const first = await start();
    await first.close();
    await emit('work.done', 1);
    const seen: unknown[] = [];
    await start({ done: (data) => void seen.push(data) });
    await until(() => seen.length === 1);
    expect(seen).toEqual([1]);
  });

  it('begin with what is sent from their provisioning on', async () => {
    await start();
    await emit('work.other', 'before');
    const seen: unknown[] = [];
    await start({ other: (data) => void seen.push(data) }, { service: 'newcomer' });
    await emit('work.other', 'after');
    await until(() => seen.length > 0);
    expect(seen).toEqual(['after']);
  });

  it('are tried again when they fail, and told which attempt it is', async () => {
    const attempts: number[] = [];
    await start({
      done: (_data, context) => {
        attempts.push(context.getAttempt());
        if (attempts.length < 3) throw new Error('not yet');
        return of('done');
      },
    });
    await emit('work.done', {});
    await until(() => attempts.length === 3);
    expect(attempts).toEqual([1, 2, 3]);
  });

  it('leave a dead letter that says what really happened, though callers would not be told', async () => {
    await start({
      done: () => {
        throw Object.assign(new Error('the disk is full'), { code: 'ENOSPC' });
      },
    });
    await emit('work.done', { n: 1 });
    const [letter] = await letters(1);
    expect(letter).toMatchObject({
      service: 'worker',
      consumer: 'worker_work=2Edone',
      errorCode: 'ENOSPC',
      errorMessage: 'the disk is full',
      attempts: 3,
      originalStream: 'PATTERNS',
      originalSubject: 'pattern.evt.work.done',
      history: [{ attempt: 1 }, { attempt: 2 }, { attempt: 3 }],
    });
    expect(new TextDecoder().decode(letter!.body)).toBe('{"n":1}');
    expect(letter!.headers['ce-type']).toBe('work.done');
  });

  it('are given a dead letter again on a replay, and only the one that could not handle it', async () => {
    let broken = true;
    const seen: string[] = [];
    const done = (name: string) => () => {
      if (broken && name === 'a') throw new Error('broken');
      seen.push(name);
    };
    await start({ done: done('a') });
    await start({ done: done('b') }, { service: 'second' });
    await emit('work.done', {});
    const [letter] = await letters(1);
    expect(seen).toEqual(['b']);
    broken = false;
    await new DeadLetters(admin).replay(letter!.sequence);
    await until(() => seen.length === 2);
    expect(seen).toEqual(['b', 'a']);
  });

  it('leave a dead letter at once when trying again cannot help: data that no pipe lets in, or their word', async () => {
    await start({
      other: () => {
        throw new RpcException({ code: 'TOO_OLD', message: 'of last year', retry: 'never' });
      },
    });
    await emit('work.checked', { n: 'one' });
    await emit('work.other', {});
    const found = [...(await letters(2))].sort((a, b) => (a.errorCode < b.errorCode ? -1 : 1));
    expect(found).toMatchObject([
      { errorCode: 'INVALID_MESSAGE', attempts: 1 },
      { errorCode: 'TOO_OLD', attempts: 1 },
    ]);
    expect(found[0]!.errorMessage).toMatch(/work\.checked is not valid: n: .*number/);
    expect(found[1]!.errorMessage).toMatch(/work\.other failed: of last year/);
  });

  it('have their work done elsewhere when they are stopped in the middle of it', async () => {
    let begun = false;
    const first = await start({ done: () => ((begun = true), NEVER) }, { drainMs: 20 });
    await emit('work.done', 'x');
    await until(() => begun);
    const seen: unknown[] = [];
    await start({ done: (data, context) => void seen.push([data, context.getAttempt()]) });
    await first.close();
    await until(() => seen.length > 0);
    expect(seen).toEqual([['x', 2]]);
  });

  it('finish what they have begun before they are gone', async () => {
    const finish: (() => void)[] = [];
    const began: string[] = [];
    let finished = false;
    const first = await start({
      done: async () => {
        began.push('done');
        await new Promise<void>((resolve) => finish.push(resolve));
        finished = true;
      },
      ask: () => {
        began.push('ask');
        return new Promise((resolve) => finish.push(() => resolve('answered')));
      },
    });
    const answer = send('work.ask', {});
    await until(() => began.includes('ask'));
    await emit('work.done', {});
    await until(() => began.includes('done'));
    const closing = first.close();
    for (const end of finish.splice(0)) end();
    await closing;
    expect(await answer).toBe('answered');
    expect(finished).toBe(true);
    const manager = await jetstreamManager(admin);
    const { ack_floor, num_redelivered } = await manager.consumers.info('PATTERNS', 'worker_work=2Edone');
    expect([ack_floor.stream_seq, num_redelivered]).toEqual([1, 0]);
  });

  it('share the work with their replicas: each event and each request is for one of them', async () => {
    const seen = { a: [] as unknown[], b: [] as unknown[] };
    // Each takes one at a time and waits for the other's first: so both get some.
    const bothBusy = until(() => seen.a.length > 0 && seen.b.length > 0);
    const done = (mine: unknown[]) => async (data: unknown) => {
      mine.push(data);
      await bothBusy;
    };
    const asked = { a: 0, b: 0 };
    await start({ done: done(seen.a), ask: () => ++asked.a }, { maxInFlight: 1 });
    await start({ done: done(seen.b), ask: () => ++asked.b }, { maxInFlight: 1 });
    const numbers = Array.from({ length: 30 }, (_, n) => n);
    await Promise.all(numbers.map((n) => emit('work.done', n)));
    await until(() => seen.a.length + seen.b.length >= numbers.length);
    expect([...seen.a, ...seen.b].map(Number).sort((x, y) => x - y)).toEqual(numbers);
    for (let n = 0; n < 5; n++) await send('work.ask', {});
    expect(asked.a + asked.b).toBe(5);
  });

  it('lose nothing when they are restarted under load', async () => {
    const seen = new Set<unknown>();
    const done = async (data: unknown): Promise<void> => {
      await Promise.resolve();
      seen.add(data);
    };
    let replica = await start({ done });
    const total = 300;
    let sent = 0;
    const sending = (async () => {
      for (; sent < total; sent++) await emit('work.done', sent);
    })();
    for (const share of [0.2, 0.5, 0.8]) {
      await until(() => sent >= total * share);
      await replica.close();
      replica = await start({ done });
    }
    await sending;
    await until(() => seen.size === total);
  });

  it('handle messages of one key one after another', async () => {
    const keyed = new FlotillaClient({
      service: 'caller',
      servers: nats.url,
      log: silentLog,
      keyOf: (pattern, data) => (pattern === 'work.done' ? String((data as { key: string }).key) : undefined),
    });
    open.push(() => keyed.close());
    const running = new Map<unknown, number>();
    let overlaps = 0;
    const seen: number[] = [];
    await start({
      done: async (data, context) => {
        const { key, n } = data as { key: string; n: number };
        expect(context.getEnvelope().subject).toBe(key);
        overlaps += running.get(key) ?? 0;
        running.set(key, 1);
        await new Promise((resolve) => setImmediate(resolve));
        running.set(key, 0);
        if (key === 'a') seen.push(n);
      },
    });
    for (let n = 0; n < 20; n++) for (const key of ['a', 'b']) keyed.emit('work.done', { key, n });
    await until(() => seen.length === 20);
    expect(seen).toEqual(Array.from({ length: 20 }, (_, n) => n));
    expect(overlaps).toBe(0);
  });

  it('take contracts by their class: validated data, typed refusals, the subjects of the contract', async () => {
    const prices: unknown[] = [];
    await start({
      price: (data) => {
        const { sku } = data as { sku: string };
        if (sku === 'none') throw GetPrice.failure('Unpriced', { sku });
        return { price: 7 };
      },
      priced: (data) => void prices.push(data),
    });
    expect(await send(GetPrice, { sku: 'lamp' })).toEqual({ price: 7 });
    expect(await send('prices.GetPrice.v1', { sku: 'lamp' })).toEqual({ price: 7 });
    const refusal: unknown = await send(GetPrice, { sku: 'none' }).catch((error: unknown) => error);
    expect(GetPrice.isFailure(refusal, 'Unpriced') && refusal.data).toEqual({ sku: 'none' });
    await expect(send(GetPrice, { sku: '' })).rejects.toMatchObject({ code: 'INVALID_MESSAGE' });
    await expect(send('prices.GetPrice.v1', { sku: '' })).rejects.toMatchObject({ code: 'INVALID_MESSAGE' });
    await emit(Priced, { sku: 'lamp', price: 7 });
    await until(() => prices.length === 1);
    expect(prices).toEqual([{ sku: 'lamp', price: 7 }]);
    // As any service of the fleet calls it and publishes.
    const broker = await quickBroker(nats.url, { service: 'pad' });
    open.push(() => broker.close());
    await publishPriced(broker, 'mug');
    await until(() => prices.length === 2);
    const id = newId();
    const reply = await broker.request(
      {
        id,
        subject: rpcSubject(contractOf(GetPrice)),
        key: id,
        headers: { 'ce-id': id, 'ce-type': 'prices.SetPrice.v1' },
        body: '{}',
      },
      { timeoutMs: 2_000 },
    );
    expect(reply.json()).toMatchObject({ code: 'TYPE_MISMATCH', retry: 'never' });
  });

  async function publishPriced(broker: NatsBroker, sku: string): Promise<void> {
    const id = newId();
    const contract = contractOf(Priced);
    const time = new Date().toISOString();
    await broker.publish({
      id,
      subject: eventSubject(contract, sku),
      key: sku,
      headers: encodeEnvelope({
        id,
        type: contract.type,
        source: 'pad',
        time,
        subject: sku,
        correlationId: id,
      }),
      body: JSON.stringify({ sku, price: 1 }),
    });
  }

  it('are called by a plain client, with nothing but an id and a type', async () => {
    await start({ ask: (data) => ({ asked: data }), done: () => EMPTY });
    const plain = await connect({ servers: nats.url });
    open.push(() => plain.close());
    const { headers } = await import('@nats-io/transport-node');
    const envelope = headers();
    envelope.set('ce-id', 'plain-1');
    envelope.set('ce-type', 'work.ask');
    const answer = await plain.request('pattern.rpc.work.ask', '{"n":1}', {
      timeout: 2_000,
      headers: envelope,
    });
    expect([answer.headers?.get('ce-outcome'), answer.headers?.get('ce-causationid')]).toEqual([
      'ok',
      'plain-1',
    ]);
    expect(answer.json()).toEqual({ asked: { n: 1 } });
  });

  it('pass on correlation, cause, trace and deadline to what they send', async () => {
    const onward = new FlotillaClient({
      service: 'worker',
      servers: nats.url,
      log: silentLog,
      timeoutMs: 60_000,
    });
    open.push(() => onward.close());
    const seen: Record<string, unknown>[] = [];
    const note = (context: Parameters<Work['ask']>[1]): void => {
      const { correlationId, causationId, deadline, traceparent, id } = context.getEnvelope();
      seen.push({ id, correlationId, causationId, deadline, trace: traceparent?.split('-')[1] });
    };
    await start({
      ask: async (_data, context) => {
        note(context);
        expect(currentContext()).toMatchObject({ messageId: context.getEnvelope().id, type: 'work.ask' });
        expect(traceHeaders().traceparent).toContain(seen[0]!['trace']);
        await lastValueFrom(onward.send(GetPrice, { sku: 'lamp' }));
        await lastValueFrom(onward.emit('work.done', {}));
        return 'ok';
      },
      price: (_data, context) => (note(context), { price: 1 }),
      done: (_data, context) => note(context),
    });
    await send('work.ask', {});
    await until(() => seen.length === 3);
    const [asked, priced, done] = seen as [
      Record<string, unknown>,
      Record<string, unknown>,
      Record<string, unknown>,
    ];
    for (const caused of [priced, done]) {
      expect(caused).toMatchObject({
        correlationId: asked['id'],
        causationId: asked['id'],
        trace: asked['trace'],
      });
    }
    expect(asked['deadline']).toBeGreaterThan(0);
    expect(priced['deadline']).toBe(asked['deadline']);
    expect(done['deadline']).toBeUndefined();
  });

  it('answer in time and within bounds though their observables do not end', async () => {
    let ended = 0;
    const endless = () => NEVER.pipe(finalize(() => ended++));
    await start(
      { ask: (data) => (data === 'many' ? range(0, 1_000) : endless()) },
      { requestTimeoutMs: 100, maxValues: 10 },
    );
    const seen: unknown[] = [];
    const error = await new Promise((resolve) =>
      client.send('work.ask', 'many').subscribe({ next: (value) => seen.push(value), error: resolve }),
    );
    expect([error, seen.length]).toEqual([expect.objectContaining({ code: 'TOO_MANY_VALUES' }), 10]);
    const plain = await quickBroker(nats.url);
    open.push(() => plain.close());
    const headers = { 'ce-id': 'x', 'ce-type': 'work.ask' };
    const reply = await plain.request(
      { id: 'x', subject: 'pattern.rpc.work.ask', key: 'x', headers, body: '""' },
      { timeoutMs: 5_000 },
    );
    expect(reply.json()).toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    expect(ended).toBe(1);
  });

  it('may be told a hint that every process gets', async () => {
    const seen: unknown[] = [];
    await start({ hint: (data) => void seen.push(['a', data]) });
    await start({ hint: (data) => void seen.push(['b', data]) });
    await emit('work.hint', 1);
    await until(() => seen.length === 2);
    expect(seen).toEqual(
      expect.arrayContaining([
        ['a', 1],
        ['b', 1],
      ]),
    );
  });

  it('show their state: status, events, the connection, the announced endpoints', async () => {
    const { server } = await start();
    const statuses: string[] = [];
    server.status.subscribe((status) => statuses.push(status));
    const events: string[] = [];
    server.on('disconnect', () => events.push('disconnect'));
    server.on('reconnect', () => events.push('reconnect'));
    expect(server.unwrap<NatsConnection>().isClosed()).toBe(false);
    const info = await admin.request('$SRV.INFO.worker', undefined, { timeout: 2_000 });
    expect(
      info
        .json<{ endpoints: { subject: string }[] }>()
        .endpoints.map(({ subject }) => subject)
        .sort(),
    ).toEqual(['pattern.rpc.work.ask', 'rpc.prices.GetPrice.v1']);
    await nats.server.kill();
    await until(() => statuses.includes('disconnected'));
    await nats.server.restart();
    await until(() => events.includes('reconnect'));
    expect(statuses[0]).toBe('connected');
    expect(statuses.at(-1)).toBe('connected');
    expect(events).toEqual(['disconnect', 'reconnect']);
  });

  it('do not start where something is missing or wrong, and say what', async () => {
    await expect(start({}, { provision: false })).rejects.toMatchObject({
      code: 'MISSING_TOPOLOGY',
      missing: expect.arrayContaining([
        'stream PATTERNS',
        'consumer PATTERNS/worker_work=2Edone',
      ]) as string[],
    });
    const server = new FlotillaServer({ service: 'worker', servers: nats.url });
    server.addHandler(Priced, () => Promise.resolve(of(1)), false);
    server.addHandler(SetPrice, () => Promise.resolve(of(1)), true);
    const problem = await new Promise((resolve) => void server.listen(resolve));
    expect(String(problem)).toMatch(
      /prices\.Priced\.v1 is an event: its handler has @EventPattern; prices\.SetPrice\.v1 is a command: its handler has @MessagePattern/,
    );
    expect(() => new FlotillaServer({ service: 'My Service', maxValues: 0 })).toThrow(
      /service "My Service" must be kebab-case; give either servers .*; maxValues must be/,
    );
    expect(() => server.unwrap()).toThrow(/Not initialized/);
  });

  describe('and the client', () => {
    it('is done with an event when the stream has it, and waits for a broker that is away', async () => {
      // A set: what was not acknowledged when the server went may come a second time.
      const seen = new Set<unknown>();
      await start({ done: (data) => void seen.add(data) });
      expect(await emit('work.done', 1)).toMatchObject({ stream: 'PATTERNS', duplicate: false });
      await nats.server.kill();
      await until(() => client.unwrap<NatsConnection>().stats().inMsgs > 0);
      // Nobody looks at what these return.
      client.emit('work.done', 2);
      const last = emit('work.done', 3);
      await nats.server.restart();
      await last;
      await until(() => seen.size === 3);
    });

    it('fails at once where waiting does not help', async () => {
      await expect(send('nobody.here', {})).rejects.toMatchObject({ code: 'NO_RESPONDERS' });
      await expect(send('work.*', {})).rejects.toThrow(/has a wildcard/);
      await expect(emit('work.>', {})).rejects.toThrow(/has a wildcard/);
      const bad = new FlotillaClient({ service: 'caller', servers: nats.url, headers: { 'ce-id': 'x' } });
      await expect(lastValueFrom(bad.send('a', {}))).rejects.toThrow(/"ce-id" of a belongs to the envelope/);
      await bad.close();
      const full = new FlotillaClient({ service: 'caller', servers: nats.url, maxPendingEvents: 1 });
      full.emit('work.done', 1);
      await expect(lastValueFrom(full.emit('work.done', 2))).rejects.toMatchObject({
        code: 'TOO_MANY_EVENTS',
      });
      await full.close();
    });

    it('gives up an answer at its deadline, and is told nothing more when nobody listens to it', async () => {
      await start({ ask: () => NEVER });
      const impatient = new FlotillaClient({ service: 'caller', servers: nats.url, timeoutMs: 100 });
      await expect(lastValueFrom(impatient.send('work.ask', {}))).rejects.toMatchObject({
        code: expect.stringMatching(/REQUEST_TIMEOUT|DEADLINE_EXCEEDED/) as string,
      });
      impatient.send('work.ask', {}).subscribe().unsubscribe();
      await impatient.close();
    });

    it('fails when it cannot connect, and connects the next time', async () => {
      const away = new FlotillaClient({
        service: 'caller',
        servers: nats.url,
        connectTimeoutMs: 50,
        log: silentLog,
      });
      await nats.server.kill();
      await expect(away.connect()).rejects.toMatchObject({ code: 'BROKER_UNAVAILABLE' });
      expect(() => away.unwrap()).toThrow(/Not initialized/);
      await nats.server.restart();
      await away.connect();
      await away.close();
    });
  });
});
