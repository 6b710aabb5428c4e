import {
  commandSubject,
  contractOf,
  encodeAnswer,
  encodeEnvelope,
  eventSubject,
  failureBody,
  rpcSubject,
  type AnyMessage,
  type Contract,
  type Envelope,
  type EnvelopeFields,
} from '@flotilla/contracts-protocol';
import { errorCode, errorMessage, isoTime, newId, type Clock, type RetryAdvice } from '@flotilla/kernel';
import type { IncomingMessage, OutgoingMessage, OutgoingReply } from '@flotilla/messaging';
import { currentContext, traceHeaders } from '@flotilla/observability';

const identities = new WeakMap<object, string>();

/**
 * Gives a command the id that it travels with, so that sending it again is recognised and answered as before.
 * Without one, every message gets a new id.
 */
export function withMessageId<M extends AnyMessage>(message: M, id: string): M {
  identities.set(message, id);
  return message;
}

/** Whether the message was given an id by {@link withMessageId}. */
export function hasMessageId(message: object): boolean {
  return identities.has(message);
}

/** What a saga adds to the commands that it sends. */
export interface CommandRoute {
  readonly id: string;
  readonly replyTo: string;
  /** The ordering key, for a command whose contract has none. Default: the command's id. */
  readonly key?: string;
  /** The correlation id of the request that began it all, where the current context has another or none. */
  readonly correlationId: string | undefined;
}

/** What is not the same for every kind of message that is sent. */
interface OutgoingFields extends Pick<EnvelopeFields, 'deadline' | 'aggregateVersion' | 'replyTo'> {
  readonly correlationId?: string | undefined;
}

/** Makes messages ready for the wire: envelope, subject, correlation, causation and trace from where it is called. */
export class OutgoingMessages {
  readonly #service: string;
  readonly #clock: Clock;

  constructor(service: string, clock: Clock) {
    this.#service = service;
    this.#clock = clock;
  }

  /** A request that waits for its answer until `deadline`. */
  request(message: AnyMessage, deadline: number): OutgoingMessage {
    const contract = contractOf(message);
    const id = identities.get(message) ?? newId();
    const key = keyOf(contract, message, id);
    return this.#outgoing(message, contract, id, key, rpcSubject(contract), { deadline }, true);
  }

  /** A durable command. */
  command(message: AnyMessage, route?: CommandRoute): OutgoingMessage {
    const contract = contractOf(message);
    const id = route?.id ?? identities.get(message) ?? newId();
    const key = keyOf(contract, message, route?.key ?? id);
    return this.#outgoing(message, contract, id, key, commandSubject(contract, key), {
      replyTo: route?.replyTo,
      correlationId: route?.correlationId,
    });
  }

  /** An event. */
  event(message: AnyMessage): OutgoingMessage {
    const contract = contractOf(message);
    const id = identities.get(message) ?? newId();
    const key = keyOf(contract, message, id);
    const aggregateVersion = contract.aggregateVersionOf?.(message.payload as never);
    return this.#outgoing(message, contract, id, key, eventSubject(contract, key), { aggregateVersion });
  }

  /** The answer to a request or a durable command, as headers and body. */
  reply(
    to: Envelope,
    id: string,
    outcome: NonNullable<Envelope['outcome']>,
    body: unknown,
    replayed = false,
  ): OutgoingReply {
    // An absent answer is null on the wire: JSON has no undefined.
    const text = JSON.stringify(body ?? null);
    // It goes back to whoever waits with the request in hand, and into no stream.
    if (to.replyTo === undefined) {
      const { type, id: causationId } = to;
      const headers = encodeAnswer({ id, type, source: this.#service, causationId, outcome, replayed });
      return { headers, body: text };
    }
    const trace = traceHeaders();
    return {
      headers: encodeEnvelope({
        id,
        type: to.type,
        source: this.#service,
        time: isoTime(this.#clock.now()),
        subject: to.subject,
        correlationId: to.correlationId,
        causationId: to.id,
        outcome,
        replayed,
        traceparent: trace.traceparent,
        tracestate: trace.tracestate,
      }),
      body: text,
    };
  }

  /** The answer that tells of a technical failure. `retry` is the error's own advice unless it is given. */
  failedReply(to: Envelope, id: string, error: unknown, retry?: RetryAdvice): OutgoingReply {
    const advice = retry ?? adviceOf(error);
    return this.reply(
      to,
      id,
      'failed',
      failureBody({ code: errorCode(error), message: errorMessage(error), retry: advice }),
    );
  }

  #outgoing(
    message: AnyMessage,
    contract: Contract,
    id: string,
    key: string,
    subject: string,
    more: OutgoingFields,
    brief = false,
  ): OutgoingMessage {
    const context = currentContext();
    const trace = traceHeaders();
    return {
      id,
      subject,
      key,
      headers: encodeEnvelope(
        {
          id,
          type: contract.type,
          source: this.#service,
          time: isoTime(this.#clock.now()),
          subject: key,
          correlationId: more.correlationId ?? context?.correlationId ?? id,
          causationId: context?.messageId,
          deadline: more.deadline,
          aggregateVersion: more.aggregateVersion,
          replyTo: more.replyTo,
          traceparent: trace.traceparent,
          tracestate: trace.tracestate,
        },
        brief,
      ),
      body: JSON.stringify(message.payload),
    };
  }
}

/** The reply to a durable command, ready for the outbox; undefined if nobody waits for one. */
export function durableReply(
  { envelope }: IncomingMessage,
  id: string,
  reply: OutgoingReply,
): OutgoingMessage | undefined {
  const { replyTo } = envelope;
  if (replyTo === undefined) return undefined;
  // The answers to one saga keep their order: the key is the waiting instance, the last token of replyTo.
  return { id, subject: replyTo, key: replyTo.slice(replyTo.lastIndexOf('.') + 1), ...reply };
}

function keyOf(contract: Contract, message: AnyMessage, otherwise: string): string {
  return contract.keyOf?.(message.payload as never) ?? otherwise;
}

/** Read from the field: TypeORM wraps errors, and keeps their fields. */
function adviceOf(error: unknown): RetryAdvice {
  return error instanceof Error && 'retry' in error && error.retry === 'never' ? 'never' : 'later';
}
