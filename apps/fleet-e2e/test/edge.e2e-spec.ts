import type { NatsConnection } from '@nats-io/nats-core';
import { newId } from '@flotilla/kernel';
import { until } from '@flotilla/testing';
import { Api, type ApiAnswer } from './support/api.ts';
import { RunningFleet } from './support/running-fleet.ts';

let fleet: RunningFleet;
let api: Api;
/** As each of the services whose commands are watched: others may not see them. */
let nats: Map<string, NatsConnection>;

beforeAll(async () => {
  fleet = await RunningFleet.start({
    RATE_LIMIT_MAX: '100000',
    SHIPPING_DISPATCH_DELAY_MS: '50',
    ORDERS_SCREENING_REVIEW_QUANTITY_ABOVE: '500',
  });
  api = await Api.login(fleet.apiUrl, 'c-edge');
  nats = new Map(await Promise.all(owners.map(async (name) => [name, await fleet.natsAs(name)] as const)));
}, 180_000);

afterAll(async () => {
  for (const connection of nats.values()) await connection.close();
  await fleet[Symbol.asyncDispose]();
});

interface Repeated {
  readonly route: string;
  /** The owner of the command, and its name: where the request is on the wire. */
  readonly owner: string;
  readonly command: string;
  readonly make: () => Promise<{ readonly path: string; readonly body: object }>;
  /** How often it was done, for the path: must be once. */
  readonly done: (answers: readonly ApiAnswer[], path: string) => Promise<number>;
}

const orderIn = (path: string): string => path.split('/')[3] ?? '';

async function placed(sku: string, quantity: number, status: string): Promise<string> {
  const { body } = await api.place(sku, quantity);
  await api.becomes(body['orderId'], status);
  return String(body['orderId']);
}

async function events(orderId: string, event: string): Promise<number> {
  return (await api.order(orderId)).timeline.filter((entry) => entry.event === event).length;
}

/** Every POST that takes an Idempotency-Key. */
const repeated: readonly Repeated[] = [
  {
    route: 'placing an order',
    owner: 'orders',
    command: 'PlaceOrder',
    make: async () => {
      const sku = `EDGE-${newId()}`;
      await api.stock(sku, 10);
      const shipTo = { name: 'Ada', country: 'France' };
      return {
        path: '/v1/orders',
        body: { lines: [{ sku, quantity: 10 }], payment: { token: 'tok_ok' }, shipTo },
      };
    },
    // The stock is enough for one.
    done: async (answers) => {
      const ids = new Set(answers.map(({ body }) => String(body['orderId'])));
      for (const id of ids) await api.becomes(id, 'completed');
      return ids.size;
    },
  },
  {
    route: 'cancelling an order',
    owner: 'orders',
    command: 'CancelOrder',
    make: async () => {
      await api.stock('EDGE-CANCEL', 1_000);
      return {
        path: `/v1/orders/${await placed('EDGE-CANCEL', 501, 'awaiting_review')}/cancel`,
        body: { reason: 'no' },
      };
    },
    done: async (_answers, path) => {
      await api.becomes(orderIn(path), 'cancelled');
      return events(orderIn(path), 'OrderCancelled');
    },
  },
  {
    route: 'reviewing an order',
    owner: 'orders',
    command: 'DecideReview',
    make: async () => {
      await api.stock('EDGE-REVIEW', 1_000);
      const orderId = await placed('EDGE-REVIEW', 501, 'awaiting_review');
      return { path: `/v1/orders/${orderId}/review`, body: { decision: 'approve' } };
    },
    done: async (_answers, path) => {
      await api.becomes(orderIn(path), 'completed');
      return events(orderIn(path), 'OrderConfirmed');
    },
  },
  {
    route: 'returning goods',
    owner: 'orders',
    command: 'RequestReturn',
    make: async () => {
      await api.stock('EDGE-RETURN', 10);
      const orderId = await placed('EDGE-RETURN', 5, 'completed');
      return {
        path: `/v1/orders/${orderId}/returns`,
        body: { lines: [{ sku: 'EDGE-RETURN', quantity: 1 }] },
      };
    },
    done: async (_answers, path) => {
      const { body } = await api.send('GET', path);
      return (body['returns'] as unknown[]).length;
    },
  },
  {
    route: 'booking stock',
    owner: 'inventory',
    command: 'ReceiveStock',
    make: async () => {
      const sku = `EDGE-${newId()}`;
      await api.stock(sku, 1);
      return { path: `/v1/stock/${sku}/receipts`, body: { quantity: 7 } };
    },
    done: async (_answers, path) => {
      const { body } = await api.send('GET', path.replace('/receipts', ''));
      return (Number(body['received']) - 1) / 7;
    },
  },
];

