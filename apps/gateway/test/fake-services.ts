import {
  BusinessError,
  encodeEnvelope,
  failureBody,
  rpcSubject,
  type AnyMessageClass,
  type Envelope,
  type PayloadOf,
  type ReplyOf,
  type ReplyOutcome,
} from '@flotilla/contracts-protocol';
import { errorCode, errorMessage, FlotillaError, newId } from '@flotilla/kernel';
import type { Broker, IncomingMessage, OutgoingReply, Stoppable } from '@flotilla/messaging';

export type Answering<M extends AnyMessageClass> = (
  payload: PayloadOf<M>,
) => ReplyOf<M> | Promise<ReplyOf<M>>;

export interface ReceivedCall<M extends AnyMessageClass> {
  readonly payload: PayloadOf<M>;
  readonly envelope: Envelope;
}

interface Answered {
  readonly outcome: ReplyOutcome;
  readonly reply: unknown;
}

/**
 * The services behind the gateway, played by the test on the wire. Commands are remembered by their id as the chassis
 * does it: the same one again is answered as before, another one under its id is a conflict.
 */
export class FakeServices {
  readonly #broker: Broker;
  readonly #servers = new Map<string, Stoppable>();
  readonly #calls: { readonly type: string; readonly payload: unknown; readonly envelope: Envelope }[] = [];
  /** Set before it is answered: who asks meanwhile waits for the same answer, as for a lock on the inbox row. */
  readonly #inbox = new Map<string, { readonly body: string; readonly answered: Promise<Answered> }>();

  constructor(broker: Broker) {
    this.#broker = broker;
  }

  /** Answers a contract from now on, instead of what answered it before. Throw a failure of the contract to refuse. */
  async answer<M extends AnyMessageClass>(type: M, answering: Answering<M>): Promise<void> {
    await this.withdraw(type);
    const { contract } = type;
    const server = await this.#broker.serve(
      rpcSubject(contract),
      { queue: contract.owner, maxInFlight: 1_000 },
      (message) => this.#handle(type, answering, message),
    );
    this.#servers.set(contract.type, server);
  }

  /** Nobody answers the contract any more: its service is down. */
  async withdraw({ contract }: AnyMessageClass): Promise<void> {
    await this.#servers.get(contract.type)?.stop({ drainMs: 0 });
    this.#servers.delete(contract.type);
  }

  /** What has been asked so far, the latest last. */
  calls<M extends AnyMessageClass>({ contract }: M): ReceivedCall<M>[] {
    return this.#calls
      .filter(({ type }) => type === contract.type)
      .map(({ payload, envelope }) => ({ payload: payload as PayloadOf<M>, envelope }));
  }

  async #handle(
    type: AnyMessageClass,
    answering: Answering<AnyMessageClass>,
    message: IncomingMessage,
  ): Promise<OutgoingReply> {
    const { envelope } = message;
    const body = JSON.stringify(message.json());
    const known = type.contract.kind === 'command' ? this.#inbox.get(envelope.id) : undefined;
    if (known) {
      if (known.body === body) {
        const { outcome, reply } = await known.answered;
        return answerTo(envelope, outcome, reply, true);
      }
      const conflict = { code: 'IDEMPOTENCY_CONFLICT', message: 'another payload', retry: 'never' } as const;
      return answerTo(envelope, 'failed', failureBody(conflict));
    }
    const answered = this.#ask(type, answering, message);
    this.#inbox.set(envelope.id, { body, answered });
    const { outcome, reply } = await answered;
    if (outcome === 'failed') this.#inbox.delete(envelope.id);
    return answerTo(envelope, outcome, reply);
  }

  async #ask(
    type: AnyMessageClass,
    answering: Answering<AnyMessageClass>,
    message: IncomingMessage,
  ): Promise<Answered> {
    try {
      const { payload } = new type(message.json() as never);
      this.#calls.push({ type: type.contract.type, payload, envelope: message.envelope });
      return { outcome: 'ok', reply: await answering(payload) };
    } catch (error) {
      if (error instanceof BusinessError) return { outcome: 'refused', reply: failureBody(error) };
      const retry = error instanceof FlotillaError ? error.retry : 'later';
      return {
        outcome: 'failed',
        reply: failureBody({ code: errorCode(error), message: errorMessage(error), retry }),
      };
    }
  }
}

function answerTo(to: Envelope, outcome: ReplyOutcome, reply: unknown, replayed = false): OutgoingReply {
  return {
    headers: encodeEnvelope({
      id: newId(),
      type: to.type,
      source: 'fake',
      time: new Date().toISOString(),
      subject: to.subject,
      correlationId: to.correlationId,
      causationId: to.id,
      outcome,
      replayed,
    }),
    body: JSON.stringify(reply ?? null),
  };
}
