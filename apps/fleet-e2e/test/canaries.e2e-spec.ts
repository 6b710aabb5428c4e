import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { headers } from '@nats-io/nats-core';
import { newId } from '@flotilla/kernel';
import { until } from '@flotilla/testing';
import { Api } from './support/api.ts';
import { canaries, canariesIn, canaryRequests, type Canary } from './support/canary-requests.ts';
import { OpenApiDocument } from './support/openapi.ts';
import { RawHttp } from './support/raw-http.ts';
import { RunningFleet } from './support/running-fleet.ts';
import { TraceCollector } from './support/trace-collector.ts';

let collector: TraceCollector;
let fleet: RunningFleet;
let http: RawHttp;
let document: OpenApiDocument;
let operator: Api;
let placed: string[];

beforeAll(async () => {
  collector = await TraceCollector.start();
  fleet = await RunningFleet.start({
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint,
    OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
    OTEL_BSP_SCHEDULE_DELAY: '200',
    OTEL_BSP_MAX_QUEUE_SIZE: '100000',
    LOG_LEVEL: 'debug',
    RATE_LIMIT_MAX: '100000',
    SHIPPING_DISPATCH_DELAY_MS: '50',
  });
  http = new RawHttp(fleet.apiUrl);
  document = await OpenApiDocument.load(fleet.apiUrl);
  operator = await Api.login(fleet.apiUrl, 'c-canary');
}, 180_000);

afterAll(async () => {
  http[Symbol.dispose]();
  await fleet[Symbol.asyncDispose]();
  await collector[Symbol.asyncDispose]();
});

const kinds = Object.keys(canaries) as Canary[];

/** An order in which every word is a canary, followed to its end and returned. */
async function canaryOrder(sku: string, customer: Api, paymentToken: string): Promise<string> {
  const { card, email } = canaries;
  const order = await customer.send('POST', '/v1/orders', {
    email,
    reference: card,
    lines: [{ sku, quantity: 2 }],
    payment: { token: paymentToken },
    shipTo: {
      name: `${email} ${card}`,
      street: card,
      city: email,
      postcode: card,
      country: 'France',
    },
  });
  if (order.status !== 202) throw new Error(JSON.stringify(order.body));
  return String(order.body['orderId']);
}

/** Everything that the fleet tells whoever watches it. */
async function telemetry(): Promise<Map<string, string>> {
  const told = new Map<string, string>();
  const logs = join(fleet.dataDir, 'logs');
  for (const name of await readdir(logs))
    told.set(`the log ${name}`, await readFile(join(logs, name), 'utf8'));
  told.set('the output of fleet up', fleet.output);
  told.set('the spans', collector.text);
  const { instances } = await fleet.status();
  for (const { name, port } of instances) {
    for (const path of ['/metrics', '/health/ready', '/health/live']) {
      const response = await fetch(`http://127.0.0.1:${port}${path}`);
      told.set(`${path} of ${name}`, await response.text());
    }
  }
  const commands = [
    ['dlq', 'list'],
    ['dlq', 'list', '--json'],
    ['status', '--json'],
    ['saga', 'list'],
    ['verify'],
  ];
  const letters = await fleet.run('dlq', 'list', '--json', '--data', fleet.dataDir);
  for (const { sequence } of (
    JSON.parse(letters.stdout) as { letters: { sequence: number }[] }
  ).letters.slice(0, 2))
    commands.push(['dlq', 'show', String(sequence)], ['dlq', 'show', String(sequence), '--json']);
  for (const orderId of placed.slice(0, 1))
    commands.push(['saga', 'show', orderId], ['saga', 'show', orderId, '--json']);
  for (const command of commands) {
    const { stdout, stderr } = await fleet.run(...command, '--data', fleet.dataDir);
    told.set(`fleet ${command.join(' ')}`, stdout + stderr);
  }
  return told;
}

/** The places that a canary has got to, each with what stands around it. */
function leaks(told: ReadonlyMap<string, string>): string[] {
  return [...told].flatMap(([where, text]) =>
    [...new Set(text.split('\n').filter((line) => canariesIn(line).length > 0))].slice(0, 3).map((line) => {
      const at = Math.max(0, line.search(/kanarie|4929420573595709/i) - 250);
      return `${where}: ...${line.slice(at, at + 350)}`;
    }),
  );
}

