import { newId } from '@flotilla/kernel';
import { connectNats } from '@flotilla/messaging';
import { until } from '@flotilla/testing';
import { Api } from './support/api.ts';
import { RunningFleet } from './support/running-fleet.ts';
import { TraceCollector, type CollectedSpan } from './support/trace-collector.ts';

let collector: TraceCollector;
let fleet: RunningFleet;
let api: Api;

beforeAll(async () => {
  collector = await TraceCollector.start();
  fleet = await RunningFleet.start({
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint,
    OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
    OTEL_BSP_SCHEDULE_DELAY: '200',
    ORDERS_SCREENING_DENIED_CUSTOMERS: 'c-barred',
    ORDERS_SCREENING_REVIEW_QUANTITY_ABOVE: '500',
    SHIPPING_DISPATCH_DELAY_MS: '300',
    SHIPPING_RETRY_INITIAL_MS: '100',
  });
  api = await Api.login(fleet.apiUrl);
});

afterAll(async () => {
  await fleet[Symbol.asyncDispose]();
  await collector[Symbol.asyncDispose]();
});

describe('a fleet of built services', () => {
  it('is ready, each service on its own port with health and metrics', async () => {
    const { ready, instances } = await fleet.status();
    expect(ready).toBe(true);
    expect(instances.map(({ name }) => name).sort()).toEqual([
      'catalog',
      'gateway',
      'inventory',
      'notifications',
      'orders',
      'payments',
      'shipping',
      'tracking',
    ]);
    for (const { port } of instances) {
      expect((await fetch(`http://127.0.0.1:${port}/health/ready`)).status).toBe(200);
      expect(await (await fetch(`http://127.0.0.1:${port}/metrics`)).text()).toContain('process_cpu');
    }
  });

  it('answers the NATS service API', async () => {
    const client = await connectNats({
      ...(await fleet.broker('operator')),
      name: 'somebody with the nats tool',
    });
    try {
      const answer = await client.request('$SRV.INFO.orders', undefined, { timeout: 2_000 });
      expect(answer.json<{ name: string; endpoints: { subject: string }[] }>()).toMatchObject({
        name: 'orders',
      });
    } finally {
      await client.close();
    }
  });
});

