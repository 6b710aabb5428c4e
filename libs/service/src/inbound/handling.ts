import type { IncomingMessage } from '@flotilla/messaging';
import { runWithContext, withSpan, type MetricsRecorder } from '@flotilla/observability';
import { errorCode, type Clock } from '@flotilla/kernel';
import { SpanKind } from '@opentelemetry/api';

/** Runs the handling of each message in its context: correlation, trace, span, duration. */
export class Handling {
  readonly #metrics: MetricsRecorder;
  readonly #clock: Clock;

  constructor(metrics: MetricsRecorder, clock: Clock) {
    this.#metrics = metrics;
    this.#clock = clock;
  }

  /** `outcomeOf` names the outcome of a success for the metrics; a failure counts under `failed`. */
  async run<T>(
    message: IncomingMessage,
    handler: string,
    work: () => Promise<T>,
    outcomeOf: (result: T) => string = () => 'ok',
  ): Promise<T> {
    const { envelope } = message;
    const startedMs = this.#clock.monotonicMs();
    let outcome = 'failed';
    const context = {
      correlationId: envelope.correlationId,
      messageId: envelope.id,
      type: envelope.type,
      deadline: envelope.deadline,
    };
    try {
      return await runWithContext(context, () =>
        withSpan(
          `process ${envelope.type}`,
          {
            kind: SpanKind.CONSUMER,
            parent: envelope,
            attributes: {
              'messaging.system': 'nats',
              'messaging.operation.type': 'process',
              'messaging.destination.name': message.subject,
              'messaging.message.id': envelope.id,
              'messaging.message.conversation_id': envelope.correlationId,
              'messaging.consumer.group.name': handler,
            },
          },
          async () => {
            const result = await work();
            outcome = outcomeOf(result);
            return result;
          },
        ),
      );
    } catch (error) {
      outcome = errorCode(error) === 'UNKNOWN_MESSAGE' ? 'unknown' : 'failed';
      throw error;
    } finally {
      this.#metrics.handled(envelope.type, handler, outcome, this.#clock.monotonicMs() - startedMs);
    }
  }
}
