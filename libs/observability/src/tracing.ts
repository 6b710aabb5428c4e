import {
  createTraceState,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  trace,
  TraceFlags,
  type Attributes,
  type Context,
  type Link,
  type Span,
  type SpanContext,
  type Tracer,
} from '@opentelemetry/api';
import { errorCode, errorMessage, randomHex } from '@flotilla/kernel';
import { withoutSecrets } from './redact.ts';
import { activeTrace, runWithContext, runWithTrace, type MessageContextPatch } from './context.ts';

/** W3C trace context as it stands in message or HTTP headers; empty where there is none. */
export interface TraceHeaders {
  readonly traceparent?: string;
  readonly tracestate?: string;
}

/** Trace headers as read from an envelope, where a missing one may be undefined. */
export type IncomingTraceHeaders = { readonly [Header in keyof TraceHeaders]?: string | undefined };

export interface SpanOptions {
  /** Default `SpanKind.INTERNAL`. */
  readonly kind?: SpanKind;
  /** Give a function where making them costs something: it is called only if the span is recorded. */
  readonly attributes?: Attributes | (() => Attributes);
  /**
   * The caller's headers. When given, the span belongs to that trace and not to the one active here; headers
   * without a valid `traceparent` start a new trace.
   */
  readonly parent?: IncomingTraceHeaders;
  /** Laid over the message context for what runs in the span: as `runWithContext` around it, at half the cost. */
  readonly context?: MessageContextPatch;
  /** Other traces that this work belongs to, such as the messages of one batch. */
  readonly links?: readonly IncomingTraceHeaders[];
  /** Errors that are an answer rather than a failure (a declared refusal): the span is not marked as failed. */
  readonly expected?: (error: unknown) => boolean;
}

/** A span that the caller ends itself. */
export interface OpenSpan {
  readonly span: Span;
  /** Runs `fn` with the span as the active one; any number of times. */
  run<T>(fn: () => T): T;
  /** Ends the span, as failed if an error is given that is not expected. */
  end(error?: unknown): void;
}

interface Recording {
  readonly tracer: Tracer | undefined;
  /** Of the traces that start here without a tracer, the share (0 to 1) marked as sampled for those who record. */
  readonly sampledShare: number;
}

const notRecording: Recording = { tracer: undefined, sampledShare: 1 };
let recording = notRecording;

/** Set by startTracing; undefined stops recording. */
export function setRecording(next: Recording | undefined): void {
  recording = next ?? notRecording;
}

/**
 * Runs `fn` in a new span and ends the span when `fn` returns or its promise settles; a throw marks it as failed.
 * Returns what `fn` returns. When nothing records, the trace context still propagates: a span inside an active one
 * then costs nothing, one at a border (`parent`) a parse.
 */
export function withSpan<T>(name: string, options: SpanOptions, fn: (span: Span) => T): T {
  if (recording.tracer === undefined) {
    const active = options.parent === undefined ? trace.getSpan(activeTrace()) : undefined;
    const patch = options.context;
    if (active !== undefined)
      return patch === undefined ? fn(active) : runWithContext(patch, () => fn(active));
    const context = unrecordedContext(options.parent);
    return runWithTrace(context, fn, spanOf(context), patch);
  }

  const { context, span } = startSpan(recording.tracer, name, options);
  if (!span.isRecording()) return runWithTrace(context, fn, span, options.context);
  let result: T;
  try {
    result = runWithTrace(context, fn, span, options.context);
  } catch (error) {
    endSpan(span, options, error);
    throw error;
  }
  if (!isPromiseLike(result)) {
    span.end();
    return result;
  }
  return result.then(
    (value) => {
      span.end();
      return value;
    },
    (error: unknown) => {
      endSpan(span, options, error);
      throw error;
    },
  ) as T;
}

/** A span for work that is not one function call, such as an HTTP request seen through hooks. The caller ends it. */
export function openSpan(name: string, options: SpanOptions = {}): OpenSpan {
  const { context, span } =
    recording.tracer === undefined
      ? unrecordedSpan(options.parent)
      : startSpan(recording.tracer, name, options);
  return {
    span,
    run: (fn) => runWithTrace(context, fn, undefined),
    end: (error) => (error === undefined ? span.end() : endSpan(span, options, error)),
  };
}

