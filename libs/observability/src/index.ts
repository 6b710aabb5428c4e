// Context of the message being handled
export { currentContext, runWithContext, type MessageContext, type MessageContextPatch } from './context.ts';

// What is done later, for what caused it
export { continueFrom, currentOrigin, type Origin } from './origin.ts';

// Traces
export { startTracing, type Tracing, type TracingOptions } from './start-tracing.ts';
export {
  currentTrace,
  openSpan,
  traceHeaders,
  withSpan,
  type IncomingTraceHeaders,
  type OpenSpan,
  type SpanOptions,
  type TraceHeaders,
} from './tracing.ts';
export {
  databaseAttributes,
  httpServerAttributes,
  messagingAttributes,
  type MessagingSpan,
} from './attributes.ts';

// Logs
export { createLogger, secretFields, type Logger, type LoggerOptions } from './logger.ts';

// Metrics
export { noMetrics, type MetricsRecorder } from './metrics-recorder.ts';
export {
  createMetrics,
  type Metrics,
  type MetricsOptions,
  type MetricsSource,
  type OutboxReading,
  type PolicyReading,
  type SagaCount,
  type ScheduleReading,
  type SettingState,
} from './metrics.ts';

// Health
export { EventLoopLag, HealthRegistry, type HealthIndicator } from './health.ts';
