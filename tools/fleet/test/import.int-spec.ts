import { until } from '@flotilla/testing';
import { ApiClient } from '../src/import/api-client.ts';
import { authenticateAs } from '../src/import/authenticate.ts';
import { planImport, type ImportPlan } from '../src/import/plan.ts';
import { runImport, type ImportResult, type RunOptions } from '../src/import/run-import.ts';
import { FakeApi } from './fake-api.ts';

const rows = [
  'InvoiceNo,StockCode,Description,Quantity,UnitPrice,CustomerID,Country',
  ...Array.from({ length: 5 }, (_, at) => `${at + 1},P${at % 2},x,2,1.50,7,UK`),
  '6,POST,Postage,1,18.00,,France',
];
const plan = planImport(rows.join('\n'));

let api: FakeApi;
const clients: ApiClient[] = [];
const clientOf = (patienceMs = 20_000): ApiClient => {
  const client = new ApiClient({
    url: api.url,
    connections: 4,
    authenticate: authenticateAs({ scopes: ['all'] }),
    patienceMs,
  });
  clients.push(client);
  return client;
};
const run = (options: Partial<RunOptions> = {}, of: ImportPlan = plan): Promise<ImportResult> =>
  runImport(of, clientOf(), {
    concurrency: 4,
    paymentToken: 'tok_ok',
    wait: true,
    approveReviews: false,
    stallMs: 15_000,
    onProgress: () => undefined,
    ...options,
  });

beforeEach(async () => {
  api = await FakeApi.start();
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await api.stop();
});

describe('an import', () => {
  it('defines products, receives stock, places orders, and waits until they have ended', async () => {
    api.endAs = (reference) => (reference === '1' ? 'rejected' : 'completed');
    const result = await run();
    expect(result).toMatchObject({
      products: { written: 3, unchanged: 0 },
      stock: { received: 2, replayed: 0 },
      orders: {
        placedNew: 6,
        replayed: 0,
        refused: [],
        byStatus: { completed: 5, rejected: 1 },
        byRejectionReason: { out_of_stock: 1 },
      },
      grossPlaced: { amount: '33.00', currency: 'GBP' },
      captured: { amount: '30.00', currency: 'GBP' },
    });
    expect([...api.receipts]).toEqual([
      ['P0', 6],
      ['P1', 4],
    ]);
    expect(api.products.get('POST')).toMatchObject({
      kind: 'charge',
      price: { amount: '18.00', currency: 'GBP' },
    });
  });

  it('that is run again places nothing new and adds no stock', async () => {
    await run();
    const again = await run();
    expect(again).toMatchObject({
      products: { written: 0, unchanged: 3 },
      stock: { received: 0, replayed: 2 },
      orders: { placedNew: 0, replayed: 6, byStatus: { completed: 6 } },
    });
    expect(api.orders.size).toBe(6);
    expect(api.receipts.get('P0')).toBe(6);
  });

  it('goes on when the API is busy, hangs up, forgets the token or has not heard of a product', async () => {
    const busy = { status: 429, headers: { 'retry-after': '0' } };
    const unknown = { status: 422, body: { type: 'urn:flotilla:problem:unknown-product', detail: 'P0' } };
    api.interventions.push(
      { matches: /PUT/, answer: busy },
      { matches: /PUT/, answer: 'hang up' },
      { matches: /receipts/, answer: { status: 503 } },
      { matches: /POST .*orders/, answer: { status: 401 } },
      { matches: /POST .*orders/, answer: unknown },
      { matches: /GET .*orders/, answer: { status: 504 } },
    );
    const result = await run();
    expect(result.orders).toMatchObject({ placedNew: 6, byStatus: { completed: 6 } });
    expect(api.orders.size).toBe(6);
    expect(result.retries).toBe(4);
    expect(api.tokens.size).toBe(2);
  });

  it('survives a gateway that is away for a while', async () => {
    await api.stop();
    const running = run();
    await until(() => (clients.at(-1)?.retries ?? 0) >= 2);
    await api.listen();
    expect((await running).orders.byStatus).toEqual({ completed: 6 });
  });

  it('reports an order that is refused for good and goes on with the others', async () => {
    const refusal = { status: 422, body: { type: 'urn:x:total-too-large', detail: 'too much' } };
    api.interventions.push({ matches: /POST .*orders/, answer: refusal });
    const { orders } = await run();
    expect(orders.refused).toMatchObject([{ problem: 'urn:x:total-too-large' }]);
    expect(orders.placedNew).toBe(5);
  });

  it('approves what awaits a review when it may', async () => {
    api.endAs = (reference) => (reference === '2' ? 'awaiting_review' : 'completed');
    expect((await run({ approveReviews: true })).orders.byStatus).toEqual({ completed: 6 });
  });

  it('says so when orders do not end', async () => {
    api.endAs = (reference) => (reference === '2' ? 'pending' : 'completed');
    await expect(run({ stallMs: 300 })).rejects.toThrow(/1 orders have not ended.*order-/);
  });

  it('gives up with a next step when the API stays away, and at once when it is not allowed', async () => {
    api.interventions.push({ matches: /token/, answer: { status: 404, body: { detail: 'no issuer here' } } });
    await expect(run()).rejects.toThrow(/POST \/v1\/auth\/token was answered 404 .*no issuer here/);
    await api.stop();
    await expect(clientOf(200).send({ method: 'GET', path: '/v1/products' })).rejects.toThrow(
      /got no answer.*ECONNREFUSED.*Is the fleet running/,
    );
    await api.listen();
  });
});

