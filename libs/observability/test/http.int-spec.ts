import 'reflect-metadata';
import {
  Body,
  Controller,
  Get,
  Module,
  NotFoundException,
  Param,
  Post,
  Catch,
  type ArgumentsHost,
  type ExceptionFilter,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import {
  createLogger,
  createMetrics,
  currentContext,
  currentTrace,
  HealthRegistry,
  startTracing,
  type Metrics,
  type Tracing,
} from '../src/index.ts';
import { HealthModule, NestPinoLogger, observeHttp, resolveHealthOptions } from '../src/nest/index.ts';
import { otlpReceiver } from './otlp-receiver.ts';

@Controller('v1/orders')
class OrdersController {
  @Post()
  async place(@Body() body: { sku: string }) {
    await new Promise((resolve) => setImmediate(resolve));
    return { sku: body.sku, context: currentContext(), trace: currentTrace() };
  }

  @Get(':id')
  async find(@Param('id') id: string) {
    if (id === 'missing') throw new NotFoundException();
    if (id === 'broken') throw new TypeError('bug');
    return { id };
  }
}

/** As a gateway has it: every error becomes a problem document. */
@Catch()
class ProblemFilter implements ExceptionFilter {
  catch(error: unknown, host: ArgumentsHost): void {
    const status = error instanceof NotFoundException ? 404 : 500;
    const reply = host.switchToHttp().getResponse<{ status(code: number): { send(body: unknown): void } }>();
    reply.status(status).send({ title: 'problem', status });
  }
}

describe('a Nest application on Fastify', () => {
  const before = { ...process.env };
  let app: NestFastifyApplication;
  let url: string;
  let health: HealthRegistry;
  let metrics: Metrics;
  let tracing: Tracing;
  let collector: Awaited<ReturnType<typeof otlpReceiver>>;
  let lines: Record<string, unknown>[];
  let databaseError: Error | undefined;
  let databaseChecks: number;

  beforeEach(async () => {
    collector = await otlpReceiver();
    process.env['OTEL_EXPORTER_OTLP_ENDPOINT'] = collector.url;
    tracing = await startTracing({ service: 'gateway' });
    lines = [];
    databaseError = undefined;
    databaseChecks = 0;
    const logger = createLogger({
      service: 'gateway',
      stream: { write: (line) => void lines.push(JSON.parse(line) as Record<string, unknown>) },
    });
    metrics = createMetrics({ service: 'gateway', process: false });
    health = new HealthRegistry();
    health.register({
      name: 'database',
      check: () => {
        databaseChecks += 1;
        if (databaseError) throw databaseError;
        return { pool: 4 };
      },
    });
    health.register({ name: 'nats', check: async () => undefined });

    @Module({
      imports: [HealthModule.forRoot({ health, metrics, logger, cacheMs: 0 })],
      controllers: [OrdersController],
    })
    class AppModule {}

    app = await NestFactory.create<NestFastifyApplication>(AppModule, new FastifyAdapter(), {
      logger: new NestPinoLogger(logger),
    });
    app.useGlobalFilters(new ProblemFilter());
    observeHttp(app.getHttpAdapter().getInstance(), { metrics });
    await app.listen(0, '127.0.0.1');
    url = await app.getUrl();
  });

  afterEach(async () => {
    await app.close();
    await tracing.shutdown();
    await collector.close();
    process.env = { ...before };
  });

  const get = async (path: string): Promise<{ status: number; body: Record<string, unknown> }> => {
    const response = await fetch(`${url}${path}`);
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  };

  it('is live and ready, with the details of each indicator', async () => {
    expect(await get('/health/live')).toMatchObject({
      status: 200,
      body: { status: 'ok', details: { 'event-loop': { status: 'up', maxLagMs: 1_000 } } },
    });
    expect(await get('/health/ready')).toMatchObject({
      status: 200,
      body: {
        status: 'ok',
        details: { accepting: { status: 'up' }, database: { status: 'up', pool: 4 }, nats: { status: 'up' } },
      },
    });
  });

  it('answers 503 naming the indicator that is down, stays live, says so once, and recovers', async () => {
    expect((await get('/health/ready')).status).toBe(200);
    databaseError = new Error('connection refused');
    for (let probe = 0; probe < 3; probe += 1) {
      const { status, body } = await get('/health/ready');
      expect(status).toBe(503);
      expect(body).toMatchObject({
        status: 'error',
        error: { database: { status: 'down', message: 'connection refused' } },
      });
      expect(Object.keys(body['error'] as object)).toEqual(['database']);
    }
    expect((await get('/health/live')).status).toBe(200);
    databaseError = undefined;
    expect((await get('/health/ready')).status).toBe(200);
    expect(
      lines.filter(({ msg }) => /ready/i.test(String(msg))).map(({ level, msg }) => [level, msg]),
    ).toEqual([
      ['warn', 'Not ready: database'],
      ['info', 'Ready again'],
    ]);
  });

  it('fails an indicator that does not answer in time', async () => {
    health.register({ name: 'slow', timeoutMs: 20, check: () => new Promise(() => undefined) });
    expect(await get('/health/ready')).toMatchObject({
      status: 503,
      body: { error: { slow: { message: 'timeout of 20ms exceeded' } } },
    });
  });

  it('stays ready when what failed only degrades it', async () => {
    health.register({
      name: 'psp',
      impact: 'degraded',
      check: () => {
        throw new Error('breaker open');
      },
    });
    expect(await get('/health/ready')).toMatchObject({
      status: 200,
      body: { status: 'degraded', details: { psp: { status: 'degraded', message: 'breaker open' } } },
    });
  });

  it('is not ready while draining, and still live', async () => {
    health.drain('SIGTERM');
    expect(await get('/health/ready')).toMatchObject({
      status: 503,
      body: { error: { accepting: { status: 'down', message: 'draining: SIGTERM' } } },
    });
    expect((await get('/health/live')).status).toBe(200);
  });

  it('takes no card number and no token for a correlation id', async () => {
    const idFor = async (given: string) => {
      const response = await fetch(`${url}/v1/orders/o-1`, { headers: { 'x-correlation-id': given } });
      return response.headers.get('x-correlation-id');
    };
    expect(await idFor('import-7:row-12')).toBe('import-7:row-12');
    expect(await idFor('12345678')).toBe('12345678');
    for (const secret of ['4111111111111111', '4111-1111-1111-1111', 'eyJhbGciOiJFUzI1NiJ9.e30.AAAA'])
      expect(await idFor(secret)).toMatch(/^[0-9a-f-]{36}$/);
  });

  it('serves metrics in Prometheus form, with requests by route', async () => {
    await get('/v1/orders/o-1');
    await get('/v1/orders/missing');
    await get('/nowhere');
    const response = await fetch(`${url}/metrics`);
    expect(response.headers.get('content-type')).toMatch(/^text\/plain; version=0.0.4/);
    const page = await response.text();
    const counts = [
      ...page.matchAll(
        /duration_seconds_count\{.*http_route="([^"]+)",http_response_status_code="(\d+)"\} (\d+)/g,
      ),
    ];
    expect(counts.map(([, ...values]) => values)).toEqual([
      ['/v1/orders/:id', '200', '1'],
      ['/v1/orders/:id', '404', '1'],
      ['unmatched', '404', '1'],
    ]);
  });

  it('runs handlers in the caller’s trace and correlation, also after a body was read', async () => {
    const response = await fetch(`${url}/v1/orders`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        'x-correlation-id': 'c-1',
        traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
      },
      body: JSON.stringify({ sku: 'x'.repeat(100_000) }),
    });
    expect(response.headers.get('x-correlation-id')).toBe('c-1');
    const body = (await response.json()) as { trace: { traceId: string; spanId: string } };
    expect(body).toMatchObject({
      context: { correlationId: 'c-1' },
      trace: { traceId: '4bf92f3577b34da6a3ce929d0e0e4736' },
    });
    await get('/v1/orders/missing');
    await get('/v1/orders/broken');
    await get('/health/ready');
    await tracing.shutdown();
    expect(
      collector.spans.map(({ name, status, attributes }) => [
        name,
        attributes['http.response.status_code'],
        status.code,
      ]),
    ).toEqual([
      ['POST /v1/orders', 201, 0],
      ['GET /v1/orders/:id', 404, 0],
      ['GET /v1/orders/:id', 500, 2],
    ]);
    expect(collector.spans[0]).toMatchObject({
      spanId: body.trace.spanId,
      parentSpanId: '00f067aa0ba902b7',
      kind: 2,
    });
  });

  it('does not take over a correlation id that is no plain token', async () => {
    const response = await fetch(`${url}/v1/orders/o-1`, { headers: { 'x-correlation-id': 'a b\tc' } });
    expect(response.headers.get('x-correlation-id')).toMatch(/^[0-9a-f-]{36}$/);
  });

  it('uses an indicator’s answer again for a moment', async () => {
    await app.close();
    @Module({ imports: [HealthModule.forRoot({ health, metrics, cacheMs: 60_000 })] })
    class CachedModule {}
    app = await NestFactory.create<NestFastifyApplication>(CachedModule, new FastifyAdapter(), {
      logger: false,
    });
    await app.listen(0, '127.0.0.1');
    url = await app.getUrl();
    await Promise.all([get('/health/ready'), get('/health/ready')]);
    await get('/health/ready');
    expect(databaseChecks).toBe(1);
  });
});

it('refuses options that make no sense, all at once', () => {
  const input = { health: new HealthRegistry(), metrics: createMetrics({ service: 'x', process: false }) };
  expect(() => resolveHealthOptions({ ...input, maxLagMs: 0, cacheMs: -1 })).toThrow(
    'Health options cannot be used: maxLagMs is 0, expected more than 0; cacheMs is -1, expected 0 or more',
  );
});
