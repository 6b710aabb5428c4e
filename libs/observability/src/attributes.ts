import type { Attributes } from '@opentelemetry/api';
import { isUuid } from '@flotilla/kernel';

/** What a messaging span is about. */
export interface MessagingSpan {
  /** What is done: `publish`, `request`, `receive`, `process` ... */
  readonly operation: string;
  /** The broad kind of it, by which back ends group. */
  readonly operationType: 'create' | 'send' | 'receive' | 'process' | 'settle';
  /** The full subject; a key in it that is no UUID is not shown, because callers choose it. */
  readonly subject: string;
  /** The type of the message: the low-cardinality name of the destination. */
  readonly type: string;
  readonly messageId?: string;
  readonly correlationId?: string;
  /** Consumer or queue group. */
  readonly consumer?: string;
}

/** Attributes of OpenTelemetry's messaging conventions. Name the span `<operation> <type>`. */
export function messagingAttributes(span: MessagingSpan): Attributes {
  return {
    'messaging.system': 'nats',
    'messaging.operation.name': span.operation,
    'messaging.operation.type': span.operationType,
    'messaging.destination.name': withoutCallersKey(span.subject),
    'messaging.destination.template': span.type,
    ...(span.messageId !== undefined && { 'messaging.message.id': span.messageId }),
    ...(span.correlationId !== undefined && { 'messaging.message.conversation_id': span.correlationId }),
    ...(span.consumer !== undefined && { 'messaging.consumer.group.name': span.consumer }),
  };
}

/** Durable subjects end with a key. One that callers choose (a SKU) may be anything that they should not have sent. */
function withoutCallersKey(subject: string): string {
  if (!durable.test(subject)) return subject;
  const dot = subject.lastIndexOf('.');
  return isUuid(subject.slice(dot + 1)) ? subject : `${subject.slice(0, dot)}.*`;
}

const durable = /^(?:cmd|evt|reply)\./;

/** Attributes of OpenTelemetry's database conventions, for Postgres. `summary` is low-cardinality, never the values. */
export function databaseAttributes(span: {
  readonly summary: string;
  readonly operation?: string;
  readonly database?: string;
  /** Statements or units of work in one round trip, where there are several. */
  readonly batchSize?: number;
}): Attributes {
  return {
    'db.system.name': 'postgresql',
    'db.query.summary': span.summary,
    ...(span.operation !== undefined && { 'db.operation.name': span.operation }),
    ...(span.database !== undefined && { 'db.namespace': span.database }),
    ...(span.batchSize !== undefined && { 'db.operation.batch.size': span.batchSize }),
  };
}

/** Attributes of OpenTelemetry's HTTP server conventions. Name the span `<method> <route>`. */
export function httpServerAttributes(request: {
  readonly method: string;
  /** The pattern, such as `/v1/orders/:id`. */
  readonly route?: string;
  /** What was asked for, without the query. Shown as far as the pattern says what it is. */
  readonly path: string;
  readonly scheme: string;
}): Attributes {
  return {
    'http.request.method': request.method,
    'url.scheme': request.scheme,
    ...(request.route !== undefined && {
      'url.path': shownPath(request.path, request.route),
      'http.route': request.route,
    }),
  };
}

/** The path with the values of parameters that are UUIDs; of others (names, SKUs, rubbish) only the parameter. */
function shownPath(path: string, route: string): string {
  if (!route.includes(':') && !route.includes('*')) return path;
  const asked = path.split('/');
  return route
    .split('/')
    .map((segment, at) => (segment.startsWith(':') && isUuid(asked[at] ?? '') ? asked[at] : segment))
    .join('/');
}