/** Sends until it is answered, as a client does whose connection breaks or who is told to come back. */
async function sendUntilAnswered(path: string, body: object, key: string): Promise<ApiAnswer> {
  return until(
    async () => {
      try {
        const answer = await api.send('POST', path, body, { 'idempotency-key': key });
        return answer.status < 500 ? answer : undefined;
      } catch {
        return undefined; // the connection broke
      }
    },
    { timeoutMs: 60_000, intervalMs: 50, describe: `${path} is answered` },
  );
}

async function fiftyTimes(path: string, body: object, key: string): Promise<ApiAnswer[]> {
  return Promise.all(Array.from({ length: 50 }, () => sendUntilAnswered(path, body, key)));
}

/** What a caller sees of an answer. */
const seen = ({ status, headers, body }: ApiAnswer) =>
  JSON.stringify([status, headers.get('location'), body]);

async function pidOf(name: string): Promise<number> {
  const { instances } = await fleet.status();
  return instances.find((each) => each.name === name)?.pid ?? 0;
}

interface Sent extends Repeated {
  readonly path: string;
  readonly body: object;
  readonly key: string;
}

const owners = ['orders', 'inventory'];

async function makeAll(): Promise<Sent[]> {
  return Promise.all(repeated.map(async (each) => ({ ...each, ...(await each.make()), key: newId() })));
}

/** Tells when each command has been on the wire; `stop` ends it. */
async function watchCommands(onFirst: (sent: Repeated) => void): Promise<() => void> {
  const watching = repeated.map((each) => {
    let seenIt = false;
    return nats.get(each.owner)?.subscribe(`rpc.${each.owner}.${each.command}.v1`, {
      callback: () => {
        if (!seenIt) onFirst(each);
        seenIt = true;
      },
    });
  });
  await Promise.all([...nats.values()].map((connection) => connection.flush()));
  return () => watching.forEach((each) => each?.unsubscribe());
}

describe('every POST, fifty times at once under one key', () => {
  it('across the end of the gateway between commit and answer, is done once and answered alike', async () => {
    const all = await makeAll();
    const [gateway, ...services] = await Promise.all(['gateway', ...owners].map(pidOf));
    const asked = new Set<string>();
    const stopWatching = await watchCommands(({ route }) => asked.add(route));
    // The services stand still until nobody waits for their answers any more; then they commit, and answer nobody.
    for (const service of services) process.kill(service, 'SIGSTOP');
    const first = all.map(({ path, body, key }) =>
      api.send('POST', path, body, { 'idempotency-key': key }).then(
        ({ status }) => `answered ${status}`,
        () => 'broke',
      ),
    );
    try {
      await until(() => asked.size === repeated.length, { describe: 'every command is under way' });
      process.kill(gateway ?? 0, 'SIGKILL');
      expect(new Set(await Promise.all(first))).toEqual(new Set(['broke']));
    } finally {
      for (const service of services) process.kill(service, 'SIGCONT');
      stopWatching();
    }
    for (const { route, path, body, key, done } of all) {
      const answers = await fiftyTimes(path, body, key);
      expect([route, new Set(answers.map(seen)).size]).toEqual([route, 1]);
      expect(answers[0]?.status).toBeLessThan(300);
      // It was done for the caller whose connection broke.
      expect(new Set(answers.map(({ headers }) => headers.get('idempotency-replayed')))).toEqual(
        new Set(['true']),
      );
      expect([route, await done(answers, path)]).toEqual([route, 1]);
    }
  }, 180_000);

  it('across the end of its service while they are under way, is done once and answered alike', async () => {
    const all = await makeAll();
    const services = new Map(
      await Promise.all(owners.map(async (name) => [name, await pidOf(name)] as const)),
    );
    // Somewhere between the first request and the last answer: before the commit, after it, after some answers.
    const stopWatching = await watchCommands(({ owner }) => {
      const service = services.get(owner);
      if (service !== undefined) process.kill(service, 'SIGKILL');
      services.delete(owner);
    });
    const answered = await Promise.all(all.map(({ path, body, key }) => fiftyTimes(path, body, key)));
    stopWatching();
    expect(services.size).toBe(0);
    for (const [n, { route, path, body, key, done }] of all.entries()) {
      const answers = answered[n] ?? [];
      expect([route, new Set(answers.map(seen)).size]).toEqual([route, 1]);
      expect([route, await done(answers, path)]).toEqual([route, 1]);
      const other = await api.send('POST', path, { ...body, ...otherThan(body) }, { 'idempotency-key': key });
      expect([other.status, other.body['type']]).toEqual([
        422,
        'urn:flotilla:problem:idempotency-key-reused',
      ]);
    }
  }, 180_000);
});