/** The headers that make the receiver's spans children of the active one; empty outside a span. */
export function traceHeaders(): TraceHeaders {
  const spanContext = trace.getSpanContext(activeTrace());
  if (spanContext === undefined) return {};
  const traceparent = `00-${spanContext.traceId}-${spanContext.spanId}-${spanContext.traceFlags & TraceFlags.SAMPLED ? '01' : '00'}`;
  const tracestate = spanContext.traceState?.serialize();
  return tracestate === undefined || tracestate === '' ? { traceparent } : { traceparent, tracestate };
}

/** The active trace and span, as logs and error answers name them; undefined outside a span. */
export function currentTrace(): { readonly traceId: string; readonly spanId: string } | undefined {
  return trace.getSpanContext(activeTrace());
}

function startSpan(tracer: Tracer, name: string, options: SpanOptions): { context: Context; span: Span } {
  const parent = options.parent === undefined ? activeTrace() : remoteContext(options.parent);
  const { attributes } = options;
  const span = tracer.startSpan(
    name,
    {
      kind: options.kind ?? SpanKind.INTERNAL,
      ...(attributes !== undefined && {
        attributes: typeof attributes === 'function' ? attributes() : attributes,
      }),
      ...(options.links !== undefined && { links: options.links.flatMap(linkTo) }),
    },
    parent,
  );
  return { context: trace.setSpan(parent, span), span };
}

function endSpan(span: Span, options: SpanOptions, error: unknown): void {
  span.setAttribute('error.type', errorCode(error));
  if (options.expected?.(error) !== true) {
    const message = withoutSecrets(errorMessage(error));
    span.recordException(
      error instanceof Error
        ? { name: error.name, code: errorCode(error), message, stack: withoutSecrets(error.stack ?? '') }
        : message,
    );
    span.setStatus({ code: SpanStatusCode.ERROR, message });
  }
  span.end();
}

function unrecordedSpan(parent: IncomingTraceHeaders | undefined): { context: Context; span: Span } {
  const active = activeTrace();
  const context =
    parent === undefined && trace.getSpan(active) !== undefined ? active : unrecordedContext(parent);
  return { context, span: spanOf(context) };
}

/** The caller's trace as it is or, without one, a new trace, so that logs of several services can be joined. */
function unrecordedContext(parent: IncomingTraceHeaders | undefined): Context {
  const remote = parent === undefined ? undefined : parseTraceHeaders(parent);
  return trace.setSpanContext(
    ROOT_CONTEXT,
    remote ?? {
      traceId: randomHex(16),
      spanId: randomHex(8),
      traceFlags: Math.random() < recording.sampledShare ? TraceFlags.SAMPLED : TraceFlags.NONE,
    },
  );
}

function remoteContext(headers: IncomingTraceHeaders): Context {
  const remote = parseTraceHeaders(headers);
  return remote === undefined ? ROOT_CONTEXT : trace.setSpanContext(ROOT_CONTEXT, remote);
}

function linkTo(headers: IncomingTraceHeaders): Link[] {
  const context = parseTraceHeaders(headers);
  return context === undefined ? [] : [{ context }];
}

function spanOf(context: Context): Span {
  const span = trace.getSpan(context);
  if (span === undefined) throw new TypeError('A trace context was made without a span');
  return span;
}

// Version 00 has four fields; a later version may have more, which are ignored (W3C Trace Context, 3.2).
const traceparentPattern =
  /^(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;

function parseTraceHeaders(headers: IncomingTraceHeaders): SpanContext | undefined {
  const match = headers.traceparent === undefined ? null : traceparentPattern.exec(headers.traceparent);
  if (match === null || (match[1] === '00' && match[5] !== undefined)) return undefined;
  const [, , traceId = '', spanId = '', flags = ''] = match;
  return {
    traceId,
    spanId,
    traceFlags: Number.parseInt(flags, 16),
    isRemote: true,
    ...(headers.tracestate !== undefined && { traceState: createTraceState(headers.tracestate) }),
  };
}

function isPromiseLike(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function';
}