describe('an order', () => {
  it('is fulfilled, and is one trace from the request to its completion', async () => {
    await api.stock('E2E-TRACE', 5);
    const traceId = newId().replaceAll('-', '');
    const placed = await api.place('E2E-TRACE', 2, 'tok_ok', {
      traceparent: `00-${traceId}-00f067aa0ba902b7-01`,
    });
    expect(placed.status).toBe(202);
    expect(placed.headers.get('location')).toBe(`/v1/orders/${String(placed.body['orderId'])}`);
    const order = await api.becomes(placed.body['orderId'], 'completed');
    expect(order.timeline.map(({ event }) => event)).toEqual([
      'OrderPlaced',
      'OrderConfirmed',
      'OrderShipped',
      'OrderCompleted',
    ]);
    expect(order.payment.captured.amount).toBe('25.00');

    const last = 'process orders.OrderCompleted.v1';
    await until(() => collector.spans.some(({ traceId: id, name }) => id === traceId && name === last), {
      timeoutMs: 20_000,
      describe: 'the spans of the whole order have come in',
    });
    const spans = collector.spans.filter((span) => span.traceId === traceId);
    // Each edge: the span, and one of its ancestors.
    const edges: [string, string, string, string][] = [
      ['orders', 'process orders.PlaceOrder.v1', 'gateway', 'POST /v1/orders'],
      ['orders', 'process fraud.ScreenOrder.v1', 'orders', 'process orders.PlaceOrder.v1'],
      ['inventory', 'process inventory.ReserveStock.v1', 'orders', 'process fraud.ScreenOrder.v1'],
      ['payments', 'process payments.AuthorisePayment.v1', 'inventory', 'process inventory.ReserveStock.v1'],
      ['payments', 'process payments.CapturePayment.v1', 'payments', 'process payments.AuthorisePayment.v1'],
      ['shipping', 'process shipping.CreateShipment.v1', 'payments', 'process payments.CapturePayment.v1'],
      ['tracking', 'process orders.OrderPlaced.v1', 'orders', 'process orders.PlaceOrder.v1'],
      [
        'notifications',
        'process orders.OrderConfirmed.v1',
        'payments',
        'process payments.AuthorisePayment.v1',
      ],
    ];
    for (const [service, name, ancestorService, ancestorName] of edges) {
      const span = spans.find((each) => each.service === service && each.name === name);
      const ancestors = span ? ancestorsOf(span, spans).map((each) => `${each.service}: ${each.name}`) : [];
      expect({ service, name, ancestors }).toEqual({
        service,
        name,
        ancestors: expect.arrayContaining([`${ancestorService}: ${ancestorName}`]) as unknown,
      });
    }
    expect(spans.some(({ service, name }) => service === 'orders' && /insert|INSERT/.test(name))).toBe(true);
  });

  it.each([
    ['tok_declined', 'payment_declined'],
    ['tok_insufficient_funds', 'payment_declined'],
  ])('paid with %s is rejected as %s, and its stock is free again', async (token, reason) => {
    const sku = `E2E-${token.toUpperCase()}`;
    await api.stock(sku, 3);
    const placed = await api.place(sku, 3, token);
    const order = await api.becomes(placed.body['orderId'], 'rejected');
    expect(order.rejectionReason).toBe(reason);
    const stock = await api.send('GET', `/v1/stock/${sku}`);
    expect(stock.body).toMatchObject({ onHand: 3, reserved: 0, shipped: 0 });
  });

  it.each(['tok_flaky', 'tok_ok'])('paid with %s is completed', async (token) => {
    const sku = `E2E-OK-${token.toUpperCase()}`;
    await api.stock(sku, 1);
    const placed = await api.place(sku, 1, token);
    await api.becomes(placed.body['orderId'], 'completed');
  });

  it('beyond the stock is rejected', async () => {
    await api.stock('E2E-SHORT', 2);
    const placed = await api.place('E2E-SHORT', 3);
    const order = await api.becomes(placed.body['orderId'], 'rejected');
    expect(order.rejectionReason).toBe('out_of_stock');
  });

  it('of a barred customer is rejected for fraud', async () => {
    await api.stock('E2E-FRAUD', 2);
    const barred = await Api.login(fleet.apiUrl, 'c-barred', 'orders:write orders:read');
    const placed = await barred.place('E2E-FRAUD', 1);
    expect((await barred.becomes(placed.body['orderId'], 'rejected')).rejectionReason).toBe('fraud');
  });

  it('of unusual size waits for a reviewer, is cancelled meanwhile, and another is approved', async () => {
    await api.stock('E2E-REVIEW', 1_200);
    const [first, second] = [await api.place('E2E-REVIEW', 501), await api.place('E2E-REVIEW', 501)];
    await api.becomes(first.body['orderId'], 'awaiting_review');
    await api.becomes(second.body['orderId'], 'awaiting_review');
    const cancelled = await api.send('POST', `/v1/orders/${String(first.body['orderId'])}/cancel`, {
      reason: 'no longer',
    });
    expect(cancelled.status).toBe(202);
    const review = await api.send('POST', `/v1/orders/${String(second.body['orderId'])}/review`, {
      decision: 'approve',
    });
    expect(review.status).toBe(202);
    await api.becomes(first.body['orderId'], 'cancelled');
    await api.becomes(second.body['orderId'], 'completed');
    const late = await api.send('POST', `/v1/orders/${String(second.body['orderId'])}/cancel`);
    expect(late.status).toBe(409);
    expect(late.headers.get('content-type')).toContain('application/problem+json');
  });

  it('sent fifty times under one key is one order with fifty equal answers', async () => {
    await api.stock('E2E-TWICE', 1);
    const key = { 'idempotency-key': newId() };
    const answers = await Promise.all(
      Array.from({ length: 50 }, () => api.place('E2E-TWICE', 1, 'tok_ok', key)),
    );
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([202]));
    expect(new Set(answers.map(({ body }) => body['orderId'])).size).toBe(1);
    const other = await api.place('E2E-TWICE', 2, 'tok_ok', key);
    expect(other.status).toBe(422);
    await api.becomes(answers[0]?.body['orderId'], 'completed');
  });
});

