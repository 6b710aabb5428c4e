import type { AnyMessage } from '@flotilla/contracts-protocol';
import { BusinessError } from '@flotilla/contracts-protocol';
import { errorCode, type Clock } from '@flotilla/kernel';
import type { IncomingMessage } from '@flotilla/messaging';
import { messagingAttributes, runWithContext, withSpan, type MetricsRecorder } from '@flotilla/observability';
import { SpanKind } from '@opentelemetry/api';

export interface HandlingOptions<T> {
  /** Who handles: the consumer, or `requests`. */
  readonly handler: string;
  /** Default: a consumer's span. */
  readonly kind?: SpanKind;
  /** The outcome of a success, for the metrics; a failure counts under `failed`. Default `ok`. */
  readonly outcomeOf?: (result: T) => string;
}

/** Runs the handling of each message in its context: correlation, trace, span, duration. */
export class Handling {
  readonly #metrics: MetricsRecorder;
  readonly #clock: Clock;

  constructor(metrics: MetricsRecorder, clock: Clock) {
    this.#metrics = metrics;
    this.#clock = clock;
  }

  /** Handles a message: what `work` logs, sends and calls belongs to the message's trace. */
  async run<T>(message: IncomingMessage, options: HandlingOptions<T>, work: () => Promise<T>): Promise<T> {
    const { handler, kind = SpanKind.CONSUMER, outcomeOf = () => 'ok' } = options;
    const { type } = message.envelope;
    const startedMs = this.#clock.monotonicMs();
    let outcome = 'failed';
    try {
      const result = await this.inContextOf(message, { operation: 'process', handler, kind }, work);
      outcome = outcomeOf(result);
      return result;
    } catch (error) {
      if (errorCode(error) === 'UNKNOWN_MESSAGE') outcome = 'unknown';
      throw error;
    } finally {
      this.#metrics.handled(type, handler, outcome, this.#clock.monotonicMs() - startedMs);
    }
  }

  /** Runs what belongs to a message without being its handling: the same context, a span, no metric. */
  inContextOf<T>(
    message: IncomingMessage,
    { operation, handler, kind }: { operation: string; handler: string; kind: SpanKind },
    work: () => Promise<T>,
  ): Promise<T> {
    const { envelope, subject } = message;
    const { correlationId, id: messageId, type, deadline } = envelope;
    return withSpan(
      `${operation} ${type}`,
      {
        kind,
        parent: envelope,
        context: { correlationId, messageId, type, deadline },
        attributes: () =>
          messagingAttributes({
            operation,
            operationType: 'process',
            subject,
            type,
            messageId,
            correlationId,
            consumer: handler,
          }),
        expected: (error) => error instanceof BusinessError,
      },
      work,
    );
  }
}

/** Runs a handler with the id of the order that its message is about, if it is about one, in every line it logs. */
export function aboutOrder<T>({ payload }: AnyMessage, work: () => T): T {
  const orderId =
    typeof payload === 'object' && payload !== null && 'orderId' in payload ? payload.orderId : undefined;
  return typeof orderId === 'string' ? runWithContext({ orderId }, work) : work();
}
