import { InvalidMessageError, parseWith } from '@flotilla/contracts-protocol';
import { errorMessage, newId } from '@flotilla/kernel';
import type { Broker, IncomingMessage, OutgoingReply, Stoppable } from '@flotilla/messaging';
import type { UnitOfWork } from '@flotilla/persistence';
import { Logger } from '@nestjs/common';
import { SpanKind } from '@opentelemetry/api';
import { z } from 'zod';
import type { Handling } from './inbound/handling.ts';
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
  readonly #subject: string;
  readonly #service: string;
  readonly #broker: Broker;
  readonly #sagas: SagaHost;
  readonly #unitOfWork: UnitOfWork;
  readonly #outgoing: OutgoingMessages;
  readonly #handling: Handling;
  readonly #logger = new Logger(OperatorCommands.name);

  constructor(
    service: string,
    broker: Broker,
    sagas: SagaHost,
    unitOfWork: UnitOfWork,
    outgoing: OutgoingMessages,
    handling: Handling,
  ) {
    this.#subject = operatorSubject(service);
    this.#service = service;
    this.#broker = broker;
    this.#sagas = sagas;
    this.#unitOfWork = unitOfWork;
    this.#outgoing = outgoing;
    this.#handling = handling;
  }

  start(): Promise<Stoppable> {
    return this.#broker.serve(this.#subject, { queue: this.#service, maxInFlight: 4 }, (message) =>
      this.#answer(message),
    );
  }

  async #answer(message: IncomingMessage): Promise<OutgoingReply> {
    try {
      const result = await this.#handling.run(message, { handler: 'operators', kind: SpanKind.SERVER }, () =>
        this.#carryOut(message),
      );
      return this.#outgoing.reply(message.envelope, newId(), 'ok', result);
    } catch (error) {
      this.#logger.warn({ msg: `A command of an operator failed: ${errorMessage(error)}`, err: error });
      return this.#outgoing.failedReply(message.envelope, newId(), error);
    }
  }

  #carryOut(message: IncomingMessage): Promise<unknown> {
    const { action, saga, id, reason } = parseWith(
      request,
      message.json(),
      (problems) => new InvalidMessageError(this.#subject, problems),
    );
    this.#logger.log({
      msg: `An operator's ${action} of ${saga} ${id}: ${reason}`,
      source: message.envelope.source,
    });
    return this.#unitOfWork.run<unknown>(
      () =>
        action === 'retry'
          ? this.#sagas.engine.retry(saga, id, reason)
          : this.#sagas.engine.abort(saga, id, reason),
      { key: id },
    );
  }
}