describe('a return', () => {
  const stockOf = async (sku: string) => (await api.send('GET', `/v1/stock/${sku}`)).body;
  const ended = (orderId: unknown, returnId: unknown) =>
    until(
      async () => {
        const { body } = await api.send('GET', `/v1/orders/${String(orderId)}/returns/${String(returnId)}`);
        return body['status'] === 'completed' ? body : undefined;
      },
      { timeoutMs: 60_000, intervalMs: 50, describe: `return ${String(returnId)} is completed` },
    );

  it('brings goods back to the shelf and money to the customer, and is seen everywhere', async () => {
    await api.stock('E2E-RETURN', 5);
    const placed = await api.place('E2E-RETURN', 3);
    const { orderId } = placed.body;
    await api.becomes(orderId, 'completed');
    const path = `/v1/orders/${String(orderId)}/returns`;
    const key = { 'idempotency-key': newId() };
    const wanted = {
      lines: [
        { sku: 'E2E-RETURN', quantity: 1 },
        { sku: 'E2E-RETURN', quantity: 1, damaged: true },
      ],
    };
    const answers = await Promise.all([1, 2, 3].map(() => api.send('POST', path, wanted, key)));
    expect(answers.map(({ status }) => status)).toEqual([202, 202, 202]);
    const returnId = answers[0]?.body['returnId'];
    expect(await ended(orderId, returnId)).toMatchObject({ refund: { amount: '25.00' } });
    expect(await stockOf('E2E-RETURN')).toMatchObject({ onHand: 3, shipped: 3, restocked: 1 });

    const order = await until(async () => {
      const shown = await api.order(orderId);
      return shown.payment.refunded.amount === '25.00' && shown.lines[0]?.returned === 2 && shown;
    });
    expect(order).toMatchObject({ status: 'completed', returns: [{ returnId, status: 'completed' }] });
    expect(order.timeline.slice(-2).map(({ event }) => event)).toEqual([
      'OrderReturnRequested',
      'OrderReturned',
    ]);
    const tooMuch = await api.send('POST', path, { lines: [{ sku: 'E2E-RETURN', quantity: 2 }] });
    expect(tooMuch.status).toBe(409);
    expect(tooMuch.body).toMatchObject({ data: { reason: 'exceeds_delivered' } });
    const rest = await api.send('POST', path, { lines: [{ sku: 'E2E-RETURN', quantity: 1 }] });
    await ended(orderId, rest.body['returnId']);
    await until(async () => (await api.order(orderId)).payment.refunded.amount === '37.50');
  });

  it('of an order that is not completed is refused', async () => {
    await api.stock('E2E-EARLY', 1);
    const placed = await api.place('E2E-EARLY', 1);
    const early = await api.send('POST', `/v1/orders/${String(placed.body['orderId'])}/returns`, {
      lines: [{ sku: 'E2E-EARLY', quantity: 1 }],
    });
    expect(early.status).toBe(409);
    expect(early.body).toMatchObject({ data: { reason: 'not_completed' } });
    await api.becomes(placed.body['orderId'], 'completed');
  });
});

