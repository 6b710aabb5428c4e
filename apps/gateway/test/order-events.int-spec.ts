import { GetTimeline } from '@flotilla/contracts-tracking';
import { jest } from '@jest/globals';
import { NatsBroker, type Broker } from '@flotilla/messaging';
import { BROKER } from '@flotilla/service';
import { until } from '@flotilla/testing';
import { aProblem, GatewayUnderTest } from './gateway-under-test.ts';

const HEARTBEAT_MS = 200;
const MAX_STREAMS = 3;

let gateway: GatewayUnderTest;
let token: string;
beforeEach(async () => {
  gateway = await GatewayUnderTest.start({
    EVENT_STREAM_HEARTBEAT_MS: String(HEARTBEAT_MS),
    MAX_EVENT_STREAMS: String(MAX_STREAMS),
  });
  token = await gateway.token('c-1');
});
afterEach(() => gateway.stop());

interface Received {
  readonly id: string | undefined;
  readonly event: string | undefined;
  readonly data: unknown;
}

/** A client that reads a stream as a browser does. */
class StreamClient {
  readonly #abort = new AbortController();
  readonly response: Response;
  readonly done: Promise<void>;
  text = '';
  ended = false;

  private constructor(response: Response, abort: AbortController) {
    this.response = response;
    this.#abort = abort;
    this.done = this.#read();
  }

  static async open(
    orderId: string,
    bearer: string,
    lastEventId?: number,
    method = 'GET',
  ): Promise<StreamClient> {
    const abort = new AbortController();
    const response = await fetch(`${gateway.service.url}/v1/orders/${orderId}/events`, {
      method,
      signal: abort.signal,
      headers: {
        authorization: `Bearer ${bearer}`,
        ...(lastEventId !== undefined && { 'last-event-id': String(lastEventId) }),
      },
    });
    return new StreamClient(response, abort);
  }

  get events(): Received[] {
    return this.text
      .split('\n\n')
      .filter((block) => block.startsWith('id: '))
      .map((block) => {
        const field = (name: string) => new RegExp(`^${name}: (.*)$`, 'm').exec(block)?.[1];
        return {
          id: field('id'),
          event: field('event'),
          data: JSON.parse(field('data') ?? 'null') as unknown,
        };
      });
  }

  get names(): (string | undefined)[] {
    return this.events.map(({ event }) => event);
  }

  receives(...names: string[]): Promise<unknown> {
    return until(() => JSON.stringify(this.names) === JSON.stringify(names), {
      describe: `the events ${names.join(', ')} (there are ${this.names.join(', ')})`,
    });
  }

  hangUp(): void {
    this.#abort.abort();
  }

  async #read(): Promise<void> {
    const decoder = new TextDecoder();
    try {
      for await (const chunk of this.response.body ?? [])
        this.text += decoder.decode(chunk as Uint8Array, { stream: true });
    } catch (error) {
      if (!this.#abort.signal.aborted) throw error;
    }
    this.ended = true;
  }
}

/** Tells of an order's event as the orders service does; only those who watch hear it. */
const hint = (orderId: string): void => {
  const { broker } = gateway.service;
  if (!(broker instanceof NatsBroker)) throw new Error('the harness is not on NATS');
  broker.connection.publish(gateway.fleet.hintSubject(orderId), '{}');
};

