import type { AnyMessageClass, ServiceManifest } from '@flotilla/contracts-protocol';
import { errorMessage, FlotillaError, type Clock } from '@flotilla/kernel';
import { withSpan, type Metrics } from '@flotilla/observability';
import { currentUnitOfWork, type UnitOfWork } from '@flotilla/persistence';
import {
  bindSaga,
  PostgresSagaStore,
  SagaEngine,
  SagaTimers,
  type SagaChange,
  type DueTimer,
  type HistoryKind,
  type SagaDefinition,
} from '@flotilla/saga';
import { Logger, type InjectionToken, type OnApplicationBootstrap } from '@nestjs/common';
import type { ModuleRef } from '@nestjs/core';
import type { SagaRegistration } from '../flotilla.module.ts';
import type { Jobs } from '../jobs.ts';
import type { OutgoingMessages } from '../outgoing.ts';
import { OutboxSagaTransport } from './saga-transport.ts';

export interface SagaHostParts {
  readonly service: string;
  readonly registrations: readonly SagaRegistration[];
  readonly unitOfWork: UnitOfWork;
  readonly outgoing: OutgoingMessages;
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly jobs: Jobs;
  readonly moduleRef: ModuleRef;
  /** How long sagas are kept after they have ended, in milliseconds. */
  readonly retentionMs: number;
}

const PURGE_EVERY_MS = 3_600_000;
const PURGE_LIMIT = 1_000;
const MIGRATE_EVERY_MS = 60_000;
const MIGRATE_LIMIT = 200;

