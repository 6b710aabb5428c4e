import { context, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import { InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';
import { NodeTracerProvider } from '@opentelemetry/sdk-trace-node';
import { requireUnitOfWork } from '../src/index.ts';
import { Opened } from './database.ts';

const opened = new Opened();
const exporter = new InMemorySpanExporter();
const provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });

beforeAll(() => provider.register());

afterAll(async () => {
  await provider.shutdown();
  trace.disable();
  context.disable();
});

afterEach(() => opened.close());

it('gives the statements of a recorded span spans of their own, also within one group', async () => {
  const database = await opened.database();
  const { unitOfWork } = await opened.unitOfWork(database.url);
  const tracer = trace.getTracer('test');
  const query = (sql: string) => unitOfWork.run(() => requireUnitOfWork('This test').query(sql));
  const inSpan = (name: string, sql: string) =>
    tracer.startActiveSpan(name, async (span) => {
      await Promise.allSettled([query(sql)]);
      span.end();
      return span.spanContext().spanId;
    });

  const [first, second] = await Promise.all([
    inSpan('first', 'SELECT 1 AS one'),
    inSpan('second', 'SELECT 1 / 0'),
    query('SELECT 3 AS nobody_looks'),
  ]);

  const statements = exporter.getFinishedSpans().filter(({ kind }) => kind === SpanKind.CLIENT);
  expect(
    statements.map((span) => [span.parentSpanContext?.spanId, span.attributes['db.query.text']]).toSorted(),
  ).toEqual(
    [
      [first, 'SELECT 1 AS one'],
      [second, 'SELECT 1 / 0'],
    ].toSorted(),
  );
  const { hostname, port } = new URL(database.url);
  expect(statements.find((span) => span.parentSpanContext?.spanId === first)).toMatchObject({
    name: `SELECT ${database.name}`,
    attributes: {
      'db.system.name': 'postgresql',
      'db.namespace': database.name,
      'db.operation.name': 'SELECT',
      'server.address': hostname,
      'server.port': Number(port),
    },
  });
  expect(statements.find((span) => span.parentSpanContext?.spanId === second)).toMatchObject({
    attributes: { 'error.type': '22012', 'db.response.status_code': '22012' },
    status: { code: SpanStatusCode.ERROR },
  });
});
