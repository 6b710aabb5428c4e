import { contractOf, isMessage, type AnyMessage, type ServiceManifest } from '@flotilla/contracts-protocol';
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
import type { OutgoingMessages } from '../outgoing.ts';
import {
  OutsideHandlerInsideUnitOfWorkError,
  PublishOutsideUnitOfWorkError,
  UnlistedMessageError,
} from '../service.errors.ts';
import { checkedReply } from './checked-reply.ts';
import type { HandlerRegistry } from './handler-registry.ts';
import type { MessageRouter } from './message-router.ts';

/**
 * The `CommandBus` of a service. A command that the service answers runs here, in the current unit of work or
 * one of its own; any other is sent to its owner and waited for. Either way the caller gets the same reply.
 */
export class FleetCommandBus extends CommandBus {
  readonly #router: MessageRouter;
  readonly #handlers: HandlerRegistry;
  readonly #unitOfWork: UnitOfWork | undefined;

  constructor(
    moduleRef: ModuleRef,
    router: MessageRouter,
    handlers: HandlerRegistry,
    unitOfWork: UnitOfWork | undefined,
  ) {
    super(moduleRef);
    this.#router = router;
    this.#handlers = handlers;
    this.#unitOfWork = unitOfWork;
  }

  // The base class has overloads that only a signature as wide as this one satisfies; callers see those overloads.
  override async execute<R>(command: ICommand, context?: AsyncContext): Promise<R> {
    if (!this.#router.isLocal(command)) return (await this.#router.callRemote(command as AnyMessage)) as R;
    const run = (): Promise<R> => this.#runHere<R>(command, context);
    const unitOfWork = this.#unitOfWork;
    if (!isMessage(command)) return unitOfWork ? unitOfWork.run(run) : run();

    const contract = contractOf(command);
    const registration = this.#handlers.commands.get(contract.type);
    if (registration?.outsideUnitOfWork) {
      if (currentUnitOfWork()) throw new OutsideHandlerInsideUnitOfWorkError(contract.type);
      return run();
    }
    const key = contract.keyOf?.(command.payload as never);
    return unitOfWork
      ? unitOfWork.run(run, {
          ...(key !== undefined && { key }),
          independent: registration?.independent ?? false,
          ...(registration?.locks && { locks: registration.locks(command) }),
        })
      : run();
  }

  /** Runs the handler of a command in whatever unit of work the caller has opened. */
  executeHere(command: AnyMessage): Promise<unknown> {
    return this.#runHere(command);
  }

  async #runHere<R>(command: ICommand, context?: AsyncContext): Promise<R> {
    const reply = await super.execute<ICommand, R>(command, context);
    return isMessage(command) ? (checkedReply(contractOf(command), reply) as R) : reply;
  }
}

/** The `QueryBus` of a service: queries that it answers run here, others are sent to their owner. */
export class FleetQueryBus extends QueryBus {
  readonly #router: MessageRouter;

  constructor(moduleRef: ModuleRef, router: MessageRouter) {
    super(moduleRef);
    this.#router = router;
  }

  override async execute<R>(query: IQuery, context?: AsyncContext): Promise<R> {
    if (!this.#router.isLocal(query)) return (await this.#router.callRemote(query as AnyMessage)) as R;
    // The base class's overload for plain objects has no "or undefined".
    const result = await (context === undefined
      ? super.execute<IQuery, R>(query)
      : super.execute<IQuery, R>(query, context));
    return isMessage(query) ? (checkedReply(contractOf(query), result) as R) : result;
  }
}

/** Where the `EventBus` puts events: the outbox of the current unit of work. */
export class OutboxEventPublisher implements IEventPublisher {
  readonly #service: string;
  readonly #publishes: ReadonlySet<string>;
  readonly #outgoing: OutgoingMessages;

  constructor(manifest: ServiceManifest, outgoing: OutgoingMessages) {
    this.#service = manifest.name;
    this.#publishes = new Set(manifest.publishes.map(({ contract }) => contract.type));
    this.#outgoing = outgoing;
  }

  publish(event: IEvent): void {
    const { type } = contractOf(event);
    // The broker would refuse it, after the commit: too late for anybody to notice.
    if (!this.#publishes.has(type)) throw new UnlistedMessageError(type, this.#service, 'publishes');
    const unit = currentUnitOfWork();
    if (!unit) throw new PublishOutsideUnitOfWorkError(type);
    unit.send(this.#outgoing.event(event as AnyMessage));
  }

  publishAll(events: IEvent[]): void {
    for (const event of events) this.publish(event);
  }
}
