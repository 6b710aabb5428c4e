// Prints what each call costs on this machine when nothing is exported: `npm run -w @flotilla/observability cost`.
import { createLogger, createMetrics, runWithContext, withSpan } from '../src/index.ts';

const calls = 200_000;
const parent = { traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01' };
const metrics = createMetrics({ service: 'cost', process: false });
const logger = createLogger({ service: 'cost', stream: { write: () => undefined } });

async function cost(name: string, call: () => unknown): Promise<void> {
  let best = Infinity;
  for (let round = 0; round < 5; round += 1) {
    const startedMs = performance.now();
    for (let i = 0; i < calls; i += 1) await call();
    best = Math.min(best, performance.now() - startedMs);
  }
  console.log(`${name.padEnd(36)} ${((best / calls) * 1e6).toFixed(0).padStart(6)} ns`);
}

const work = async (): Promise<number> => 1;
await cost('an awaited call, for comparison', work);
await cost('message border: context and trace', () =>
  runWithContext({ correlationId: 'c', messageId: 'm', type: 't' }, () =>
    withSpan('process', { parent }, work),
  ),
);
await withSpan('outer', {}, () => cost('span inside an active one', () => withSpan('inner', {}, work)));
await cost('log line', () => logger.info('hello'));
await cost('log line with an object', () => logger.info({ sku: 'A', order: { id: 'o-1' } }, 'hello'));
await cost('handler metric', () => metrics.handled('orders.PlaceOrder.v1', 'PlaceOrder', 'ok', 12));