describe('the events of an order', () => {
  it('are followed until it has ended', async () => {
    const orderId = gateway.fleet.add('c-1');
    const client = await StreamClient.open(orderId, token);
    expect(client.response.status).toBe(200);
    expect(client.response.headers.get('content-type')).toBe('text/event-stream');
    expect(client.response.headers.get('cache-control')).toBe('no-store');
    expect(client.response.headers.get('x-correlation-id')).toMatch(/.+/);
    await client.receives('OrderPlaced');
    expect(client.events[0]).toEqual({
      id: '1',
      event: 'OrderPlaced',
      data: { status: 'pending', at: expect.any(String) as string },
    });
    for (const status of ['confirmed', 'shipped'] as const) gateway.fleet.becomes(orderId, status);
    await client.receives('OrderPlaced', 'OrderConfirmed', 'OrderShipped');
    gateway.fleet.becomes(orderId, 'completed');
    await client.done;
    expect(client.names).toEqual(['OrderPlaced', 'OrderConfirmed', 'OrderShipped', 'OrderCompleted']);
    expect(client.text).toMatch(/^retry: 1000\n\n/);
  });

  it.each(['completed', 'rejected', 'cancelled'] as const)(
    'of one that is %s are all there is',
    async (status) => {
      const orderId = gateway.fleet.add('c-1', ['pending', status]);
      const client = await StreamClient.open(orderId, token);
      await client.done;
      expect(client.events).toHaveLength(2);
    },
  );

  it('go on after the last one that the client has', async () => {
    const orderId = gateway.fleet.add('c-1', ['pending', 'confirmed', 'shipped', 'completed']);
    const resumed = await StreamClient.open(orderId, token, 2);
    await resumed.done;
    expect(resumed.events.map(({ id }) => id)).toEqual(['3', '4']);
    const finished = await StreamClient.open(orderId, token, 4);
    await finished.done;
    expect(finished.events).toEqual([]);
    const wrong = await gateway.call('GET', `/v1/orders/${orderId}/events`, {
      token,
      headers: { 'last-event-id': 'four' },
    });
    expect(wrong.body).toEqual(
      aProblem(400, 'invalid-request', {
        errors: [{ path: 'last-event-id', message: 'must be the id of the last event that was received' }],
      }),
    );
  });

  it('come with the hint, when the read side is a moment behind it', async () => {
    await gateway.stop();
    gateway = await GatewayUnderTest.start({ EVENT_STREAM_HEARTBEAT_MS: '60000' });
    token = await gateway.token('c-1');
    const orderId = gateway.fleet.add('c-1');
    const client = await StreamClient.open(orderId, token);
    await until(() => client.text.includes('still here'), { describe: 'the first look is over' });
    const asked = gateway.fakes.calls(GetTimeline).length;
    hint(orderId);
    await until(() => gateway.fakes.calls(GetTimeline).length >= asked + 2, {
      describe: 'the read side is asked twice',
    });
    gateway.fleet.becomes(orderId, 'rejected');
    await client.done;
    expect(client.names).toEqual(['OrderPlaced', 'OrderRejected']);
  });

  it('wait for an order that was placed a moment ago', async () => {
    const orderId = gateway.fleet.add('c-1', ['pending', 'cancelled']);
    const asked = gateway.fakes.calls(GetTimeline).length;
    await gateway.fakes.answer(GetTimeline, () => {
      throw GetTimeline.failure('OrderNotFound', { orderId });
    });
    const opening = StreamClient.open(orderId, token);
    await until(() => gateway.fakes.calls(GetTimeline).length > asked + 1, { describe: 'it is asked again' });
    await gateway.fleet.start();
    const client = await opening;
    await client.done;
    expect(client.events).toHaveLength(2);
  });

  it('keep the connection with a comment', async () => {
    const client = await StreamClient.open(gateway.fleet.add('c-1'), token);
    await until(() => client.text.split(': still here\n\n').length > 3, { describe: 'three heartbeats' });
    client.hangUp();
    await client.done;
  });

  it('end with the token', async () => {
    const client = await StreamClient.open(
      gateway.fleet.add('c-1'),
      await gateway.token('c-1', ['orders:read'], 2),
    );
    await client.done;
    expect(client.names).toEqual(['OrderPlaced']);
  });

  it('break off when the read side is lost, and the client resumes', async () => {
    const orderId = gateway.fleet.add('c-1');
    const client = await StreamClient.open(orderId, token);
    await client.receives('OrderPlaced');
    await gateway.fakes.withdraw(GetTimeline);
    await client.done;
    expect((await gateway.call('GET', `/v1/orders/${orderId}/events`, { token })).body).toEqual(
      aProblem(503, 'service-unavailable'),
    );
  });
});

