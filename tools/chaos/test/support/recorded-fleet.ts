import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import {
  locateNatsServer,
  removePostgresData,
  startNats,
  startPostgres,
  type EmbeddedNats,
  type EmbeddedPostgres,
} from '@flotilla/embedded';
import { dataDirAt, type DataDir } from '@flotilla/fleet/stack/data-dir';
import { accessOf } from '@flotilla/fleet/stack/nats-access';
import { requireState, type FleetState } from '@flotilla/fleet/stack/state';
import { newId } from '@flotilla/kernel';
import { connectNats } from '@flotilla/messaging';
import { until } from '@flotilla/testing';
import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import { headers, type NatsConnection } from '@nats-io/nats-core';
import { Client } from 'pg';
import type { ExpectedOrder, ExpectedPoison } from '../../src/checker/access.ts';
import { awaitRest } from '../../src/checker/rest.ts';

const root = resolve(import.meta.dirname, '../../../..');
const cli = join(root, 'tools/fleet/src/main.ts');
/** A block of ports for one fleet; tests that start one do not run at the same time. */
const PORT_BASE = 24_200;
const SCOPES =
  'orders:write orders:read orders:place-for-any orders:read-any catalog:write stock:read stock:write';

/** The orders of the history, by what became of them. */
export interface RecordedOrders {
  readonly completed: string;
  readonly other: string;
  readonly outOfStock: string;
  readonly declined: string;
  readonly cancelled: string;
  readonly returned: string;
  readonly returnId: string;
}

/** The databases and streams that a fleet has left behind, with the servers and without the services. */
export interface RecordedFleet extends AsyncDisposable {
  readonly natsUrl: string;
  readonly databases: Readonly<Record<string, string>>;
  readonly adminUrl: string;
  readonly orders: RecordedOrders;
  readonly accepted: readonly ExpectedOrder[];
  readonly poison: readonly ExpectedPoison[];
}

/** Runs a real fleet for a few orders of each kind and one poisonous message, and stops its services. */
export async function recordFleet(): Promise<RecordedFleet> {
  const directory = await mkdtemp(join(tmpdir(), 'flotilla-checker-'));
  const dir = dataDirAt(directory);
  const cleanUp = async (): Promise<void> => {
    await removePostgresData(dir.postgres);
    await rm(directory, { recursive: true, force: true });
  };
  try {
    const history = await runFleet(dir);
    const servers = await startServers(dir);
    const databases = Object.fromEntries(
      Object.entries(history.state.databases).map(([service, url]) => {
        const moved = new URL(url);
        moved.port = String(servers.postgres.port);
        return [service, moved.href];
      }),
    );
    return {
      natsUrl: servers.nats.url,
      databases,
      adminUrl: servers.postgres.adminUrl,
      orders: history.orders,
      accepted: history.accepted,
      poison: history.poison,
      async [Symbol.asyncDispose]() {
        await Promise.all([servers.nats.stop(), servers.postgres.stop()]);
        await cleanUp();
      },
    };
  } catch (error) {
    await cleanUp();
    throw error;
  }
}

interface History {
  readonly state: FleetState;
  readonly orders: RecordedOrders;
  readonly accepted: readonly ExpectedOrder[];
  readonly poison: readonly ExpectedPoison[];
}

