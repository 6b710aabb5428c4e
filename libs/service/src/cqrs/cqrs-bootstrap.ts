import type { ServiceManifest } from '@flotilla/contracts-protocol';
import type { OnApplicationBootstrap } from '@nestjs/common';
import type { CommandBus, QueryBus } from '@nestjs/cqrs';
import type { Projections } from '../projections/projections.ts';
import type { SagaHost } from '../sagas/saga-host.ts';
import type { ScheduleHost } from '../schedules/schedule-host.ts';
import { ManifestMismatchError } from '../service.errors.ts';
import type { HandlerRegistry } from './handler-registry.ts';

/** Registers the handlers of a service with its buses, as `CqrsModule` does for the buses of `@nestjs/cqrs`. */
export class CqrsBootstrap implements OnApplicationBootstrap {
  readonly #manifest: ServiceManifest;
  readonly #handlers: HandlerRegistry;
  readonly #commands: CommandBus;
  readonly #queries: QueryBus;
  readonly #sagas: SagaHost | undefined;
  readonly #schedules: ScheduleHost;
  readonly #projections: Projections | undefined;

  constructor(
    manifest: ServiceManifest,
    handlers: HandlerRegistry,
    commands: CommandBus,
    queries: QueryBus,
    sagas: SagaHost | undefined,
    schedules: ScheduleHost,
    projections: Projections | undefined,
  ) {
    this.#manifest = manifest;
    this.#handlers = handlers;
    this.#commands = commands;
    this.#queries = queries;
    this.#sagas = sagas;
    this.#schedules = schedules;
    this.#projections = projections;
  }

  /** Throws {@link ManifestMismatchError} with everything that the manifest and the code say differently. */
  onApplicationBootstrap(): void {
    const problems = [
      ...this.#handlers.explore(
        this.#manifest,
        this.#sagas?.reactions ?? new Set(),
        this.#projections?.reactions,
      ),
      ...(this.#sagas?.mismatches(this.#manifest) ?? []),
      ...this.#schedules.explore(),
      ...(this.#projections?.mismatches(this.#manifest) ?? []),
    ];
    if (problems.length > 0) throw new ManifestMismatchError(this.#manifest.name, problems);
    this.#commands.register(this.#handlers.commandHandlers);
    this.#queries.register(this.#handlers.queryHandlers);
    // Event handlers are not registered with the EventBus: they run after the commit, from the stream.
  }
}
