import { envelopeHeader } from '@flotilla/contracts-protocol';
import { messagingAttributes, withSpan } from '@flotilla/observability';
import type {
  HandoverReceipt,
  OutboxPublisher,
  OutgoingMessage,
  PublishReceipt,
} from '@flotilla/persistence';
import { SpanKind } from '@opentelemetry/api';

/**
 * Publishes what the outbox holds in the trace and context of whoever put it there, also when a relay does so much
 * later in another process: both stand in the message's own headers.
 */
export class TracedPublisher implements OutboxPublisher {
  readonly #publisher: OutboxPublisher;

  constructor(publisher: OutboxPublisher) {
    this.#publisher = publisher;
  }

  publish(message: OutgoingMessage): Promise<PublishReceipt | HandoverReceipt> {
    const { headers, subject } = message;
    const type = headers[envelopeHeader.type] ?? subject;
    const messageId = headers[envelopeHeader.id] ?? message.id;
    const correlationId = headers[envelopeHeader.correlationId];
    return withSpan(
      `publish ${type}`,
      {
        kind: SpanKind.PRODUCER,
        parent: {
          traceparent: headers[envelopeHeader.traceparent],
          tracestate: headers[envelopeHeader.tracestate],
        },
        context: { correlationId, messageId, type },
        attributes: () =>
          messagingAttributes({
            operation: 'publish',
            operationType: 'send',
            subject,
            type,
            messageId,
            ...(correlationId !== undefined && { correlationId }),
          }),
      },
      () => this.#publisher.publish(message),
    );
  }
}
