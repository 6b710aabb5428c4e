import { keyOfToken, replySubject, type AnyMessage, type Envelope } from '@flotilla/contracts-protocol';
import type { IncomingMessage } from '@flotilla/messaging';
import { currentUnitOfWork } from '@flotilla/persistence';
import { parseSagaKey, type OutgoingSagaCommand, type SagaEngine, type SagaTransport } from '@flotilla/saga';
import { Logger } from '@nestjs/common';
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

  send({ command, commandId, messageId, sagaId, correlationId }: OutgoingSagaCommand): void {
    const unit = currentUnitOfWork();
    if (!unit) throw new PublishOutsideUnitOfWorkError(command.constructor.name);
    const replyTo = replySubject(this.#service, sagaId);
    const message = this.#outgoing.command(command, { id: commandId, replyTo, correlationId });
    unit.send({ ...message, id: messageId });
  }
}

/** Hands what arrives for sagas to the engine. Everything here runs inside the caller's unit of work. */
export class SagaInbox {
  /** The reactions of the manifest that the engine serves. */
  readonly reactions: ReadonlySet<string>;
  readonly #engine: SagaEngine;
  readonly #logger = new Logger('Sagas');

  constructor(engine: SagaEngine, reactions: ReadonlySet<string>) {
    this.#engine = engine;
    this.reactions = reactions;
  }

  /** The id of the business object whose saga a reply is for: what is handled one after another. */
  instanceOf(reply: IncomingMessage): string {
    const sagaId = sagaIdOf(reply);
    return parseSagaKey(sagaId)?.id ?? sagaId;
  }

  async reply(message: IncomingMessage): Promise<void> {
    const { envelope } = message;
    const result = await this.#engine.handleReply({
      sagaId: sagaIdOf(message),
      commandId: envelope.causationId ?? '',
      outcome: envelope.outcome ?? 'ok',
      body: message.json(),
    });
    if (result.outcome === 'ignored') {
      this.#logger.debug(`A reply to ${envelope.type} was not needed: ${result.why}`);
    } else if (result.outcome === 'unknown') {
      this.#logger.warn(`A reply to ${envelope.type} is for a saga that does not exist: ${sagaIdOf(message)}`);
    }
  }

  async event(envelope: Envelope, message: AnyMessage): Promise<void> {
    for (const result of await this.#engine.handleEvent({ id: envelope.id, message })) {
      // An object without a saga is no fault: not everything that happens to others is ours.
      if (result.outcome === 'unknown') this.#logger.debug(`${envelope.type}: there is no ${result.saga} of ${result.id}`);
    }
  }
}

function sagaIdOf({ subject }: IncomingMessage): string {
  return keyOfToken(subject.slice(subject.lastIndexOf('.') + 1));
}
