import { currentContext, traceHeaders } from '@flotilla/observability';
import { FlotillaError, newId } from '@flotilla/kernel';
import { requireUnitOfWork } from '@flotilla/persistence';
import type { SagaDefinition, SagaSignal } from '@flotilla/saga';
import type { SagaHost } from './saga-host.ts';

/**
 * What became of a wish to cancel. Where it is `pending`, it was taken, and is decided when the step that the saga is at
 * has ended: the saga's `onCancelDecided` says how, and asked again, so does this.
 */
export type Cancellation =
  { readonly accepted: true; readonly pending: boolean } | { readonly accepted: false; readonly why: string };

/** What became of a signal: `later` is kept until its step comes. */
export type Signalled =
  { readonly taken: true; readonly when: 'now' | 'later' } | { readonly taken: false; readonly why: string };

/** Starts, tells and cancels sagas, in the unit of work of the handler that does so; throws outside of one. */
export class Sagas {
  readonly #host: SagaHost;

  constructor(host: SagaHost) {
    this.#host = host;
  }

  /** Starts a saga for the business object `id`. Its first command leaves when the handler's changes are committed. */
  async start<D, A>(definition: SagaDefinition<D, A>, id: string, data: D): Promise<void> {
    requireUnitOfWork(`Starting saga ${definition.name}`);
    const correlationId = currentContext()?.correlationId;
    const { traceparent } = traceHeaders();
    await this.#host.engine.start(definition, id, data, {
      ...(correlationId !== undefined && { correlationId }),
      ...(traceparent !== undefined && { traceparent }),
    });
  }

  /**
   * Tells a saga what one of its steps waits for, such as a person's decision. Within the handling of one message a
   * signal counts once, however often it is sent; give `messageId` where something else makes it the same.
   */
  async signal<D, A, P>(
    definition: SagaDefinition<D, A>,
    id: string,
    signal: SagaSignal<P>,
    payload: NoInfer<P>,
    messageId: string = currentContext()?.messageId ?? newId(),
  ): Promise<Signalled> {
    requireUnitOfWork(`Signalling saga ${definition.name}`);
    const result = await this.#host.engine.signal(definition, id, signal, payload, messageId);
    switch (result.outcome) {
      case 'applied':
        return { taken: true, when: 'now' };
      case 'buffered':
        return { taken: true, when: 'later' };
      case 'ignored':
        return { taken: false, why: result.why };
      case 'unknown':
        return { taken: false, why: 'it has no saga' };
    }
  }

  /** Asks a saga to stop and undo what it did. Asked again, it is accepted again. */
  async cancel<D, A>(definition: SagaDefinition<D, A>, id: string, reason: string): Promise<Cancellation> {
    requireUnitOfWork(`Cancelling saga ${definition.name}`);
    const result = await this.#host.engine.requestCancel(definition, id, reason);
    switch (result.outcome) {
      case 'accepted':
        return { accepted: true, pending: false };
      case 'pending':
        return { accepted: true, pending: true };
      case 'refused':
        return { accepted: false, why: result.reason };
      case 'alreadyCompensating':
        // Asked twice by the customer it is the same wish; anything else has its own end already.
        return result.reason.code === 'cancelled'
          ? { accepted: true, pending: false }
          : { accepted: false, why: `it is being given up already: ${result.reason.message}` };
      case 'alreadyEnded':
        return { accepted: false, why: `it has ended: ${result.status}` };
      case 'tooLate':
        return { accepted: false, why: `it is too late, at step "${result.step}"` };
      case 'definitionMissing':
        throw new FlotillaError(
          'SAGA_DEFINITION_MISSING',
          `${definition.name} of ${id} runs on version ${result.version}, which is not registered here: register it again`,
        );
      case 'unknown':
        return { accepted: false, why: 'it has no saga' };
    }
  }
}
