import { jest } from '@jest/globals';
import { SpanKind } from '@opentelemetry/api';
import { startTracing } from './start-tracing.ts';
import { currentTrace, openSpan, traceHeaders, withSpan } from './tracing.ts';

const remote = {
  traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
  tracestate: 'vendor=opaque',
};

describe('without an exporter', () => {
  it('hands the caller’s trace on as it came, across awaits', async () => {
    const seen = await withSpan('process', { kind: SpanKind.CONSUMER, parent: remote }, async () => {
      await new Promise((resolve) => setImmediate(resolve));
      return withSpan('inner', {}, async () => traceHeaders());
    });
    expect(seen).toEqual(remote);
    expect(traceHeaders()).toEqual({});
  });

  it('records nothing and does not make attributes', () => {
    const attributes = jest.fn(() => ({ costly: true }));
    withSpan('process', { parent: remote, attributes }, (span) => expect(span.isRecording()).toBe(false));
    expect(attributes).not.toHaveBeenCalled();
  });

  it('starts a trace where there is none, so that logs of several services can be joined', () => {
    const ids = withSpan('request', {}, () => [currentTrace(), withSpan('inner', {}, currentTrace)]);
    expect(ids[0]?.traceId).toMatch(/^(?!0{32})[0-9a-f]{32}$/);
    expect(ids[0]?.spanId).toMatch(/^(?!0{16})[0-9a-f]{16}$/);
    expect(ids[1]).toEqual(ids[0]);
  });

  it('leaves the active trace at a border without valid headers', () => {
    withSpan('outer', { parent: remote }, () => {
      for (const traceparent of [
        undefined,
        '',
        'nonsense',
        `00-${'0'.repeat(32)}-00f067aa0ba902b7-01`,
        `${remote.traceparent}-x`,
      ]) {
        withSpan('border', { parent: { traceparent } }, () => {
          expect(currentTrace()?.traceId).toHaveLength(32);
          expect(currentTrace()?.traceId).not.toBe('4bf92f3577b34da6a3ce929d0e0e4736');
        });
      }
    });
  });

  it('reads headers of a later version of the standard', () => {
    const later = `cc${remote.traceparent.slice(2)}-more`;
    expect(withSpan('border', { parent: { traceparent: later } }, traceHeaders)).toEqual({
      traceparent: remote.traceparent,
    });
  });

  it('returns what the function returns and throws what it throws', async () => {
    expect(withSpan('sync', {}, () => 7)).toBe(7);
    expect(() =>
      withSpan('sync', {}, () => {
        throw new Error('boom');
      }),
    ).toThrow('boom');
    await expect(
      withSpan('async', {}, async () => {
        throw new Error('later');
      }),
    ).rejects.toThrow('later');
  });

  it('opens spans whose end the caller decides', () => {
    const opened = openSpan('request', { parent: remote });
    expect(opened.run(traceHeaders)).toEqual(remote);
    opened.end(new Error('no matter'));
    expect(withSpan('outer', { parent: remote }, () => openSpan('inner').run(traceHeaders))).toEqual(remote);
  });
});

describe('startTracing without an exporter', () => {
  const before = { ...process.env };
  afterEach(() => {
    process.env = { ...before };
  });

  it('keeps propagating, marks new traces as the sampler says, and starts once', async () => {
    process.env['OTEL_TRACES_SAMPLER'] = 'always_off';
    const tracing = await startTracing({ service: 'orders' });
    expect(tracing.exporting).toBe(false);
    expect(withSpan('root', {}, traceHeaders).traceparent).toMatch(/-00$/);
    expect(withSpan('border', { parent: remote }, traceHeaders)).toEqual(remote);
    await expect(startTracing({ service: 'again' })).rejects.toMatchObject({
      code: 'TRACING_ALREADY_STARTED',
    });
    await Promise.all([tracing.shutdown(), tracing.shutdown()]);

    process.env['OTEL_TRACES_SAMPLER'] = 'parentbased_traceidratio';
    process.env['OTEL_TRACES_SAMPLER_ARG'] = '1';
    const second = await startTracing({ service: 'orders' });
    expect(withSpan('root', {}, traceHeaders).traceparent).toMatch(/-01$/);
    await second.shutdown();
  });

  it.each([
    [{ OTEL_SDK_DISABLED: 'true' }, undefined],
    [{ OTEL_TRACES_EXPORTER: 'none' }, undefined],
    [{ OTEL_TRACES_EXPORTER: 'zipkin' }, /OTEL_TRACES_EXPORTER is "zipkin".*use otlp or none/],
    [{ OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' }, /grpc.*use http\/json/],
  ])('exports nothing with %j', async (env, problem) => {
    Object.assign(process.env, { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:9' }, env);
    const problems: string[] = [];
    const tracing = await startTracing({ service: 'orders', onProblem: (message) => problems.push(message) });
    expect(tracing.exporting).toBe(false);
    await tracing.shutdown();
    expect(problems).toEqual(problem === undefined ? [] : [expect.stringMatching(problem)]);
  });
});
