import fc from 'fast-check';
import { newId } from '@flotilla/kernel';
import { until } from '@flotilla/testing';
import { Api } from './support/api.ts';
import { requestsTo, type FuzzedRequest, type KnownThings } from './support/fuzzed-requests.ts';
import { OpenApiDocument, type Operation } from './support/openapi.ts';
import { RawHttp } from './support/raw-http.ts';
import { RunningFleet } from './support/running-fleet.ts';

/** Requests to each operation; `FLOTILLA_FUZZ_RUNS=5000` looks longer. */
const RUNS = Number(process.env['FLOTILLA_FUZZ_RUNS'] ?? 60);
/** What is tried follows from it; `FLOTILLA_FUZZ_SEED=$RANDOM` tries something else. */
const SEED = Number(process.env['FLOTILLA_FUZZ_SEED'] ?? 20_260_501);
/** One operation gets no more time than this unless more runs were asked for. */
const WITHIN_MS = RUNS <= 100 ? 15_000 : 3_600_000;

let fleet: RunningFleet;
let document: OpenApiDocument;
let http: RawHttp;
let known: KnownThings;

beforeAll(async () => {
  fleet = await RunningFleet.start({ RATE_LIMIT_MAX: '100000', SHIPPING_DISPATCH_DELAY_MS: '50' });
  document = await OpenApiDocument.load(fleet.apiUrl);
  http = new RawHttp(fleet.apiUrl);
  known = await makeThings();
}, 180_000);

afterAll(async () => {
  http[Symbol.dispose]();
  await fleet[Symbol.asyncDispose]();
});

/** Products, a completed order with a return, one that waits, and callers of each kind. */
async function makeThings(): Promise<KnownThings> {
  const api = await Api.login(fleet.apiUrl, 'c-fuzz');
  const skus = ['FUZZ-1', 'FUZZ-2', 'FUZZ 3/%'];
  for (const sku of skus) await api.stock(encodeURIComponent(sku), 1_000_000);
  const placed = await Promise.all([1, 2, 3].map(() => api.place('FUZZ-1', 3)));
  const orderIds = placed.map(({ body }) => String(body['orderId']));
  await Promise.all(orderIds.map((orderId) => api.becomes(orderId, 'completed')));
  const returned = await api.send('POST', `/v1/orders/${orderIds[0] ?? ''}/returns`, {
    lines: [{ sku: 'FUZZ-1', quantity: 1 }],
  });
  const authorizations = await Promise.all(
    [
      ['c-fuzz', undefined],
      ['c-other', 'orders:write orders:read'],
    ].map(async ([customerId, scope]) => (await Api.login(fleet.apiUrl, customerId, scope)).authorization),
  );
  return {
    skus,
    orderIds: [...orderIds, newId()],
    returnIds: [String(returned.body['returnId']), newId()],
    authorizations,
  };
}

const operationIds = [
  ...['placeOrder', 'listOrders', 'getOrder', 'orderEvents', 'cancelOrder', 'reviewOrder', 'requestReturn'],
  ...['listReturns', 'getReturn', 'orderNotifications', 'listProducts', 'getProduct', 'defineProduct'],
  ...['getStock', 'receiveStock', 'issueToken', 'keys'],
];

/** What is wrong with how the server took a request; undefined if nothing is. */
async function wrongWith(operation: Operation, request: FuzzedRequest): Promise<string | undefined> {
  const answer = await http.send(request);
  const problems: string[] = [];
  if (answer.status >= 500) problems.push(`answered ${answer.status}`);
  // An address that was changed may be another operation's, or nobody's.
  if (!request.mutations.includes('a strange address')) problems.push(...operation.problemsOf(answer));
  else if (answer.status >= 400 && !answer.contentType?.startsWith('application/problem+json'))
    problems.push(`${answer.status} is no problem document`);
  if (request.invalid && answer.status < 400)
    problems.push(`took what the document does not allow: ${answer.status}`);
  if (/node_modules|\.ts:\d+|at .*\(.*:\d+:\d+\)/.test(answer.text)) problems.push('shows its insides');
  if (problems.length === 0) return undefined;
  return [
    `${operation.id} (${request.mutations.join()}): ${problems.join('; ')}`,
    `answer: ${answer.status} ${answer.text.slice(0, 600)}`,
    http.curl(request).slice(0, 4_000),
  ].join('\n');
}

it('the document has the operations that are fuzzed, and no other', () => {
  expect(document.operations.map(({ id }) => id).sort()).toEqual([...operationIds].sort());
});

describe(`the HTTP API, with ${RUNS} requests to each operation (seed ${SEED})`, () => {
  it.each(operationIds)(
    '%s answers as its document says, whatever it is sent',
    async (id) => {
      const operation = document.operation(id);
      const result = await fc.check(
        fc.asyncProperty(requestsTo(operation, known), async (request) => {
          const wrong = await wrongWith(operation, request);
          if (wrong !== undefined) throw new Error(wrong);
        }),
        { seed: SEED, numRuns: RUNS, interruptAfterTimeLimit: WITHIN_MS, markInterruptAsFailure: false },
      );
      if (result.failed) {
        const cause = result.errorInstance instanceof Error ? result.errorInstance.message : 'unknown';
        throw new Error(`FLOTILLA_FUZZ_SEED=${SEED} (path ${result.counterexamplePath ?? ''})\n${cause}`);
      }
      expect(result.numRuns).toBeGreaterThan(0);
    },
    WITHIN_MS * 3,
  );
});

describe('after that', () => {
  it('no process has ended, and none has met what it did not expect', async () => {
    const { ready, instances } = await fleet.status();
    expect(ready).toBe(true);
    expect(instances.filter(({ restarts }) => restarts > 0)).toEqual([]);
    for (const { name } of instances) {
      const lines = await fleet.log(name);
      const bad = lines.filter(({ level }) => level === 'error' || level === 'fatal');
      expect([name, bad.slice(0, 5)]).toEqual([name, []]);
    }
  });

  it('no message has died, and the books are right', async () => {
    const letters = await fleet.run('dlq', 'list', '--json', '--data', fleet.dataDir);
    expect(JSON.parse(letters.stdout)).toMatchObject({ total: 0 });
    await until(async () => (await fleet.run('verify', '--data', fleet.dataDir)).code === 0, {
      timeoutMs: 60_000,
      intervalMs: 500,
      describe: 'every order has ended and the books agree',
    });
  }, 90_000);

  it('the documentation and the probes are what they were', async () => {
    for (const path of ['/docs', '/openapi.json', '/health/live', '/health/ready', '/metrics'])
      expect([path, (await fetch(fleet.apiUrl + path)).status]).toEqual([path, 200]);
  });
});
