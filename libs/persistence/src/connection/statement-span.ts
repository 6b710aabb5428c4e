import { SpanKind, SpanStatusCode, trace, type Span } from '@opentelemetry/api';
import { errorCode, errorMessage } from '@flotilla/kernel';

const tracer = trace.getTracer('@flotilla/persistence');

/** What a statement's span says about the server; see OpenTelemetry's conventions for database clients. */
export interface DatabaseAddress {
  readonly database: string;
  readonly host: string;
  readonly port: number;
}

/** A span for one statement, if someone looks: only inside a span that is recorded. */
export function startStatementSpan(text: string, address: DatabaseAddress): Span | undefined {
  if (trace.getActiveSpan()?.isRecording() !== true) return undefined;
  const operation = operationOf(text);
  return tracer.startSpan(`${operation} ${address.database}`, {
    kind: SpanKind.CLIENT,
    attributes: {
      'db.system.name': 'postgresql',
      'db.namespace': address.database,
      'db.operation.name': operation,
      'db.query.text': text,
      'server.address': address.host,
      'server.port': address.port,
    },
  });
}

/** Ends the span as the statement ended. */
export function endStatementSpan(span: Span, error?: unknown): void {
  if (error !== undefined) {
    const code = errorCode(error);
    span.setAttributes({ 'error.type': code, 'db.response.status_code': code });
    span.setStatus({ code: SpanStatusCode.ERROR, message: errorMessage(error) });
  }
  span.end();
}

function operationOf(text: string): string {
  return /^\s*([a-z]+)/i.exec(text)?.[1]?.toUpperCase() ?? 'QUERY';
}