/** A change that makes the body another one. */
function otherThan(body: object): object {
  if ('decision' in body) return { decision: 'reject' };
  if ('quantity' in body) return { quantity: 8 };
  if ('payment' in body) return { reference: 'other' };
  return { reason: 'another' };
}

describe('the keys of the embedded issuer', () => {
  const keys = async (): Promise<(string | undefined)[]> => {
    const response = await fetch(`${fleet.apiUrl}/.well-known/jwks.json`);
    return ((await response.json()) as { keys: { kid?: string }[] }).keys.map(({ kid }) => kid);
  };
  const rotate = async (...options: string[]): Promise<string> => {
    const { code, stdout } = await fleet.run('auth', 'rotate', '--json', ...options, '--data', fleet.dataDir);
    expect(code).toBe(0);
    const { signs } = JSON.parse(stdout) as { signs: string };
    await until(async () => (await keys())[0] === signs, { describe: 'the gateway signs with the new key' });
    return signs;
  };
  const status = async (client: Api) => (await client.send('GET', '/v1/orders')).status;

  it('are rotated while the fleet runs: tokens of both are good, until the old key is revoked', async () => {
    const before = await Api.login(fleet.apiUrl, 'c-keys');
    const [old] = await keys();
    const signs = await rotate();
    expect(await keys()).toEqual([signs, old]);
    const after = await Api.login(fleet.apiUrl, 'c-keys');
    expect([await status(before), await status(after)]).toEqual([200, 200]);

    const next = await rotate('--revoke');
    expect(await keys()).toEqual([next]);
    expect([await status(before), await status(after)]).toEqual([401, 401]);
    expect(await status(await Api.login(fleet.apiUrl, 'c-keys'))).toBe(200);
  }, 60_000);

  it('outlive the gateway', async () => {
    const client = await Api.login(fleet.apiUrl, 'c-keys');
    const known = await keys();
    await fleet.killService('gateway');
    expect(await keys()).toEqual(known);
    expect(await status(client)).toBe(200);
  }, 60_000);
});

describe('the ports of the services', () => {
  it('have probes and metrics and nothing else, and tell no secret', async () => {
    const { instances } = await fleet.status();
    for (const { name, port } of instances) {
      const at = async (path: string, method = 'GET') => {
        const response = await fetch(`http://127.0.0.1:${port}${path}`, { method });
        return { status: response.status, text: await response.text() };
      };
      for (const path of ['/health/live', '/health/ready', '/metrics']) {
        const { status, text } = await at(path);
        expect([name, path, status]).toEqual([name, path, 200]);
        expect(text).not.toMatch(/password|postgres(?:ql)?:\/\/|nats:\/\/|eyJ[\w-]{10}|"d":/i);
        expect((await at(path, 'POST')).status).toBe(404);
      }
      if (name === 'gateway') continue;
      for (const path of ['/', '/docs', '/openapi.json', '/v1/orders', '/.env', '/health', '/debug/pprof'])
        expect([name, path, (await at(path)).status]).toEqual([name, path, 404]);
    }
  });
});

it('the books are right after all of it', async () => {
  await until(async () => (await fleet.run('verify', '--data', fleet.dataDir)).code === 0, {
    timeoutMs: 60_000,
    intervalMs: 500,
    describe: 'every order has ended and the books agree',
  });
}, 90_000);
