import {
  BusinessError,
  contractOf,
  readFailure,
  rpcSubject,
  type AnyMessage,
  type Contract,
} from '@flotilla/contracts-protocol';
import type { Clock } from '@flotilla/kernel';
import {
  DeadlineExceededError,
  type Broker,
  type IncomingMessage,
  type OutgoingMessage,
} from '@flotilla/messaging';
import { currentContext, messagingAttributes, withSpan, type MetricsRecorder } from '@flotilla/observability';
import { SpanKind } from '@opentelemetry/api';
import type { OutgoingMessages } from '../outgoing.ts';
import { CallDeadlineError, RemoteFailureError } from '../service.errors.ts';
import { isFallback, isTimeout, mayRepeat, type CallPath, type CallPolicies } from './call-policies.ts';
import { checkedReply } from './checked-reply.ts';

const replays = new WeakSet<object>();

/** Whether a reply, or a refusal that was thrown, is the answer of an earlier time to the same command id. */
export function wasReplayed(answer: unknown): boolean {
  return typeof answer === 'object' && answer !== null && replays.has(answer);
}

/** One call on its way. */
interface Call {
  readonly message: AnyMessage;
  readonly contract: Contract;
  /** What is sent, the same each time. */
  readonly request: OutgoingMessage;
  /** When the answer is of no more use, milliseconds since the epoch. */
  readonly deadline: number;
  /** When whoever waits for us stops waiting; Infinity: nobody does. */
  readonly callersDeadline: number;
}

/** Calls other services: request/reply with a deadline that travels along, under the policies of the service. */
export class RemoteCalls {
  readonly #broker: Broker;
  readonly #outgoing: OutgoingMessages;
  readonly #clock: Clock;
  readonly #metrics: MetricsRecorder;
  readonly #policies: CallPolicies | undefined;

  /** Without `policies` each call is one attempt. */
  constructor(
    broker: Broker,
    outgoing: OutgoingMessages,
    clock: Clock,
    metrics: MetricsRecorder,
    policies?: CallPolicies,
  ) {
    this.#broker = broker;
    this.#outgoing = outgoing;
    this.#clock = clock;
    this.#metrics = metrics;
    this.#policies = policies;
  }

  /**
   * Sends a command or query to its owner and waits for the answer: at most the contract's time-out, and no
   * longer than whoever waits for us. Throws the contract's declared errors as {@link BusinessError}, a failure of
   * the other service as {@link RemoteFailureError}, and what the broker throws when no answer comes.
   */
  call(message: AnyMessage): Promise<unknown> {
    const contract = contractOf(message);
    const subject = rpcSubject(contract);
    const now = this.#clock.now();
    const callersDeadline = currentContext()?.deadline ?? Infinity;
    const deadline = Math.min(now + contract.timeoutMs, callersDeadline);
    if (deadline <= now) return Promise.reject(new DeadlineExceededError(subject, now - deadline));
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
          const request = this.#outgoing.request(message, deadline);
          const call = { message, contract, request, deadline, callersDeadline };
          const path = this.#policies?.pathOf(contract);
          const answer = await (path === undefined ? this.#attempt(call, now) : this.#guarded(call, path));
          outcome = isFallback(answer) ? 'fallback' : 'ok';
          return answer;
        } catch (error) {
          if (error instanceof BusinessError) outcome = 'refused';
          throw error;
        } finally {
          this.#metrics.requested(contract.type, outcome, this.#clock.monotonicMs() - startedMs);
        }
      },
    );
  }

  #guarded(call: Call, path: CallPath): Promise<unknown> {
    const { message, contract, request, deadline, callersDeadline } = call;
    const fallback = path.fallbackFor?.(message, request.body);
    return path.policy.execute(() => this.#attempt(call, this.#clock.now(), path), {
      deadline,
      repeatable: mayRepeat(contract, message),
      // A time-out is not the end: our own caller may still wait.
      fallback: fallback && { ...fallback, deadline: callersDeadline },
    });
  }

  async #attempt(call: Call, now: number, path?: CallPath): Promise<unknown> {
    const { contract, request, deadline, callersDeadline } = call;
    const regularMs = path?.attemptTimeoutMs ?? contract.timeoutMs;
    const leftMs = deadline - now;
    const timeoutMs = Math.min(leftMs, regularMs);
    try {
      const reply = await this.#broker.request(request, { timeoutMs });
      const answer =
        reply.envelope.replayed === true ? readReplayed(contract, reply) : readReply(contract, reply);
      path?.keep?.(request.body, answer);
      return answer;
    } catch (error) {
      if (!isTimeout(error)) throw error;
      const late =
        deadline === callersDeadline && timeoutMs === leftMs
          ? new CallDeadlineError(contract.type, leftMs, error)
          : error;
      if (timeoutMs * 2 < regularMs) this.#policies?.noteImpatience(late);
      throw late;
    }
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

function readReplayed(contract: Contract, reply: IncomingMessage): unknown {
  try {
    const answer = readReply(contract, reply);
    if (typeof answer === 'object' && answer !== null) replays.add(answer);
    return answer;
  } catch (refusal) {
    if (refusal instanceof BusinessError) replays.add(refusal);
    throw refusal;
  }
}