/** The lines of a history that end a step, and how the metrics call it. */
const stepOutcomes: Partial<Record<HistoryKind, string>> = {
  replied: 'ok',
  event: 'ok',
  signal: 'ok',
  ran: 'ok',
  refused: 'refused',
  failed: 'failed',
  'timed-out': 'timeout',
  undone: 'undone',
};

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
  #ready: () => boolean = () => false;

  constructor(parts: SagaHostParts) {
    this.#parts = parts;
    this.reactions = new Set(parts.registrations.flatMap(({ reaction }) => reaction ?? []));
  }

  /** Throws before the application has started: a constructor is too early for a saga. */
  get engine(): SagaEngine {
    if (!this.#engine) {
      throw new FlotillaError(
        'SAGAS_NOT_STARTED',
        'Sagas can be used once the application has started, not in a constructor',
        {
          retry: 'never',
        },
      );
    }
    return this.#engine;
  }

  /** What the definitions send and wait for, and the manifest does not list; a line each. */
  mismatches(manifest: ServiceManifest): string[] {
    const problems: string[] = [];
    const unlisted = (needed: readonly AnyMessageClass[], listed: readonly AnyMessageClass[]): string[] => {
      const types = new Set(listed.map(({ contract }) => contract.type));
      return needed.map(({ contract }) => contract.type).filter((type) => !types.has(type));
    };
    for (const { definition: token, reaction } of this.#parts.registrations) {
      const { name, version, sends, awaits } = this.#get<SagaDefinition<unknown, unknown>>(token);
      const saga = `saga ${name} v${version}`;
      for (const type of unlisted(sends, manifest.sends))
        problems.push(`${saga} sends ${type}, which is not listed in sends`);
      const events = reaction === undefined ? [] : (manifest.reacts[reaction]?.events ?? []);
      for (const type of unlisted(awaits, events)) {
        problems.push(
          reaction === undefined
            ? `${saga} waits for ${type}, but its registration names no reaction that brings it`
            : `${saga} waits for ${type}, which is not listed in reacts.${reaction}`,
        );
      }
    }
    return problems;
  }

  async onApplicationBootstrap(): Promise<void> {
    const { service, registrations, unitOfWork, outgoing, clock, metrics } = this.#parts;
    const definitions = registrations.map(({ definition }) =>
      this.#get<SagaDefinition<unknown, unknown>>(definition),
    );
    const engine = new SagaEngine({
      store: new PostgresSagaStore({
        query: (sql, parameters) => unitOfWork.query(sql, parameters),
        bulk: (statement, row) => unitOfWork.bulk(statement, row),
        afterCommit: (action) => currentUnitOfWork()?.afterCommit(action),
      }),
      transport: new OutboxSagaTransport(service, outgoing),
      clock,
      sagas: registrations.map(({ definition, actions }) =>
        bindSaga(this.#get<SagaDefinition<unknown, unknown>>(definition), this.#get<unknown>(actions)),
      ),
      onChange: (change) => this.#count(change),
    });
    this.#engine = engine;
    this.#timers = new SagaTimers({
      engine,
      clock,
      runUnit: (work, timer) => (timer === undefined ? unitOfWork.run(work) : this.#fire(work, timer)),
      ready: () => this.#ready(),
      onError: (error, ref) =>
        this.#logger.error({
          msg: `A timer${ref ? ` of ${ref.saga} ${ref.id}` : ''} failed: ${errorMessage(error)}`,
          err: error,
        }),
    });
    metrics.observeSagas(async () =>
      (await engine.countOpen()).map(({ saga, status, count }) => ({ saga, state: status, count })),
    );
    if (registrations.length > 0) this.#purgeRegularly(engine);
    if (definitions.some(({ migrations }) => Object.keys(migrations).length > 0))
      this.#migrateRegularly(engine);
    for (const { saga, version, count } of await engine.missingDefinitions()) {
      this.#logger.error(
        `${count} instance(s) of ${saga} v${version} are open, but that version is not registered: they will be parked. Register it again.`,
      );
    }
  }

  /**
   * Starts to fire timers; does nothing in a service without sagas. While `ready` is false none fires: an answer that
   * could not arrive is not an answer that did not come.
   */
  start(ready: () => boolean): void {
    this.#ready = ready;
    if (this.#parts.registrations.length > 0) this.#timers?.start();
  }

  /** The timer that is due first, whether it is due already or not. */
  async oldestTimer(): Promise<DueTimer | undefined> {
    return (await this.engine.nextTimers(1))[0];
  }

  async stop(): Promise<void> {
    if (this.#parts.registrations.length > 0) await this.#timers?.stop();
  }

  #purgeRegularly(engine: SagaEngine): void {
    const { clock, jobs, retentionMs, unitOfWork } = this.#parts;
    jobs.register('saga-retention', {
      intervalMs: PURGE_EVERY_MS,
      run: async () => {
        const endedBefore = clock.now() - retentionMs;
        return (await unitOfWork.run(() => engine.purge(endedBefore, PURGE_LIMIT))) === PURGE_LIMIT;
      },
    });
  }

  /** Those that wait for long are carried over to the newest version too, not only when something happens to them. */
  #migrateRegularly(engine: SagaEngine): void {
    const { jobs, unitOfWork } = this.#parts;
    jobs.register('saga-migration', {
      intervalMs: MIGRATE_EVERY_MS,
      run: async () => (await unitOfWork.run(() => engine.migrateOpen(MIGRATE_LIMIT))) > 0,
    });
  }

  #get<T>(token: InjectionToken): T {
    return this.#parts.moduleRef.get<T>(token as string, { strict: false });
  }

  /** Fires one timer, in the trace in which its saga was started. All of one object runs under its id. */
  #fire<T>(work: () => Promise<T>, { id, traceparent }: DueTimer): Promise<T> {
    return withSpan('saga timer', { parent: traceparent === null ? {} : { traceparent } }, () =>
      this.#parts.unitOfWork.run(work, { key: id }),
    );
  }

  #count({ saga, from, to, startedAt, before, history }: SagaChange): void {
    const { clock, metrics } = this.#parts;
    const ended = to !== from && (to === 'completed' || to === 'compensated' || to === 'parked');
    const steps = history.filter(({ kind, step }) => step !== null && stepOutcomes[kind] !== undefined);
    if (!ended && steps.length === 0) return;
    const now = clock.now();
    currentUnitOfWork()?.afterCommit(() => {
      for (const { kind, step } of steps) {
        // What runs within a unit of work takes no time of the saga's.
        const durationMs = kind === 'ran' ? 0 : now - before;
        metrics.sagaStepEnded(saga, step ?? '', stepOutcomes[kind] ?? kind, durationMs);
      }
      if (ended) metrics.sagaEnded(saga, to, now - startedAt);
    });
  }
}
