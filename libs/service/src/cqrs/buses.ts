import type { AnyMessage } from '@flotilla/contracts-protocol';
import { isMessage } from '@flotilla/contracts-protocol';
import { currentUnitOfWork, type UnitOfWork } from '@flotilla/persistence';
import type { ModuleRef } from '@nestjs/core';
import {
  CommandBus,
  QueryBus,
  type AsyncContext,
  type ICommand,
  type IEvent,
  type IEventPublisher,
  type IQuery,
} from '@nestjs/cqrs';
import { contractOf } from '@flotilla/contracts-protocol';
import type { OutgoingMessages } from '../outgoing.ts';
import { PublishOutsideUnitOfWorkError } from '../service.errors.ts';
import type { HandlerRegistry } from './handler-registry.ts';
import type { MessageRouter } from './message-router.ts';

/**
 * The `CommandBus` of a service. A command that the service answers runs here, in the current unit of work or
 * one of its own; any other is sent to its owner and waited for.
 */
export class FleetCommandBus extends CommandBus {
  readonly #router: MessageRouter;
  readonly #handlers: HandlerRegistry;
  readonly #unitOfWork: UnitOfWork | undefined;

  constructor(moduleRef: ModuleRef, router: MessageRouter, handlers: HandlerRegistry, unitOfWork: UnitOfWork | undefined) {
    super(moduleRef);
    this.#router = router;
    this.#handlers = handlers;
    this.#unitOfWork = unitOfWork;
  }

  // The base class has overloads that only a signature as wide as this one satisfies; callers see those overloads.
  override execute<R>(command: ICommand, context?: AsyncContext): Promise<R> {
    if (!this.#router.isLocal(command)) return this.#router.callRemote(command as AnyMessage) as Promise<R>;
    const run = (): Promise<R> => super.execute<ICommand, R>(command, context);
    const outside = isMessage(command) && this.#handlers.commands.get(contractOf(command).type)?.outsideUnitOfWork;
    return outside || !this.#unitOfWork ? run() : this.#unitOfWork.run(run);
  }

  /** Runs the handler of a command in whatever unit of work the caller has opened. */
  executeHere(command: AnyMessage): Promise<unknown> {
    return super.execute<ICommand, unknown>(command);
  }
}

/** The `QueryBus` of a service: queries that it answers run here, others are sent to their owner. */
export class FleetQueryBus extends QueryBus {
  readonly #router: MessageRouter;

  constructor(moduleRef: ModuleRef, router: MessageRouter) {
    super(moduleRef);
    this.#router = router;
  }

  override execute<R>(query: IQuery, context?: AsyncContext): Promise<R> {
    if (!this.#router.isLocal(query)) return this.#router.callRemote(query as AnyMessage) as Promise<R>;
    // The base class's overload for plain objects has no "or undefined".
    return context === undefined ? super.execute<IQuery, R>(query) : super.execute<IQuery, R>(query, context);
  }
}

/** Where the `EventBus` puts events: the outbox of the current unit of work. */
export class OutboxEventPublisher implements IEventPublisher {
  readonly #outgoing: OutgoingMessages;

  constructor(outgoing: OutgoingMessages) {
    this.#outgoing = outgoing;
  }

  publish(event: IEvent): void {
    const unit = currentUnitOfWork();
    if (!unit) throw new PublishOutsideUnitOfWorkError(isMessage(event) ? contractOf(event).type : event.constructor.name);
    unit.send(this.#outgoing.event(event as AnyMessage));
  }

  publishAll(events: IEvent[]): void {
    for (const event of events) this.publish(event);
  }
}
