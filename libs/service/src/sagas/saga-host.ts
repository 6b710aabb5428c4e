import { errorMessage, FlotillaError, type Clock } from '@flotilla/kernel';
import type { Metrics } from '@flotilla/observability';
import { currentUnitOfWork, type UnitOfWork } from '@flotilla/persistence';
import {
  bindSaga,
  PostgresSagaStore,
  SagaEngine,
  SagaTimers,
  type SagaChange,
  type SagaDefinition,
} from '@flotilla/saga';
import { Logger, type InjectionToken, type OnApplicationBootstrap } from '@nestjs/common';
import type { ModuleRef } from '@nestjs/core';
import type { SagaRegistration } from '../flotilla.module.ts';
import type { OutgoingMessages } from '../outgoing.ts';
import { OutboxSagaTransport } from './saga-transport.ts';

export interface SagaHostParts {
  readonly service: string;
  readonly registrations: readonly SagaRegistration[];
  readonly unitOfWork: UnitOfWork;
  readonly outgoing: OutgoingMessages;
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly moduleRef: ModuleRef;
}

/**
 * Holds a service's saga engine. It is made when all providers are: the handlers that start sagas and the actions
 * that sagas call are providers too, and may need each other.
 */
export class SagaHost implements OnApplicationBootstrap {
  readonly #parts: SagaHostParts;
  readonly #logger = new Logger('Sagas');
  /** The reactions of the manifest whose events go to sagas. */
  readonly reactions: ReadonlySet<string>;
  #engine: SagaEngine | undefined;
  #timers: SagaTimers | undefined;

  constructor(parts: SagaHostParts) {
    this.#parts = parts;
    this.reactions = new Set(parts.registrations.flatMap(({ reaction }) => reaction ?? []));
  }

  /** Throws before the application has started: a constructor is too early for a saga. */
  get engine(): SagaEngine {
    if (!this.#engine) {
      throw new FlotillaError('SAGAS_NOT_STARTED', 'Sagas can be used once the application has started, not in a constructor', {
        retry: 'never',
      });
    }
    return this.#engine;
  }

  async onApplicationBootstrap(): Promise<void> {
    const { service, registrations, unitOfWork, outgoing, clock, metrics, moduleRef } = this.#parts;
    const get = <T>(token: InjectionToken): T => moduleRef.get<T>(token as string, { strict: false });
    const engine = new SagaEngine({
      store: new PostgresSagaStore({ query: (sql, parameters) => unitOfWork.query(sql, parameters) }),
      transport: new OutboxSagaTransport(service, outgoing),
      clock,
      sagas: registrations.map(({ definition, actions }) =>
        bindSaga(get<SagaDefinition<unknown, unknown>>(definition), get<unknown>(actions)),
      ),
      onChange: (change) => this.#count(change),
    });
    this.#engine = engine;
    this.#timers = new SagaTimers({
      engine,
      clock,
      // The key is `<saga>:<id>`; replies and events of the same object are handled under its id.
      runUnit: (work, key) => unitOfWork.run(work, key === undefined ? {} : { key: key.slice(key.indexOf(':') + 1) }),
      onError: (error, ref) =>
        this.#logger.error(`A timer${ref ? ` of ${ref.saga} ${ref.id}` : ''} failed: ${errorMessage(error)}`),
    });
    metrics.observeSagas(async () =>
      (await engine.countOpen()).map(({ saga, status, count }) => ({ saga, state: status, count })),
    );
    for (const { saga, version, count } of await engine.missingDefinitions()) {
      this.#logger.error(
        `${count} instance(s) of ${saga} v${version} are open, but that version is not registered: they will be parked. Register it again.`,
      );
    }
  }

  /** Starts to fire timers; does nothing in a service without sagas. */
  start(): void {
    if (this.#parts.registrations.length > 0) this.#timers?.start();
  }

  async stop(): Promise<void> {
    if (this.#parts.registrations.length > 0) await this.#timers?.stop();
  }

  #count({ saga, from, to, startedAt }: SagaChange): void {
    if (to === from || (to !== 'completed' && to !== 'compensated' && to !== 'parked')) return;
    const { clock, metrics } = this.#parts;
    const durationMs = clock.now() - startedAt;
    currentUnitOfWork()?.afterCommit(() => metrics.sagaEnded(saga, to, durationMs));
  }
}