async function runFleet(dir: DataDir): Promise<History> {
  const up = spawn(process.execPath, ['--conditions=@flotilla/source', cli, 'up', '--data', dir.path], {
    env: {
      ...process.env,
      FLOTILLA_PORT_BASE: String(PORT_BASE),
      SHIPPING_DISPATCH_DELAY_MS: '1500',
      SHIPPING_DELIVERY_DELAY_MS: '50',
      SHIPPING_RETURN_DELAY_MS: '50',
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended = once(up, 'exit');
  let output = '';
  for (const stream of [up.stdout, up.stderr])
    stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
  try {
    await until(() => up.exitCode !== null || output.includes('Ready in'), {
      timeoutMs: 120_000,
      intervalMs: 50,
      describe: 'the fleet is ready',
    });
    if (up.exitCode !== null) throw new Error(`fleet up ended:\n${output}`);
    const state = await requireState(dir);
    return { state, ...(await makeHistory(state)) };
  } finally {
    up.kill('SIGINT');
    await ended;
  }
}

async function startServers(dir: DataDir): Promise<{ nats: EmbeddedNats; postgres: EmbeddedPostgres }> {
  const binary = await locateNatsServer();
  const [nats, postgres] = await Promise.all([
    startNats({ binary: binary.path, storeDir: dir.nats }),
    startPostgres({ dataDir: dir.postgres }),
  ]);
  return { nats, postgres };
}

async function makeHistory({
  gatewayUrl = '',
  nats,
  databases,
  credentials,
}: FleetState): Promise<Omit<History, 'state'>> {
  const api = await login(gatewayUrl);
  await api.put('/v1/products/LANTERN', {
    name: 'Lantern',
    kind: 'stocked',
    price: { amount: '12.50', currency: 'GBP' },
  });
  await api.put('/v1/products/LANTERN', {
    name: 'Lantern',
    kind: 'stocked',
    price: { amount: '12.00', currency: 'GBP' },
  });
  await api.post('/v1/stock/LANTERN/receipts', { quantity: 20 });
  await untilCopied(databases['orders'] ?? '');

  const accepted: ExpectedOrder[] = [];
  const place = async (quantity: number, token = 'tok_ok'): Promise<string> => {
    const idempotencyKey = newId();
    const lines = [{ sku: 'LANTERN', quantity }];
    const { orderId } = await api.post(
      '/v1/orders',
      { lines, payment: { token }, shipTo: { name: 'Ada', country: 'France' } },
      idempotencyKey,
    );
    accepted.push({ orderId: String(orderId), idempotencyKey, customerId: 'c-checker', lines });
    return String(orderId);
  };
  const becomes = (orderId: string, status: string): Promise<unknown> =>
    until(async () => (await api.get(`/v1/orders/${orderId}`))['status'] === status, {
      timeoutMs: 60_000,
      intervalMs: 100,
      describe: `order ${orderId} is ${status}`,
    });

  const cancelled = await place(1);
  await becomes(cancelled, 'confirmed');
  await api.post(`/v1/orders/${cancelled}/cancel`, {});
  const completed = await place(2);
  const other = await place(1);
  const returned = await place(3);
  const outOfStock = await place(500);
  const declined = await place(1, 'tok_declined');
  await becomes(cancelled, 'cancelled');
  await becomes(outOfStock, 'rejected');
  await becomes(declined, 'rejected');
  for (const orderId of [completed, other, returned]) await becomes(orderId, 'completed');

  const { returnId } = await api.post(`/v1/orders/${returned}/returns`, {
    lines: [{ sku: 'LANTERN', quantity: 1 }],
  });
  await until(
    async () =>
      (await api.get(`/v1/orders/${returned}/returns/${String(returnId)}`))['status'] === 'completed',
    { timeoutMs: 60_000, intervalMs: 100, describe: 'the return is completed' },
  );

  const poison = { id: newId() };
  const client = await connectNats({ ...accessOf(nats.url, credentials.operator), name: 'checker test' });
  try {
    await publishPoison(client, poison.id);
    await untilAtRest(client, databases);
  } finally {
    await client.close();
  }
  const orders = { completed, other, outOfStock, declined, cancelled, returned, returnId: String(returnId) };
  return { orders, accepted, poison: [poison] };
}

/** A message of a known type that is no JSON; resolves when both of its readers have given it up. */
async function publishPoison(client: NatsConnection, id: string): Promise<void> {
  const told = headers();
  told.set('ce-id', id);
  told.set('ce-type', 'orders.OrderConfirmed.v1');
  told.set('Nats-Msg-Id', id);
  await jetstream(client).publish('evt.orders.OrderConfirmed.v1.0.poison', 'not JSON', { headers: told });
  const manager = await jetstreamManager(client, { checkAPI: false });
  await until(async () => (await manager.streams.info('DLQ')).state.messages === 2, {
    timeoutMs: 30_000,
    describe: 'the poison is dead',
  });
}

/** Views and messages follow an order's end. */
async function untilAtRest(
  client: NatsConnection,
  databases: Readonly<Record<string, string>>,
): Promise<void> {
  const busy = await awaitRest({ natsUrl: '', databases, expected: { orders: [] } }, client, 60_000);
  if (busy.length > 0) throw new Error(`The fleet does not come to rest: ${busy.join(', ')}`);
}

async function untilCopied(url: string): Promise<void> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    await until(
      async () => (await client.query('SELECT FROM products WHERE price_minor = 1200')).rowCount === 1,
      { timeoutMs: 30_000, describe: 'orders knows the product' },
    );
  } finally {
    await client.end();
  }
}

interface Api {
  get(path: string): Promise<Record<string, unknown>>;
  put(path: string, body: unknown): Promise<Record<string, unknown>>;
  post(path: string, body: unknown, key?: string): Promise<Record<string, unknown>>;
}

async function login(url: string): Promise<Api> {
  const send = async (
    method: string,
    path: string,
    body?: unknown,
    more: Readonly<Record<string, string>> = {},
  ): Promise<Record<string, unknown>> => {
    const response = await fetch(`${url}${path}`, {
      method,
      headers: { ...(body !== undefined && { 'content-type': 'application/json' }), ...more },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const answer = (await response.json()) as Record<string, unknown>;
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${JSON.stringify(answer)}`);
    return answer;
  };
  const token = await send('POST', '/v1/auth/token', { customerId: 'c-checker', scope: SCOPES });
  const authorization = `Bearer ${String(token['access_token'])}`;
  return {
    get: (path) => send('GET', path, undefined, { authorization }),
    put: (path, body) => send('PUT', path, body, { authorization }),
    post: (path, body, key = newId()) => send('POST', path, body, { authorization, 'idempotency-key': key }),
  };
}
