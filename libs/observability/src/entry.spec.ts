import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

/** Runs in a plain Node, which strips types and knows no decorators; fails at the first module of a framework. */
const script = `
  import { registerHooks } from 'node:module';
  registerHooks({
    resolve(specifier, context, next) {
      if (/^(@nestjs|fastify|@opentelemetry\\/(?!api$))/.test(specifier)) throw new Error('loads ' + specifier);
      return next(specifier, context);
    },
  });
  const { withSpan, traceHeaders, runWithContext, currentContext, createLogger, createMetrics } = await import(process.env.ENTRY);
  const seen = runWithContext({ correlationId: 'c-1' }, () => withSpan('work', {}, () => [currentContext(), traceHeaders()]));
  createLogger({ service: 'plain', level: 'silent' }).info(createMetrics({ service: 'plain' }), 'made');
  console.log(JSON.stringify(seen));
`;

it('the main entry runs under type stripping, without Nest, Fastify or the tracing SDK', async () => {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--conditions=@flotilla/source', '--input-type=module', '--eval', script],
    { env: { ...process.env, ENTRY: new URL('./index.ts', import.meta.url).href, NODE_OPTIONS: '' } },
  );
  expect(JSON.parse(stdout)).toMatchObject([
    { correlationId: 'c-1' },
    { traceparent: expect.any(String) as string },
  ]);
});
