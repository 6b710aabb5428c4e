import { context, propagation, SpanKind, trace } from '@opentelemetry/api';
import { FlotillaError } from '@flotilla/kernel';
import {
  messagingAttributes,
  openSpan,
  runWithContext,
  startTracing,
  traceHeaders,
  withSpan,
  type Tracing,
} from '../src/index.ts';
import { otlpReceiver, type ReceivedSpan } from './otlp-receiver.ts';

describe('with a collector', () => {
  const before = { ...process.env };
  let collector: Awaited<ReturnType<typeof otlpReceiver>>;
  let tracing: Tracing;
  let problems: string[];

  const start = async (env: Record<string, string> = {}): Promise<void> => {
    Object.assign(process.env, { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, ...env });
    tracing = await startTracing({
      service: 'orders',
      version: '1.2.3',
      onProblem: (message) => problems.push(message),
      flushTimeoutMs: 2_000,
    });
  };
  const span = (name: string): ReceivedSpan => {
    const found = collector.spans.filter((one) => one.name === name);
    expect(found).toHaveLength(1);
    return found[0] as ReceivedSpan;
  };

  beforeEach(async () => {
    problems = [];
    collector = await otlpReceiver();
  });
  afterEach(async () => {
    await tracing.shutdown();
    await collector.close();
    process.env = { ...before };
  });

  it('sends spans whose edges cross from traceHeaders() to withSpan({ parent })', async () => {
    await start();
    expect(tracing.exporting).toBe(true);
    const wire = await withSpan('POST /v1/orders', { kind: SpanKind.SERVER }, () =>
      withSpan('publish orders.PlaceOrder.v1', { kind: SpanKind.PRODUCER }, async () => {
        await Promise.resolve();
        return traceHeaders();
      }),
    );
    await withSpan('elsewhere', {}, () =>
      runWithContext({ correlationId: 'c-1' }, () =>
        withSpan(
          'process orders.PlaceOrder.v1',
          {
            kind: SpanKind.CONSUMER,
            parent: wire,
            links: [{ traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01' }, {}],
            attributes: () =>
              messagingAttributes({
                operation: 'process',
                operationType: 'process',
                subject: 'rpc.orders.PlaceOrder.v1',
                type: 'orders.PlaceOrder.v1',
                messageId: 'm-1',
                consumer: 'orders',
              }),
          },
          async () => withSpan('commit', {}, async () => undefined),
        ),
      ),
    );
    await tracing.shutdown();

    const [server, publish, handler, commit] = [
      'POST /v1/orders',
      'publish orders.PlaceOrder.v1',
      'process orders.PlaceOrder.v1',
      'commit',
    ].map(span);
    expect([server, publish, handler, commit].map((one) => one?.parentSpanId)).toEqual([
      undefined,
      server?.spanId,
      publish?.spanId,
      handler?.spanId,
    ]);
    expect(new Set([server, publish, handler, commit].map((one) => one?.traceId)).size).toBe(1);
    expect(span('elsewhere').traceId).not.toBe(server?.traceId);
    expect(handler?.links).toMatchObject([{ traceId: '4bf92f3577b34da6a3ce929d0e0e4736' }]);
    expect(handler?.attributes).toMatchObject({ 'messaging.system': 'nats', 'messaging.message.id': 'm-1' });
    // OTLP numbers kinds from 1.
    expect([server?.kind, publish?.kind, handler?.kind, commit?.kind]).toEqual([2, 4, 5, 1]);
    expect(server?.resource).toMatchObject({ 'service.name': 'orders', 'service.version': '1.2.3' });
    expect(problems).toEqual([]);
  });

  it('marks failures, and not the refusals that are expected', async () => {
    await start();
    const refusal = new FlotillaError('OUT_OF_STOCK', 'no stock', { retry: 'never' });
    const expected = (error: unknown): boolean => error === refusal;
    await expect(withSpan('refused', { expected }, async () => Promise.reject(refusal))).rejects.toBe(
      refusal,
    );
    await expect(
      withSpan('failed', { expected }, async () => Promise.reject(new TypeError('bug'))),
    ).rejects.toThrow('bug');
    expect(() =>
      withSpan('thrown', {}, () => {
        throw refusal;
      }),
    ).toThrow(refusal);
    openSpan('opened').end(refusal);
    openSpan('fine').end();
    await tracing.shutdown();
    expect(span('refused')).toMatchObject({
      attributes: { 'error.type': 'OUT_OF_STOCK' },
      events: [],
      status: { code: 0 },
    });
    expect(span('failed')).toMatchObject({
      attributes: { 'error.type': 'TypeError' },
      events: [{ name: 'exception' }],
      status: { code: 2, message: 'bug' },
    });
    expect(span('thrown').status).toEqual({ code: 2, message: 'no stock' });
    expect(span('opened').status.code).toBe(2);
    expect(span('fine').status.code).toBe(0);
  });

  it('lets libraries on the OpenTelemetry API take part in the same trace', async () => {
    await start();
    await withSpan('ours', {}, async () => {
      await Promise.resolve();
      const carrier: Record<string, string> = {};
      propagation.inject(context.active(), carrier);
      expect(carrier['traceparent']).toBe(traceHeaders().traceparent);
      trace.getTracer('theirs').startActiveSpan('theirs', (theirs) => {
        withSpan('ours again', {}, () => undefined);
        theirs.end();
      });
    });
    await tracing.shutdown();
    expect(span('theirs').parentSpanId).toBe(span('ours').spanId);
    expect(span('ours again').parentSpanId).toBe(span('theirs').spanId);
  });

  it('honours OTEL_SERVICE_NAME, resource attributes and the sampler, and respects the caller’s decision', async () => {
    await start({
      OTEL_SERVICE_NAME: 'renamed',
      OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=test',
      OTEL_TRACES_SAMPLER: 'parentbased_always_off',
    });
    const ids = '4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7';
    withSpan('unsampled root', {}, () => expect(traceHeaders().traceparent).toMatch(/-00$/));
    withSpan('unsampled child', { parent: { traceparent: `00-${ids}-00` } }, () => undefined);
    withSpan('sampled child', { parent: { traceparent: `00-${ids}-01`, tracestate: 'vendor=x' } }, () => {
      expect(traceHeaders()).toEqual({
        traceparent: expect.stringMatching(/-01$/) as string,
        tracestate: 'vendor=x',
      });
    });
    await tracing.shutdown();
    expect(collector.spans.map((one) => one.name)).toEqual(['sampled child']);
    expect(span('sampled child').resource).toMatchObject({
      'service.name': 'renamed',
      'deployment.environment.name': 'test',
    });
  });

  it('says when the collector does not take spans, and never fails the work or the shutdown', async () => {
    collector.state.refuseWith = 400;
    await start();
    expect(await withSpan('lost', {}, async () => 'done')).toBe('done');
    await tracing.shutdown();
    expect(collector.state.requests).toBe(1);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(/Bad Request|400/);
  });
});
