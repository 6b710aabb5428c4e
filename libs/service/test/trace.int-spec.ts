import { replySubject, rpcSubject } from '@flotilla/contracts-protocol';
import { newId, systemClock } from '@flotilla/kernel';
import { runWithContext, startTracing, traceHeaders, withSpan, type Tracing } from '@flotilla/observability';
import { OutgoingMessages } from '../src/outgoing.ts';
import { startTestService, type TestService } from '../src/testing/index.ts';
import { until } from '@flotilla/testing';
import { AlphaConfig } from './fixtures/alpha/alpha.config.ts';
import { AlphaModule } from './fixtures/alpha/alpha.module.ts';
import { Add, Added, Begin, Charge } from './fixtures/contracts.ts';
import { otlpReceiver, type ReceivedSpan } from './support/otlp-receiver.ts';

let collector: Awaited<ReturnType<typeof otlpReceiver>>;
let tracing: Tracing;
let alpha: TestService;

beforeAll(async () => {
  collector = await otlpReceiver();
  process.env['OTEL_EXPORTER_OTLP_ENDPOINT'] = collector.url;
  process.env['OTEL_BSP_SCHEDULE_DELAY'] = '20';
  tracing = await startTracing({ service: 'alpha' });
  alpha = await startTestService({ module: AlphaModule, config: AlphaConfig });
});
afterAll(async () => {
  await alpha.stop();
  await tracing.shutdown();
  await collector.close();
  delete process.env['OTEL_EXPORTER_OTLP_ENDPOINT'];
  delete process.env['OTEL_BSP_SCHEDULE_DELAY'];
});

const inRequest = <T>(work: () => Promise<T>): Promise<{ result: T; traceId: string }> =>
  withSpan('POST /adds', { parent: {} }, async (span) => ({
    result: await work(),
    traceId: span.spanContext().traceId,
  }));
const spanOf = (traceId: string, name: string): Promise<ReceivedSpan> =>
  until(() => collector.spans.find((span) => span.traceId === traceId && span.name === name), {
    describe: `the span "${name}"`,
  });

it('one request, its command, its event and the reaction to it are one trace, through the outbox', async () => {
  const accountId = `account-${newId()}`;
  const { traceId } = await runWithContext({ correlationId: 'c-1' }, () =>
    inRequest(() => alpha.execute(new Add({ accountId, amount: 5 }))),
  );
  const names = [
    'POST /adds',
    'call alpha.Add.v1',
    'process alpha.Add.v1',
    'publish alpha.Added.v1',
    'process alpha.Added.v1',
  ];
  const [request, call, command, publish, reaction] = (await Promise.all(
    names.map((name) => spanOf(traceId, name)),
  )) as [ReceivedSpan, ReceivedSpan, ReceivedSpan, ReceivedSpan, ReceivedSpan];
  expect(call.parentSpanId).toBe(request.spanId);
  expect(command.parentSpanId).toBe(call.spanId);
  expect(publish.parentSpanId).toBe(command.spanId);
  expect(reaction.parentSpanId).toBe(command.spanId);
  // Client, server, producer, consumer: 3, 2, 4, 5 on the wire.
  expect([call, command, publish, reaction].map(({ kind }) => kind)).toEqual([3, 2, 4, 5]);

  const [event] = alpha.events(Added).filter(({ payload }) => payload.accountId === accountId);
  expect(event?.envelope).toMatchObject({
    correlationId: 'c-1',
    traceparent: `00-${traceId}-${command.spanId}-01`,
  });
  expect(event?.envelope.causationId).toEqual(expect.any(String));
});

it('a saga’s command and what its answer leads to stay in the trace of the request', async () => {
  const tabId = `tab-${newId()}`;
  const { traceId } = await inRequest(() => alpha.execute(new Begin({ tabId })));
  const begin = await spanOf(traceId, 'process alpha.Begin.v1');
  const sent = await until(() => alpha.commands(Charge).find(({ payload }) => payload.tabId === tabId));
  expect(sent.envelope.traceparent).toBe(`00-${traceId}-${begin.spanId}-01`);
});

it('the answer to a command that a saga hands over goes on from the handling of it', async () => {
  const replyTo = replySubject('somebody', newId());
  const command = new OutgoingMessages('somebody', systemClock).command(
    new Add({ accountId: `account-${newId()}`, amount: 5 }),
    { id: newId(), replyTo, correlationId: undefined },
  );
  const { result: answer, traceId } = await inRequest(() =>
    alpha.broker.request(
      {
        ...command,
        subject: rpcSubject(Add.contract),
        headers: { ...command.headers, traceparent: traceHeaders().traceparent ?? '' },
      },
      { timeoutMs: 5_000 },
    ),
  );
  const handling = await spanOf(traceId, 'process alpha.Add.v1');
  expect(answer.envelope.traceparent).toBe(`00-${traceId}-${handling.spanId}-01`);
});

it('what a saga’s timer sends stays in that trace too', async () => {
  const tabId = `tab-${newId()}`;
  const { traceId } = await inRequest(() => alpha.execute(new Begin({ tabId })));
  const timer = await until(
    () => collector.spans.find((span) => span.traceId === traceId && span.name === 'saga timer'),
    { describe: 'the time-out of the command', timeoutMs: 25_000 },
  );
  const again = await until(() => alpha.commands(Charge).filter(({ payload }) => payload.tabId === tabId)[1]);
  expect(again.envelope.traceparent).toBe(`00-${traceId}-${timer.spanId}-01`);
});

it('a refusal is an answer: no span of it is marked as failed', async () => {
  const { traceId } = await inRequest(async () => {
    await expect(
      alpha.execute(new Add({ accountId: `account-${newId()}`, amount: 101 })),
    ).rejects.toMatchObject({ code: 'TooMuch' });
  });
  for (const name of ['call alpha.Add.v1', 'process alpha.Add.v1']) {
    expect((await spanOf(traceId, name)).status.code ?? 0).not.toBe(2);
  }
});

it('the answer that tells a saga of a failure belongs to the trace of its command', async () => {
  const { traceId } = await inRequest(() =>
    alpha.send(new Add({ accountId: `account-${newId()}`, amount: 14 })),
  );
  const givenUp = await spanOf(traceId, 'give up alpha.Add.v1');
  expect((await spanOf(traceId, 'publish alpha.Add.v1')).parentSpanId).toBe(givenUp.spanId);
});
