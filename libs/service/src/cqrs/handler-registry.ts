import 'reflect-metadata';
import type { AnyMessageClass, ServiceManifest } from '@flotilla/contracts-protocol';
import type { ModulesContainer } from '@nestjs/core';
import type { InstanceWrapper } from '@nestjs/core/injector/instance-wrapper.js';
import type { ICommandHandler, IEventHandler, IQueryHandler } from '@nestjs/cqrs';
import { isIndependent, locksOf, reactionOf, runsOutsideUnitOfWork, type LockNames } from '../decorators.ts';

// The keys under which the decorators of @nestjs/cqrs keep what they were given; its package does not export them.
const COMMAND_HANDLER = '__commandHandler__';
const QUERY_HANDLER = '__queryHandler__';
const EVENTS_HANDLER = '__eventsHandler__';

/** A command handler and how it wants to be run. */
export interface CommandRegistration {
  readonly message: AnyMessageClass;
  readonly handler: string;
  readonly locks: LockNames | undefined;
  readonly outsideUnitOfWork: boolean;
  readonly independent: boolean;
}

/** An event handler of a reaction. */
export interface ReactionRegistration {
  readonly reaction: string;
  readonly events: readonly AnyMessageClass[];
  readonly handler: InstanceWrapper<IEventHandler>;
  readonly locks: LockNames | undefined;
  readonly outsideUnitOfWork: boolean;
  readonly independent: boolean;
}

/** All handlers of a service, found by the decorators of `@nestjs/cqrs` and checked against the manifest. */
export class HandlerRegistry {
  readonly commandHandlers: InstanceWrapper<ICommandHandler>[] = [];
  readonly queryHandlers: InstanceWrapper<IQueryHandler>[] = [];
  /** Command handlers by contract type. */
  readonly commands = new Map<string, CommandRegistration>();
  /** Queries by contract type. */
  readonly queries = new Map<string, AnyMessageClass>();
  /** By reaction name. */
  readonly reactions = new Map<string, ReactionRegistration[]>();
  readonly #modules: ModulesContainer;

  constructor(modules: ModulesContainer) {
    this.#modules = modules;
  }

  /**
   * Finds the handlers. `engineReactions` are the reactions that the saga engine serves, `projections` those of
   * projections. Returns everything that does not fit, a line each.
   */
  explore(
    manifest: ServiceManifest,
    engineReactions: ReadonlySet<string>,
    projections: ReadonlySet<string> = new Set(),
  ): string[] {
    const problems: string[] = [];
    for (const wrapper of this.#providers()) {
      const type = wrapper.metatype as object;
      const command = Reflect.getMetadata(COMMAND_HANDLER, type) as Partial<AnyMessageClass> | undefined;
      const query = Reflect.getMetadata(QUERY_HANDLER, type) as Partial<AnyMessageClass> | undefined;
      const events = Reflect.getMetadata(EVENTS_HANDLER, type) as Partial<AnyMessageClass>[] | undefined;
      if (command) this.#addCommand(wrapper as InstanceWrapper<ICommandHandler>, command, problems);
      if (query) this.#addQuery(wrapper as InstanceWrapper<IQueryHandler>, query, problems);
      if (events) this.#addReaction(wrapper as InstanceWrapper<IEventHandler>, events, problems);
    }
    this.#compare(manifest, engineReactions, projections, problems);
    return problems;
  }