describe('the cancellations of an import', () => {
  const withReturns = planImport(
    [
      ...rows,
      'C7,P0,x,-1,1.50,7,UK',
      'C7,P1,x,-5,1.50,7,UK',
      'C8,P0,x,-1,1.50,8,UK',
      'C8,POST,Postage,-1,18.00,7,UK',
    ].join('\n'),
  );

  it('return what was delivered, and report what they cannot', async () => {
    const { returns } = await run({}, withReturns);
    expect(returns).toEqual({
      requestedNew: 3,
      replayed: 0,
      refused: [],
      matchedRows: 2,
      matchedQuantity: 1 + 4,
      unmatched: [
        { line: 9, invoice: 'C7', sku: 'P1', quantity: 1, reason: 'no quantity left' },
        { line: 10, invoice: 'C8', sku: 'P0', quantity: 1, reason: 'no earlier order of the customer' },
      ],
      unmatchedQuantity: 2,
      byStatus: { completed: 3 },
      refunded: { amount: '7.50', currency: 'GBP' },
    });
    expect(withReturns.returns.rejects).toMatchObject([{ line: 11, reason: 'the code is a charge' }]);
    expect([...api.returns.values()].map(({ lines }) => lines)).toEqual(
      expect.arrayContaining([[{ sku: 'P0', quantity: 1 }], [{ sku: 'P1', quantity: 2 }]]),
    );
  });

  it('that are run again return nothing new', async () => {
    await run({}, withReturns);
    const { returns } = await run({}, withReturns);
    expect(returns).toMatchObject({ requestedNew: 0, replayed: 3, refunded: { amount: '7.50' } });
    expect(api.returns.size).toBe(3);
  });

  it('go on when the API is busy, and name what is refused for good', async () => {
    const refusal = { status: 409, body: { type: 'urn:x:order-not-returnable', detail: 'it is gone' } };
    api.interventions.push(
      { matches: /POST .*returns/, answer: { status: 503 } },
      { matches: /POST .*returns/, answer: refusal },
      { matches: /GET .*returns/, answer: 'hang up' },
    );
    const { returns } = await run({ concurrency: 1 }, withReturns);
    expect(returns).toMatchObject({
      requestedNew: 2,
      refused: [{ invoice: 'C7', problem: 'urn:x:order-not-returnable' }],
      byStatus: { completed: 2 },
    });
  });

  it('wait for their orders, and say so when a return does not end', async () => {
    expect((await run({ wait: false }, withReturns)).returns).toBeUndefined();
    expect(api.returns.size).toBe(0);
    api.endReturnAs = 'requested';
    await expect(run({ stallMs: 300 }, withReturns)).rejects.toThrow(/3 returns have not ended.*return-/);
  });
});
