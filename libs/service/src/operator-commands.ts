import { errorCode, errorMessage, FlotillaError } from '@flotilla/kernel';
import type { Broker, IncomingMessage, OutgoingReply, Stoppable } from '@flotilla/messaging';
import type { UnitOfWork } from '@flotilla/persistence';
import { newId } from '@flotilla/kernel';
import { failureBody } from '@flotilla/contracts-protocol';
import { z } from 'zod';
import type { OutgoingMessages } from './outgoing.ts';
import type { SagaHost } from './sagas/saga-host.ts';

const request = z.object({
  action: z.enum(['retry', 'abort']),
  saga: z.string().min(1),
  id: z.string().min(1),
  reason: z.string().min(1).max(500).default('by an operator'),
});

/** The subject on which a service takes operators' commands for its sagas. */
export function operatorSubject(service: string): string {
  return `ops.${service}.saga`;
}

/** What operators may do to a service's sagas: `{ action: 'retry' | 'abort', saga, id, reason }`. */
export class OperatorCommands {
  readonly #service: string;
  readonly #broker: Broker;
  readonly #sagas: SagaHost;
  readonly #unitOfWork: UnitOfWork;
  readonly #outgoing: OutgoingMessages;

  constructor(
    service: string,
    broker: Broker,
    sagas: SagaHost,
    unitOfWork: UnitOfWork,
    outgoing: OutgoingMessages,
  ) {
    this.#service = service;
    this.#broker = broker;
    this.#sagas = sagas;
    this.#unitOfWork = unitOfWork;
    this.#outgoing = outgoing;
  }

  start(): Promise<Stoppable> {
    return this.#broker.serve(operatorSubject(this.#service), { queue: this.#service, maxInFlight: 4 }, (message) =>
      this.#answer(message),
    );
  }

  async #answer(message: IncomingMessage): Promise<OutgoingReply> {
    try {
      const { action, saga, id, reason } = request.parse(message.json());
      const result = await this.#unitOfWork.run(
        async () => (action === 'retry' ? this.#sagas.engine.retry(saga, id) : this.#sagas.engine.abort(saga, id, reason)),
        { key: id },
      );
      return this.#outgoing.reply(message.envelope, newId(), 'ok', result);
    } catch (error) {
      const retry = error instanceof FlotillaError ? error.retry : 'later';
      const failure = failureBody({ code: errorCode(error), message: errorMessage(error), retry });
      return this.#outgoing.reply(message.envelope, newId(), 'failed', failure);
    }
  }
}
