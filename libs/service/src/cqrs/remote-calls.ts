import {
  BusinessError,
  contractOf,
  readFailure,
  rpcSubject,
  type AnyMessage,
  type Contract,
} from '@flotilla/contracts-protocol';
import type { Clock } from '@flotilla/kernel';
import { DeadlineExceededError, type Broker, type IncomingMessage } from '@flotilla/messaging';
import { currentContext, messagingAttributes, withSpan, type MetricsRecorder } from '@flotilla/observability';
import { SpanKind } from '@opentelemetry/api';
import type { OutgoingMessages } from '../outgoing.ts';
import { RemoteFailureError } from '../service.errors.ts';
import { checkedReply } from './checked-reply.ts';

const replays = new WeakSet<object>();

/** Whether a reply, or a refusal that was thrown, is the answer of an earlier time to the same command id. */
export function wasReplayed(answer: unknown): boolean {
  return typeof answer === 'object' && answer !== null && replays.has(answer);
}

/** Calls other services: request/reply with a deadline that travels along. */
export class RemoteCalls {
  readonly #broker: Broker;
  readonly #outgoing: OutgoingMessages;
  readonly #clock: Clock;
  readonly #metrics: MetricsRecorder;

  constructor(broker: Broker, outgoing: OutgoingMessages, clock: Clock, metrics: MetricsRecorder) {
    this.#broker = broker;
    this.#outgoing = outgoing;
    this.#clock = clock;
    this.#metrics = metrics;
  }

  /**
   * Sends a command or query to its owner and waits for the answer: at most the contract's time-out, and no
   * longer than whoever waits for us. Throws the contract's declared errors as {@link BusinessError}, a failure of
   * the other service as {@link RemoteFailureError}, and what the broker throws when no answer comes.
   */
  async call(message: AnyMessage): Promise<unknown> {
    const contract = contractOf(message);
    const subject = rpcSubject(contract);
    const now = this.#clock.now();
    const deadline = Math.min(now + contract.timeoutMs, currentContext()?.deadline ?? Infinity);
    if (deadline <= now) throw new DeadlineExceededError(subject, now - deadline);
    return withSpan(
      `call ${contract.type}`,
      {
        kind: SpanKind.CLIENT,
        attributes: () => ({
          ...messagingAttributes({ operation: 'call', operationType: 'send', subject, type: contract.type }),
          'rpc.service': contract.owner,
          'rpc.method': contract.name,
        }),
        expected: (error) => error instanceof BusinessError,
      },
      async () => {
        const startedMs = this.#clock.monotonicMs();
        let outcome = 'failed';
        try {
          const reply = await this.#broker.request(this.#outgoing.request(message, deadline), {
            timeoutMs: deadline - now,
          });
          outcome = reply.envelope.outcome ?? 'ok';
          return markReplay(reply, () => readReply(contract, reply));
        } finally {
          this.#metrics.requested(contract.type, outcome, this.#clock.monotonicMs() - startedMs);
        }
      },
    );
  }
}

/** The answer in a reply, checked against the contract; throws what the reply says failed. */
export function readReply(contract: Contract, reply: IncomingMessage): unknown {
  const body = reply.json();
  const outcome = reply.envelope.outcome ?? 'ok';
  if (outcome === 'ok') return checkedReply(contract, body);
  const failure = readFailure(body);
  if (outcome === 'refused') {
    const schema = contract.errors[failure.code];
    // A code that this build does not know yet is still a refusal; its data stays as it came.
    const data = schema ? (schema.safeParse(failure.data).data ?? failure.data) : failure.data;
    throw new BusinessError(contract.type, failure.code, data, failure.message);
  }
  throw new RemoteFailureError(contract.type, failure.code, failure.message, failure.retry);
}

function markReplay(reply: IncomingMessage, read: () => unknown): unknown {
  if (reply.envelope.replayed !== true) return read();
  try {
    const answer = read();
    if (typeof answer === 'object' && answer !== null) replays.add(answer);
    return answer;
  } catch (refusal) {
    if (refusal instanceof BusinessError) replays.add(refusal);
    throw refusal;
  }
}
