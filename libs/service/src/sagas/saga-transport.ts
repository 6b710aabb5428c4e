import { contractOf, replySubject } from '@flotilla/contracts-protocol';
import { currentUnitOfWork } from '@flotilla/persistence';
import type { OutgoingSagaCommand, SagaTransport } from '@flotilla/saga';
import type { OutgoingMessages } from '../outgoing.ts';
import { PublishOutsideUnitOfWorkError } from '../service.errors.ts';

/** Puts the commands of sagas into the outbox of the current unit of work. */
export class OutboxSagaTransport implements SagaTransport {
  readonly #service: string;
  readonly #outgoing: OutgoingMessages;

  constructor(service: string, outgoing: OutgoingMessages) {
    this.#service = service;
    this.#outgoing = outgoing;
  }

  send({ command, commandId, messageId, sagaId, key, correlationId, first }: OutgoingSagaCommand): void {
    const unit = currentUnitOfWork();
    if (!unit) throw new PublishOutsideUnitOfWorkError(contractOf(command).type);
    const replyTo = replySubject(this.#service, sagaId);
    const message = this.#outgoing.command(command, { id: commandId, replyTo, key, correlationId });
    unit.send({ ...message, id: messageId, ...(first && { handover: true }) });
  }
}