  #providers(): InstanceWrapper[] {
    const found = new Map<unknown, InstanceWrapper>();
    for (const module of this.#modules.values()) {
      for (const wrapper of module.providers.values()) {
        // A module that is imported twice lists its providers twice.
        if (typeof wrapper.metatype === 'function' && !wrapper.inject) found.set(wrapper.metatype, wrapper);
      }
    }
    return [...found.values()];
  }

  #addCommand(
    wrapper: InstanceWrapper<ICommandHandler>,
    message: Partial<AnyMessageClass>,
    problems: string[],
  ): void {
    this.commandHandlers.push(wrapper);
    // A plain class never leaves the process.
    if (!message.contract) return;
    const { type } = message.contract;
    const existing = this.commands.get(type);
    if (existing) problems.push(`${type} has two handlers: ${existing.handler} and ${wrapper.name}`);
    this.commands.set(type, {
      message: message as AnyMessageClass,
      handler: String(wrapper.name),
      ...this.#waysOf(wrapper, problems),
    });
  }

  #addQuery(
    wrapper: InstanceWrapper<IQueryHandler>,
    message: Partial<AnyMessageClass>,
    problems: string[],
  ): void {
    this.queryHandlers.push(wrapper);
    // A plain class never leaves the process.
    if (!message.contract) return;
    const { type } = message.contract;
    if (this.queries.has(type)) problems.push(`${type} has two handlers`);
    this.queries.set(type, message as AnyMessageClass);
  }

  #addReaction(
    wrapper: InstanceWrapper<IEventHandler>,
    events: readonly Partial<AnyMessageClass>[],
    problems: string[],
  ): void {
    const reaction = reactionOf(wrapper.metatype as object);
    if (reaction === undefined) {
      problems.push(
        `${wrapper.name} handles events but has no @Reaction('name'): its subscription needs a lasting name`,
      );
      return;
    }
    const foreign = events.filter((event) => !event.contract);
    if (foreign.length > 0) {
      problems.push(`${wrapper.name} handles classes that are no contracts: declare them with defineEvent`);
      return;
    }
    const registered = this.reactions.get(reaction) ?? [];
    registered.push({
      reaction,
      events: events as AnyMessageClass[],
      handler: wrapper,
      ...this.#waysOf(wrapper, problems),
    });
    this.reactions.set(reaction, registered);
    if (!wrapper.isDependencyTreeStatic()) {
      problems.push(
        `${wrapper.name} is request-scoped, but events come without a request: give it the default scope`,
      );
    }
  }

  /** How a handler wants to be run. */
  #waysOf(
    wrapper: InstanceWrapper,
    problems: string[],
  ): Pick<CommandRegistration, 'locks' | 'outsideUnitOfWork' | 'independent'> {
    const locks = locksOf(wrapper.metatype as object);
    const outsideUnitOfWork = runsOutsideUnitOfWork(wrapper.metatype as object);
    if (locks && outsideUnitOfWork) {
      problems.push(
        `${wrapper.name} has @Locks and @OutsideUnitOfWork: locks last as long as a unit of work, and it has none`,
      );
    }
    if (outsideUnitOfWork && isIndependent(wrapper.metatype as object)) {
      problems.push(
        `${wrapper.name} has @Independent and @OutsideUnitOfWork: it has no unit of work to overlap`,
      );
    }
    return { locks, outsideUnitOfWork, independent: isIndependent(wrapper.metatype as object) };
  }

  #compare(
    manifest: ServiceManifest,
    engineReactions: ReadonlySet<string>,
    projections: ReadonlySet<string>,
    problems: string[],
  ): void {
    const answered = new Set(manifest.answers.map(({ contract }) => contract.type));
    for (const type of answered) {
      if (!this.commands.has(type) && !this.queries.has(type))
        problems.push(`${type} is listed but has no handler`);
    }
    for (const type of [...this.commands.keys(), ...this.queries.keys()]) {
      if (!answered.has(type))
        problems.push(`${type} has a handler but is not listed in handles or standsInFor`);
    }
    if (!manifest.database) this.#compareWithoutDatabase(manifest, problems);
    for (const name of engineReactions) {
      if (!(name in manifest.reacts)) problems.push(`reaction "${name}" of a saga is not listed in reacts`);
    }
    for (const [name, { events }] of Object.entries(manifest.reacts)) {
      const registered = this.reactions.get(name);
      if (engineReactions.has(name)) {
        if (registered)
          problems.push(`reacts.${name} goes to a saga: give its event handlers a reaction of their own`);
        continue;
      }
      if (projections.has(name)) {
        if (registered)
          problems.push(
            `reacts.${name} goes to a projection: give its event handlers a reaction of their own`,
          );
        continue;
      }
      if (!registered) {
        problems.push(`reacts.${name} is listed but has no @EventsHandler with @Reaction('${name}')`);
        continue;
      }
      const handled = new Map<string, number>();
      for (const { contract } of registered.flatMap((each) => each.events)) {
        handled.set(contract.type, (handled.get(contract.type) ?? 0) + 1);
      }
      for (const { contract } of events) {
        if (!handled.has(contract.type))
          problems.push(`reacts.${name} lists ${contract.type}, which no handler takes`);
        // One inbox row stands for one handling: two handlers of one event are two reactions.
        if ((handled.get(contract.type) ?? 0) > 1) {
          problems.push(
            `reacts.${name}: ${contract.type} has several handlers; give each a reaction of its own`,
          );
        }
        handled.delete(contract.type);
      }
      for (const type of handled.keys())
        problems.push(`${type} has a handler in reaction "${name}" but is not listed there`);
    }
    for (const name of this.reactions.keys()) {
      if (!(name in manifest.reacts)) problems.push(`@Reaction('${name}') is not listed in reacts`);
    }
  }

  #compareWithoutDatabase({ answers, sends, reacts, publishes }: ServiceManifest, problems: string[]): void {
    const commands = answers.filter(({ contract }) => contract.kind === 'command');
    for (const [list, entries] of Object.entries({
      commands,
      sends,
      publishes,
      reacts: Object.keys(reacts),
    })) {
      if (entries.length > 0)
        problems.push(`it has no database (database: false), and nothing durable (${list}) without one`);
    }
  }
}
