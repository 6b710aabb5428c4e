import { currentContext } from '@flotilla/observability';
import { FlotillaError } from '@flotilla/kernel';
import { requireUnitOfWork } from '@flotilla/persistence';
import type { SagaDefinition } from '@flotilla/saga';
import type { SagaHost } from './saga-host.ts';

/** What became of a wish to cancel. */
export type Cancellation = { readonly accepted: true } | { readonly accepted: false; readonly why: string };

/** Starts and cancels sagas, in the unit of work of the handler that does so; throws outside of one. */
export class Sagas {
  readonly #host: SagaHost;

  constructor(host: SagaHost) {
    this.#host = host;
  }

  /** Starts a saga for the business object `id`. Its first command leaves when the handler's changes are committed. */
  async start<D, A>(definition: SagaDefinition<D, A>, id: string, data: D): Promise<void> {
    requireUnitOfWork(`Starting saga ${definition.name}`);
    const correlationId = currentContext()?.correlationId;
    await this.#host.engine.start(definition, id, data, correlationId === undefined ? {} : { correlationId });
  }

  /** Asks a saga to stop and undo what it did. Asked again, it is accepted again. */
  async cancel<D, A>(definition: SagaDefinition<D, A>, id: string, reason: string): Promise<Cancellation> {
    requireUnitOfWork(`Cancelling saga ${definition.name}`);
    const result = await this.#host.engine.requestCancel(definition, id, reason);
    switch (result.outcome) {
      case 'accepted':
        return { accepted: true };
      case 'alreadyCompensating':
        // Asked twice by the customer it is the same wish; anything else has its own end already.
        return result.reason.code === 'cancelled'
          ? { accepted: true }
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
