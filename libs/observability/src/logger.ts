import {
  pino,
  stdTimeFunctions,
  type DestinationStream,
  type Level,
  type Logger,
  type LoggerOptions as LoggerSettings,
} from 'pino';
import { currentContext } from './context.ts';
import { redactor, withoutSecrets } from './redact.ts';
import { currentTrace } from './tracing.ts';

export type { Logger } from 'pino';

export interface LoggerOptions {
  /** In every line, as `service`. */
  readonly service: string;
  /** Lines below it are not written. Default `info`. */
  readonly level?: Level | 'silent';
  /** Where lines go. Default: standard output. */
  readonly stream?: DestinationStream;
  /** More field names whose values are never written, beside {@link secretFields}. */
  readonly secrets?: readonly string[];
}

/** Fields whose values are never written, wherever they stand in what is logged; names match in any case. */
export const secretFields = [
  'password',
  'passwd',
  'secret',
  'token',
  'accessToken',
  'refreshToken',
  'access_token',
  'refresh_token',
  'idToken',
  'id_token',
  'apiKey',
  'api_key',
  'authorization',
  'cookie',
  'set-cookie',
  'credentials',
  'privateKey',
  'cardNumber',
  'cvv',
] as const;

/**
 * A pino logger that writes JSON lines with `trace_id` and `span_id` (the names of OpenTelemetry's log bridge) and
 * the current message context. Secrets are cut out by field name; the user and password of URLs, e-mail
 * addresses, card numbers and JSON web tokens wherever they stand, also in error messages.
 */
export function createLogger(options: LoggerOptions): Logger {
  const redact = redactor([...secretFields, ...(options.secrets ?? [])]);
  const settings: LoggerSettings = {
    level: options.level ?? 'info',
    base: { service: options.service, pid: process.pid },
    timestamp: stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }), log: redact },
    // Errors are serialised by then, wherever they stand.
    serializers: { err: (error: unknown) => error },
    mixin: contextFields,
    // A field that is logged wins over one of the context.
    mixinMergeStrategy: (logged, context) => ({ ...context, ...logged }),
    hooks: { streamWrite: withoutSecrets },
  };
  const logger = options.stream === undefined ? pino(settings) : pino(settings, options.stream);
  // pino's bindings formatter is not asked for the bindings of children.
  const parent = logger as unknown as {
    child: (this: unknown, bindings: object, options?: object) => unknown;
  };
  const { child } = parent;
  parent.child = function (bindings, childOptions) {
    return child.call(this, redact(bindings), childOptions);
  };
  return logger;
}

function contextFields(): Record<string, unknown> {
  const fields: Record<string, unknown> = {};
  const active = currentTrace();
  if (active !== undefined) {
    fields['trace_id'] = active.traceId;
    fields['span_id'] = active.spanId;
  }
  const context = currentContext();
  if (context !== undefined) {
    fields['correlationId'] = context.correlationId;
    if (context.messageId !== undefined) fields['messageId'] = context.messageId;
    if (context.type !== undefined) fields['messageType'] = context.type;
    if (context.orderId !== undefined) fields['orderId'] = context.orderId;
  }
  return fields;
}
