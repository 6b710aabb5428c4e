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
  readonly publishBatch?: NonNullable<OutboxPublisher['publishBatch']>;
  readonly #publisher: OutboxPublisher;

  constructor(publisher: OutboxPublisher) {
    this.#publisher = publisher;
    const batch = publisher.publishBatch?.bind(publisher);
    if (batch === undefined) return;
    this.publishBatch = (messages) => {
      const stored = batch(messages);
      return Promise.all(
        messages.map((message, index) =>
          this.#traced(message, async () => (await stored)[index] as PublishReceipt),
        ),
      );
    };
  }

  publish(message: OutgoingMessage): Promise<PublishReceipt | HandoverReceipt> {
    return this.#traced(message, () => this.#publisher.publish(message));
  }

  #traced<T>(message: OutgoingMessage, publish: () => Promise<T>): Promise<T> {
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
      publish,
    );
  }
}