describe('the streams of a gateway', () => {
  const fill = () =>
    Promise.all(
      Array.from({ length: MAX_STREAMS }, () => StreamClient.open(gateway.fleet.add('c-1'), token)),
    );

  it('are bounded, and a client that goes makes room', async () => {
    const orderId = gateway.fleet.add('c-1');
    const clients = await fill();
    const full = await gateway.call('GET', `/v1/orders/${orderId}/events`, { token });
    expect([full.status, full.headers.get('retry-after'), full.body]).toEqual([
      503,
      '5',
      aProblem(503, 'too-many-streams'),
    ]);
    for (const client of clients) client.hangUp();
    const last = await until(
      async () => {
        const client = await StreamClient.open(orderId, token);
        if (client.response.status === 200) return client;
        await client.done;
        return undefined;
      },
      { describe: 'a stream that is let in' },
    );
    // Nobody looks after those that went: only one stream asks.
    const asked = gateway.fakes.calls(GetTimeline).length;
    await until(() => gateway.fakes.calls(GetTimeline).length >= asked + 4, { describe: 'four heartbeats' });
    const orders = gateway.fakes
      .calls(GetTimeline)
      .slice(asked)
      .map(({ payload }) => payload.orderId);
    expect(new Set(orders)).toEqual(new Set([orderId]));
    last.hangUp();
    await last.done;
  });

  it('are bounded for each caller, so that one cannot take them all', async () => {
    await gateway.stop();
    gateway = await GatewayUnderTest.start({ MAX_EVENT_STREAMS_PER_CALLER: '2' });
    token = await gateway.token('c-1');
    const orderId = gateway.fleet.add('c-1');
    const mine = await Promise.all([1, 2].map(() => StreamClient.open(orderId, token)));
    const third = await gateway.call('GET', `/v1/orders/${orderId}/events`, { token });
    expect([third.status, third.headers.get('retry-after'), third.body]).toEqual([
      429,
      '5',
      aProblem(429, 'too-many-streams-of-caller'),
    ]);
    const other = await StreamClient.open(gateway.fleet.add('c-2'), await gateway.token('c-2'));
    expect(other.response.status).toBe(200);
    for (const client of [...mine, other]) client.hangUp();
    await Promise.all([...mine, other].map(({ done }) => done));
    await until(
      async () => {
        const client = await StreamClient.open(orderId, token);
        client.hangUp();
        await client.done;
        return client.response.status === 200;
      },
      { describe: 'there is room again' },
    );
  });

  it('are not taken by answers that were no streams', async () => {
    for (let n = 0; n < MAX_STREAMS * 2; n++) {
      const answer = await gateway.call('GET', `/v1/orders/${crypto.randomUUID()}/events`, { token });
      expect(answer.status).toBe(404);
    }
    const head = await StreamClient.open(gateway.fleet.add('c-1'), token, undefined, 'HEAD');
    await head.done;
    const clients = await fill();
    expect(clients.map(({ response }) => response.status)).toEqual([200, 200, 200]);
    for (const client of clients) client.hangUp();
    await Promise.all(clients.map(({ done }) => done));
  });

  it('leave no subscription behind', async () => {
    const broker = gateway.service.get<Broker>(BROKER);
    const watch = broker.watch.bind(broker);
    let subscriptions = 0;
    jest.spyOn(broker, 'watch').mockImplementation(async (subject, handler) => {
      const watching = await watch(subject, handler);
      subscriptions++;
      return {
        stop: async () => {
          subscriptions--;
          await watching.stop();
        },
      };
    });
    const clients = await fill();
    expect((await gateway.call('GET', `/v1/orders/${crypto.randomUUID()}/events`, { token })).status).toBe(
      503,
    );
    expect(subscriptions).toBe(MAX_STREAMS);
    for (const client of clients) client.hangUp();
    await until(() => subscriptions === 0, { describe: 'nothing is watched' });
    expect((await gateway.call('GET', `/v1/orders/${crypto.randomUUID()}/events`, { token })).status).toBe(
      404,
    );
    expect(subscriptions).toBe(0);
  });

  it('end when the gateway stops', async () => {
    const clients = await fill();
    await Promise.all(clients.map((client) => client.receives('OrderPlaced')));
    await gateway.stop();
    await Promise.all(clients.map(({ done }) => done));
    expect(clients.every(({ ended }) => ended)).toBe(true);
  });
});
