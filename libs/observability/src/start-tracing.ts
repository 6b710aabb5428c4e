import { context, diag, DiagLogLevel, propagation, trace } from '@opentelemetry/api';
import { errorMessage, FlotillaError, systemClock, type Clock } from '@flotilla/kernel';
import { FrameContextManager } from './context.ts';
import { setRecording } from './tracing.ts';

export interface TracingOptions {
  /** `service.name` of every span; `OTEL_SERVICE_NAME` wins over it. */
  readonly service: string;
  /** `service.version`. */
  readonly version?: string;
  /** Told what is wrong with the configuration or the export; the same problem at most once a minute. Default: a process warning. */
  readonly onProblem?: (message: string) => void;
  /** How long `shutdown` waits for the last spans to leave, in milliseconds. Default 3000. */
  readonly flushTimeoutMs?: number;
  readonly clock?: Clock;
}

/** What {@link startTracing} returns. */
export interface Tracing {
  /** Whether spans leave this process. */
  readonly exporting: boolean;
  /** Sends what is left, within the flush time-out, and stops tracing. Never rejects; problems go to `onProblem`. */
  shutdown(): Promise<void>;
}

let running = false;

/**
 * Starts tracing by the standard environment: spans go over OTLP/HTTP to `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` or
 * `OTEL_EXPORTER_OTLP_ENDPOINT`. Without either (or with `OTEL_SDK_DISABLED=true`, `OTEL_TRACES_EXPORTER=none`)
 * nothing is recorded and the SDK is not even loaded, but trace context propagates all the same.
 * `OTEL_TRACES_SAMPLER(_ARG)`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_BSP_*` and `OTEL_EXPORTER_OTLP_HEADERS` are
 * honoured. Throws `TRACING_ALREADY_STARTED` if it runs in this process.
 */
export async function startTracing(options: TracingOptions): Promise<Tracing> {
  if (running) {
    throw new FlotillaError(
      'TRACING_ALREADY_STARTED',
      `Tracing was started before "${options.service}" asked for it: call startTracing once per process, or shut the first one down`,
      { retry: 'never' },
    );
  }
  running = true;
  const report = oncePerMinute(
    options.onProblem ?? ((message) => process.emitWarning(message, 'TracingWarning')),
    options.clock ?? systemClock,
  );
  const stopExport = wantsExport(report) ? await startExport(options, report) : undefined;
  if (stopExport === undefined) {
    context.setGlobalContextManager(new FrameContextManager());
    setRecording({ tracer: undefined, sampledShare: sampledShare() });
  }

  let stopping: Promise<void> | undefined;
  const stop = async (): Promise<void> => {
    await stopExport?.();
    setRecording(undefined);
    trace.disable();
    context.disable();
    propagation.disable();
    diag.disable();
    running = false;
  };
  return { exporting: stopExport !== undefined, shutdown: () => (stopping ??= stop()) };
}

function setting(name: string): string | undefined {
  const value = process.env[name]?.trim();
  return value === undefined || value === '' ? undefined : value;
}

function wantsExport(report: (message: string) => void): boolean {
  if (setting('OTEL_SDK_DISABLED')?.toLowerCase() === 'true') return false;
  const exporters = setting('OTEL_TRACES_EXPORTER') ?? 'otlp';
  if (exporters === 'none') return false;
  const endpoint = setting('OTEL_EXPORTER_OTLP_TRACES_ENDPOINT') ?? setting('OTEL_EXPORTER_OTLP_ENDPOINT');
  if (!exporters.split(',').includes('otlp')) {
    report(`OTEL_TRACES_EXPORTER is "${exporters}": no spans are exported; use otlp or none`);
    return false;
  }
  if (endpoint === undefined) return false;
  const protocol = setting('OTEL_EXPORTER_OTLP_TRACES_PROTOCOL') ?? setting('OTEL_EXPORTER_OTLP_PROTOCOL');
  if (protocol === 'grpc') {
    report(
      `OTEL_EXPORTER_OTLP_PROTOCOL is "grpc": no spans are exported; use http/json and the collector's HTTP port (4318)`,
    );
    return false;
  }
  // A collector takes JSON on the port on which it takes protobuf.
  return true;
}

async function startExport(
  options: TracingOptions,
  report: (message: string) => void,
): Promise<() => Promise<void>> {
  const [
    { NodeTracerProvider, BatchSpanProcessor },
    { OTLPTraceExporter },
    resources,
    { W3CTraceContextPropagator },
  ] = await Promise.all([
    import('@opentelemetry/sdk-trace-node'),
    import('@opentelemetry/exporter-trace-otlp-http'),
    import('@opentelemetry/resources'),
    import('@opentelemetry/core'),
  ]);
  const ignore = (): void => undefined;
  diag.setLogger(
    { error: report, warn: report, info: ignore, debug: ignore, verbose: ignore },
    { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true },
  );
  const resource = resources
    .resourceFromAttributes({
      'service.name': options.service,
      ...(options.version !== undefined && { 'service.version': options.version }),
      'process.pid': process.pid,
    })
    .merge(resources.detectResources({ detectors: [resources.envDetector] }));
  const provider = new NodeTracerProvider({
    resource,
    spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())],
  });
  provider.register({
    contextManager: new FrameContextManager(),
    propagator: new W3CTraceContextPropagator(),
  });
  setRecording({ tracer: provider.getTracer('@flotilla/observability'), sampledShare: 1 });

  return async () => {
    const timeoutMs = options.flushTimeoutMs ?? 3_000;
    const settled = new AbortController();
    const outcome = await Promise.race([
      provider.shutdown().then(
        () => 'flushed' as const,
        (error: unknown) => ({ error }),
      ),
      (options.clock ?? systemClock).sleep(timeoutMs, settled.signal).then(() => 'timed out' as const),
    ]);
    settled.abort();
    if (outcome === 'timed out') report(`The last spans did not leave within ${timeoutMs} ms: they are lost`);
    else if (outcome !== 'flushed')
      report(`The last spans could not be sent: ${errorMessage(outcome.error)}`);
  };
}

/** The share of new traces that is marked as sampled when this process itself records nothing. */
function sampledShare(): number {
  const sampler = setting('OTEL_TRACES_SAMPLER') ?? '';
  if (sampler.endsWith('always_off')) return 0;
  if (!sampler.endsWith('traceidratio')) return 1;
  const share = Number(setting('OTEL_TRACES_SAMPLER_ARG') ?? '1');
  return share >= 0 && share <= 1 ? share : 1;
}

/** The SDK repeats itself with every batch while a collector is away. */
function oncePerMinute(report: (message: string) => void, clock: Clock): (message: string) => void {
  const reportedAt = new Map<string, number>();
  return (message) => {
    const now = clock.monotonicMs();
    if (now - (reportedAt.get(message) ?? -Infinity) < 60_000) return;
    if (reportedAt.size >= 100) reportedAt.clear();
    reportedAt.set(message, now);
    report(message);
  };
}
