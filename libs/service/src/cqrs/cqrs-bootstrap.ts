import type { ServiceManifest } from '@flotilla/contracts-protocol';
import type { OnApplicationBootstrap } from '@nestjs/common';
import type { CommandBus, QueryBus } from '@nestjs/cqrs';
import type { HandlerRegistry } from './handler-registry.ts';

/** Registers the handlers of a service with its buses, as `CqrsModule` does for the buses of `@nestjs/cqrs`. */
export class CqrsBootstrap implements OnApplicationBootstrap {
  readonly #manifest: ServiceManifest;
  readonly #engineReactions: ReadonlySet<string>;
  readonly #handlers: HandlerRegistry;
  readonly #commands: CommandBus;
  readonly #queries: QueryBus;

  constructor(
    manifest: ServiceManifest,
    engineReactions: ReadonlySet<string>,
    handlers: HandlerRegistry,
    commands: CommandBus,
    queries: QueryBus,
  ) {
    this.#manifest = manifest;
    this.#engineReactions = engineReactions;
    this.#handlers = handlers;
    this.#commands = commands;
    this.#queries = queries;
  }

  onApplicationBootstrap(): void {
    this.#handlers.explore(this.#manifest, this.#engineReactions);
    this.#commands.register(this.#handlers.commandHandlers);
    this.#queries.register(this.#handlers.queryHandlers);
    // Event handlers are not registered with the EventBus: they run after the commit, from the stream.
  }
}