describe('a parcel', () => {
  it.each([
    ['carrier:no-collection', 'the carrier did not collect it', { shipped: 0, restocked: 0 }],
    ['carrier:undeliverable', 'nobody could be found at the address', { shipped: 2, restocked: 2 }],
  ])('to %s never arrives: stock and money go back', async (name, why, levels) => {
    const sku = `E2E-${name.replace(':', '-').toUpperCase()}`;
    await api.stock(sku, 2);
    const placed = await api.place(sku, 2, 'tok_ok', {}, name);
    const order = await api.becomes(placed.body['orderId'], 'cancelled');
    expect(order.timeline.at(-1)).toMatchObject({ event: 'OrderCancelled', detail: why });
    await until(async () => (await api.order(order.orderId)).payment.refunded.amount === '25.00');
    const stock = await api.send('GET', `/v1/stock/${sku}`);
    expect(stock.body).toMatchObject({ onHand: 2, reserved: 0, ...levels });
  });

  it('that is lost waits for a person, who gives the order up: the money goes back', async () => {
    await api.stock('E2E-LOST', 2);
    const placed = await api.place('E2E-LOST', 2, 'tok_ok', {}, 'carrier:lost');
    const orderId = String(placed.body['orderId']);
    const at = ['--data', fleet.dataDir];
    await until(
      async () =>
        (await fleet.run('saga', 'list', '--status', 'parked', '--json', ...at)).stdout.includes(orderId),
      { timeoutMs: 60_000, intervalMs: 250, describe: `the saga of ${orderId} is parked` },
    );
    expect((await api.order(orderId)).status).toBe('shipped');
    const aborted = await fleet.run('saga', 'abort', orderId, '--reason', 'never found', ...at);
    expect(aborted).toMatchObject({ code: 0 });
    await api.becomes(orderId, 'cancelled');
    await until(async () => (await api.order(orderId)).payment.refunded.amount === '25.00');
    const stock = await api.send('GET', '/v1/stock/E2E-LOST');
    expect(stock.body).toMatchObject({ onHand: 0, reserved: 0, shipped: 2, restocked: 0 });
  });

  it('to somebody whom the carrier reaches late arrives', async () => {
    await api.stock('E2E-LATE', 1);
    const placed = await api.place('E2E-LATE', 1, 'tok_ok', {}, 'carrier:late');
    await api.becomes(placed.body['orderId'], 'completed');
  });
});

describe('bad input', () => {
  it.each([
    ['malformed JSON', '{"lines": [', 400],
    ['an unknown field', { ...validOrder(), colour: 'red' }, 400],
    ['a wrong type', { ...validOrder(), lines: [{ sku: 1, quantity: 'two' }] }, 400],
    ['quantity 0', { ...validOrder(), lines: [{ sku: 'A', quantity: 0 }] }, 400],
    ['quantity 1e12', { ...validOrder(), lines: [{ sku: 'A', quantity: 1e12 }] }, 400],
    ['an unknown SKU', { ...validOrder(), lines: [{ sku: 'NO-SUCH-THING', quantity: 1 }] }, 422],
    ['a huge body', { ...validOrder(), reference: 'x'.repeat(2_000_000) }, 413],
  ])('(%s) is a problem that says what to do', async (_, body, status) => {
    const answer = await api.send('POST', '/v1/orders', body);
    expect(answer.status).toBe(status);
    expect(answer.headers.get('content-type')).toContain('application/problem+json');
    expect(answer.body).toMatchObject({ status, detail: expect.stringMatching(/\w/) as unknown });
    expect(JSON.stringify(answer.body)).not.toMatch(/at .*\.(ts|js):\d+/);
  });

  it('(an unknown order, a wrong token) is not found, not authenticated', async () => {
    expect((await api.send('GET', `/v1/orders/${newId()}`)).status).toBe(404);
    const wrong = await api.send('GET', '/v1/orders', undefined, { authorization: 'Bearer nonsense' });
    expect(wrong.status).toBe(401);
  });
});

describe('the books', () => {
  it('are right at the end', async () => {
    const verified = await fleet.run('verify', '--data', fleet.dataDir);
    expect(verified).toMatchObject({ code: 0 });
  });

  it('and nobody has needed anything of the broker that its contracts do not say', async () => {
    expect(await fleet.refusals()).toEqual([]);
  });
});

function validOrder() {
  return {
    lines: [{ sku: 'A', quantity: 1 }],
    payment: { token: 'tok_ok' },
    shipTo: { name: 'Ada', country: 'France' },
  };
}

function ancestorsOf(span: CollectedSpan, spans: readonly CollectedSpan[]): CollectedSpan[] {
  const parent = spans.find(({ spanId }) => spanId === span.parentSpanId);
  return parent ? [parent, ...ancestorsOf(parent, spans)] : [];
}
