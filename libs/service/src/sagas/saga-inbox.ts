import { keyOfToken, type AnyMessage, type Envelope } from '@flotilla/contracts-protocol';
import type { IncomingMessage } from '@flotilla/messaging';
import { parseSagaKey } from '@flotilla/saga';
import { Logger } from '@nestjs/common';
import type { SagaHost } from './saga-host.ts';

/** Hands what arrives for sagas to the engine. Everything here runs inside the caller's unit of work. */
export class SagaInbox {
  readonly #host: SagaHost;
  readonly #logger = new Logger('Sagas');

  constructor(host: SagaHost) {
    this.#host = host;
  }

  /** The reactions of the manifest that sagas serve. */
  get reactions(): ReadonlySet<string> {
    return this.#host.reactions;
  }

  /** The id of the business object whose saga a reply is for: what is handled one after another. */
  instanceOf(reply: IncomingMessage): string {
    const sagaId = sagaIdOf(reply);
    return parseSagaKey(sagaId)?.id ?? sagaId;
  }

  async reply(message: IncomingMessage): Promise<void> {
    const { envelope } = message;
    const result = await this.#host.engine.handleReply({
      sagaId: sagaIdOf(message),
      commandId: envelope.causationId ?? '',
      outcome: envelope.outcome ?? 'ok',
      body: message.json(),
    });
    if (result.outcome === 'ignored') {
      this.#logger.debug(`A reply to ${envelope.type} was not needed: ${result.why}`);
    } else if (result.outcome === 'unknown') {
      this.#logger.warn(
        `A reply to ${envelope.type} is for a saga that does not exist: ${sagaIdOf(message)}`,
      );
    }
  }

  async event(envelope: Envelope, message: AnyMessage): Promise<void> {
    for (const result of await this.#host.engine.handleEvent({ id: envelope.id, message })) {
      // An object without a saga is no fault: not everything that happens to others is ours.
      if (result.outcome === 'unknown')
        this.#logger.debug(`${envelope.type}: there is no ${result.saga} of ${result.id}`);
    }
  }
}

function sagaIdOf({ subject }: IncomingMessage): string {
  return keyOfToken(subject.slice(subject.lastIndexOf('.') + 1));
}