describe('what callers should not have sent', () => {
  it('is taken, kept and shown where it belongs', async () => {
    placed = [];
    const { card, email, token } = canaries;
    const customer = await Api.login(fleet.apiUrl, email, 'orders:write orders:read');
    for (const sku of [card, encodeURIComponent(email)]) await operator.stock(sku, 100);
    for (const sku of [card, email])
      for (const pays of ['tok_ok', 'tok_declined', 'tok_flaky', token])
        placed.push(await canaryOrder(sku, customer, pays));
    const [first = '', declined = ''] = placed;
    const order = await customer.becomes(first, 'completed');
    expect(canariesIn(JSON.stringify(order))).toEqual(expect.arrayContaining([card, email]));
    await customer.becomes(declined, 'rejected');
    const returned = await customer.send('POST', `/v1/orders/${first}/returns`, {
      lines: [{ sku: card, quantity: 1 }],
      reason: `${email} ${card}`,
    });
    expect(returned.status).toBe(202);
    await until(async () => (await customer.order(first)).payment.refunded.amount !== '0.00', {
      timeoutMs: 60_000,
      describe: 'the return is paid back',
    });
    const cancelled = await customer.send('POST', `/v1/orders/${first}/cancel`, {
      reason: `${email} ${card}`,
    });
    expect(cancelled.status).toBe(409);
    const messages = await customer.send('GET', `/v1/orders/${first}/notifications`);
    expect(canariesIn(JSON.stringify(messages.body))).toContain(email);
  }, 120_000);

  it('comes in through every operation, valid and not', async () => {
    const statuses = new Map<string, Set<number>>();
    for (const operation of document.operations) {
      for (const kind of kinds) {
        for (const request of canaryRequests(operation, kind, operator.authorization)) {
          const { status } = await http.send(request);
          statuses.set(operation.id, (statuses.get(operation.id) ?? new Set()).add(status));
        }
      }
    }
    expect([...statuses.keys()].sort()).toEqual(document.operations.map(({ id }) => id).sort());
    for (const [id, seen] of statuses)
      expect([id, [...seen].some((status) => status < 500)]).toEqual([id, true]);
  }, 120_000);

  it('is under way when services are killed', async () => {
    const requests = document.operations.flatMap((operation) =>
      kinds.flatMap((kind) => canaryRequests(operation, kind, operator.authorization).slice(0, 1)),
    );
    const killing = Promise.all(['catalog', 'tracking'].map((name) => fleet.killService(name)));
    const refused = new Set<number>();
    for (const request of requests) refused.add((await http.send(request)).status);
    await killing;
    expect(refused.size).toBeGreaterThan(1);
  }, 120_000);

  it('is in messages that nobody can handle', async () => {
    const { card, email, token } = canaries;
    const client = await fleet.natsAs('catalog');
    const dead = (type: string, subject: string, key: string, body: unknown) => {
      const carried = headers();
      for (const [name, value] of Object.entries({
        'ce-id': newId(),
        'ce-type': type,
        'ce-source': 'test',
        'ce-specversion': '1.0',
        'ce-time': new Date().toISOString(),
        'ce-subject': key,
      }))
        carried.set(name, value);
      return client.request(subject, typeof body === 'string' ? body : JSON.stringify(body), {
        headers: carried,
        timeout: 5_000,
      });
    };
    const body = { sku: card, name: 42, kind: email, email, paymentToken: token, price: card, token };
    await dead('catalog.ProductDefined.v1', `evt.catalog.ProductDefined.v1.1.${card}`, card, body);
    await dead(
      'catalog.ProductDefined.v1',
      `evt.catalog.ProductDefined.v1.1.${card}`,
      email,
      `{"${email}": `,
    );
    await client.close();
    await until(
      async () => {
        const { stdout } = await fleet.run('dlq', 'list', '--json', '--data', fleet.dataDir);
        return (JSON.parse(stdout) as { total: number }).total >= 2;
      },
      { timeoutMs: 60_000, intervalMs: 250, describe: 'the messages have died' },
    );
  }, 90_000);

  it('is in no log, no trace, no metric, no health answer and no listing', async () => {
    const traceId = newId().replaceAll('-', '');
    await operator.send('GET', '/v1/products', undefined, {
      traceparent: `00-${traceId}-00f067aa0ba902b7-01`,
    });
    await until(
      () => collector.spans.some((span) => span.traceId === traceId && span.service === 'catalog'),
      {
        timeoutMs: 20_000,
        describe: 'the spans have come in',
      },
    );
    const told = await telemetry();
    // It was looked for where something is.
    expect(collector.spans.length).toBeGreaterThan(1_000);
    for (const name of [
      'gateway',
      'orders',
      'inventory',
      'payments',
      'shipping',
      'notifications',
      'tracking',
    ])
      expect(told.get(`the log ${name}.log`)?.length).toBeGreaterThan(200);
    expect(leaks(told)).toEqual([]);
  }, 120_000);

  it('made no metric grow with what callers sent', async () => {
    const { instances } = await fleet.status();
    for (const { name, port } of instances) {
      const page = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
      const series = new Map<string, number>();
      for (const line of page.split('\n').filter((each) => each !== '' && !each.startsWith('#'))) {
        const metric = line.split(/[{ ]/, 1)[0] ?? '';
        series.set(metric, (series.get(metric) ?? 0) + 1);
      }
      // By route, method and status, with 14 buckets each: what the code has, and not what callers have.
      const largest = [...series].sort(([, a], [, b]) => b - a)[0] ?? ['', 0];
      expect([name, ...largest.slice(0, 1), largest[1] < 2_500]).toEqual([name, largest[0], true]);
      expect(page).not.toMatch(/postgres:\/\/|nats:\/\/|password|eyJ/);
    }
  });
});
