import {
  commandStream,
  eventStream,
  failureBody,
  replyStream,
  type AnyMessageClass,
  type ServiceManifest,
} from '@flotilla/contracts-protocol';
import { deterministicId, errorCode, errorMessage } from '@flotilla/kernel';
import {
  commandConsumer,
  reactionConsumer,
  replyConsumer,
  UnknownMessageError,
  type Broker,
  type ConsumeOptions,
  type Consumption,
  type Delivery,
} from '@flotilla/messaging';
import { currentUnitOfWork, type InboxEntry, type UnitOfWork } from '@flotilla/persistence';
import type { IEvent } from '@nestjs/cqrs';
import type { HandlerRegistry, ReactionRegistration } from '../cqrs/handler-registry.ts';
import { durableReply, type OutgoingMessages } from '../outgoing.ts';
import type { SagaInbox } from '../sagas/saga-inbox.ts';
import type { CommandProcessor } from './command-processor.ts';
import type { Handling } from './handling.ts';

/** The inbox consumer of saga replies. */
const REPLY_INBOX = 'replies';

export interface DurableConsumersOptions {
  readonly manifest: ServiceManifest;
  readonly consume: Pick<ConsumeOptions, 'maxInFlight' | 'maxAttempts' | 'backoff'>;
}

/** Runs all durable subscriptions of a service: its commands, its reactions to events, its sagas' replies. */
export class DurableConsumers {
  readonly #broker: Broker;
  readonly #commands: CommandProcessor;
  readonly #handlers: HandlerRegistry;
  readonly #unitOfWork: UnitOfWork;
  readonly #outgoing: OutgoingMessages;
  readonly #handling: Handling;
  readonly #sagas: SagaInbox | undefined;
  readonly #options: DurableConsumersOptions;

  constructor(
    broker: Broker,
    commands: CommandProcessor,
    handlers: HandlerRegistry,
    unitOfWork: UnitOfWork,
    outgoing: OutgoingMessages,
    handling: Handling,
    sagas: SagaInbox | undefined,
    options: DurableConsumersOptions,
  ) {
    this.#broker = broker;
    this.#commands = commands;
    this.#handlers = handlers;
    this.#unitOfWork = unitOfWork;
    this.#outgoing = outgoing;
    this.#handling = handling;
    this.#sagas = sagas;
    this.#options = options;
  }

  async start(): Promise<Consumption[]> {
    const { manifest } = this.#options;
    const consumptions: Promise<Consumption>[] = [];
    const commandOwners = new Set(
      manifest.answers.filter(({ contract }) => contract.kind === 'command').map(({ contract }) => contract.owner),
    );
    for (const owner of commandOwners) consumptions.push(this.#consumeCommands(owner));
    if (this.#sagas && manifest.sends.length > 0) consumptions.push(this.#consumeReplies(this.#sagas));
    for (const [reaction, { events, ordered = false }] of Object.entries(manifest.reacts)) {
      for (const owner of new Set(events.map(({ contract }) => contract.owner))) {
        consumptions.push(this.#consumeEvents(reaction, owner, ordered));
      }
    }
    return Promise.all(consumptions);
  }

  #consumeCommands(owner: string): Promise<Consumption> {
    const name = commandConsumer(this.#options.manifest.name);
    return this.#broker.consume(
      { stream: commandStream(owner), name },
      {
        ...this.#options.consume,
        // A saga that waits for a command which nobody could handle has to know.
        onDeadLetter: (delivery, error) => this.#reportFailure(delivery, error),
      },
      ({ message }) =>
        this.#handling.run(message, name, async () => {
          const replyId = deterministicId(message.envelope.id, 'reply');
          let replied = false;
          const answer = await this.#commands.process(message, ({ outcome, body }) => {
            replied = true;
            const reply = durableReply(this.#outgoing, message, replyId, outcome, body);
            if (reply) currentUnitOfWork()?.send(reply);
          });
          // Handled before: the sender asks again, so its answer goes out again, under the same id.
          const again = replied ? undefined : durableReply(this.#outgoing, message, replyId, answer.outcome, answer.body);
          if (again) await this.#unitOfWork.run(() => Promise.resolve(currentUnitOfWork()?.send(again)));
        }),
    );
  }

  async #reportFailure({ message, attempt }: Delivery, error: unknown): Promise<void> {
    const reply = durableReply(
      this.#outgoing,
      message,
      deterministicId(message.envelope.id, 'failed', attempt),
      'failed',
      failureBody({ code: errorCode(error), message: errorMessage(error), retry: 'never' }),
    );
    if (reply) await this.#unitOfWork.run(() => Promise.resolve(currentUnitOfWork()?.send(reply)));
  }

  #consumeReplies(sagas: SagaInbox): Promise<Consumption> {
    const service = this.#options.manifest.name;
    const name = replyConsumer(service);
    return this.#broker.consume({ stream: replyStream(service), name }, this.#options.consume, ({ message }) =>
      this.#handling.run(message, name, async () => {
        await this.#unitOfWork.process(
          { consumer: REPLY_INBOX, messageId: message.envelope.id, key: sagas.instanceOf(message) },
          () => sagas.reply(message),
        );
      }),
    );
  }

  #consumeEvents(reaction: string, owner: string, ordered: boolean): Promise<Consumption> {
    const name = reactionConsumer(this.#options.manifest.name, reaction);
    const handle = this.#sagas?.reactions.has(reaction)
      ? this.#sagaReaction(reaction, this.#sagas)
      : this.#handlerReaction(reaction);
    return this.#broker.consume({ stream: eventStream(owner), name }, { ...this.#options.consume, ordered }, (delivery) =>
      this.#handling.run(delivery.message, name, () => handle(delivery)),
    );
  }

  #sagaReaction(reaction: string, sagas: SagaInbox): (delivery: Delivery) => Promise<void> {
    const events = byType(this.#options.manifest.reacts[reaction]?.events ?? []);
    return async ({ message }) => {
      const { envelope } = message;
      const type = events.get(envelope.type);
      if (!type) throw new UnknownMessageError(envelope.type, reaction);
      const event = new type(message.json() as never);
      await this.#unitOfWork.process({ consumer: reaction, messageId: envelope.id, key: envelope.subject }, () =>
        sagas.event(envelope, event),
      );
    };
  }

  #handlerReaction(reaction: string): (delivery: Delivery) => Promise<void> {
    const routes = new Map<string, { type: AnyMessageClass; registration: ReactionRegistration }>();
    for (const registration of this.#handlers.reactions.get(reaction) ?? []) {
      for (const type of registration.events) routes.set(type.contract.type, { type, registration });
    }
    return async ({ message }) => {
      const { envelope } = message;
      const route = routes.get(envelope.type);
      if (!route) throw new UnknownMessageError(envelope.type, reaction);
      const { type, registration } = route;
      const event = new type(message.json() as never);
      const entry: InboxEntry = { consumer: reaction, messageId: envelope.id, key: envelope.subject };
      const { locks } = registration;
      // Event handlers are static providers: the registry's instance is the one of the application.
      const handle = async (): Promise<void> => {
        await registration.handler.instance.handle(event as IEvent);
      };
      if (!registration.outsideUnitOfWork) {
        await this.#unitOfWork.process(entry, handle, locks ? { locks: locks(event) } : {});
      } else if (!(await this.#unitOfWork.findProcessed(entry))) {
        await handle();
        await this.#unitOfWork.process(entry, () => Promise.resolve());
      }
    };
  }
}

function byType(classes: readonly AnyMessageClass[]): Map<string, AnyMessageClass> {
  return new Map(classes.map((each) => [each.contract.type, each]));
}
