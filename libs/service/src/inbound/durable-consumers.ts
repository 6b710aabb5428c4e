import {
  commandStream,
  eventStream,
  replyStream,
  type AnyMessage,
  type AnyMessageClass,
  type ServiceManifest,
} from '@flotilla/contracts-protocol';
import { deterministicId, errorCode } from '@flotilla/kernel';
import {
  commandConsumer,
  reactionConsumer,
  replyConsumer,
  UnknownMessageError,
  type Broker,
  type ConsumeOptions,
  type Consumption,
  type ConsumptionState,
  type Delivery,
  type IncomingMessage,
  type OutgoingReply,
} from '@flotilla/messaging';
import { currentUnitOfWork, type InboxEntry, type UnitOfWork } from '@flotilla/persistence';
import { SpanKind } from '@opentelemetry/api';
import type { HandlerRegistry, ReactionRegistration } from '../cqrs/handler-registry.ts';
import { durableReply, type OutgoingMessages } from '../outgoing.ts';
import type { Projections } from '../projections/projections.ts';
import type { CommandHandover, TakeReply } from '../sagas/command-handover.ts';
import { onceMoreOnConflict } from '../sagas/once-more.ts';
import type { SagaInbox } from '../sagas/saga-inbox.ts';
import type { CommandAnswer, CommandProcessor } from './command-processor.ts';
import { aboutOrder, type Handling } from './handling.ts';

/** The inbox consumer of saga replies. */
export const REPLY_INBOX = 'replies';

export interface DurableConsumersOptions {
  readonly manifest: ServiceManifest;
  readonly consume: Pick<
    ConsumeOptions,
    'maxInFlight' | 'maxAttempts' | 'backoff' | 'isOutage' | 'killSwitch'
  >;
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
  readonly #projections: Projections | undefined;
  readonly #handover: CommandHandover;
  readonly #options: DurableConsumersOptions;
  #replies: Consumption | undefined;
  readonly #running: {
    readonly stream: string;
    readonly consumer: string;
    readonly consumption: Consumption;
  }[] = [];

  constructor(
    broker: Broker,
    commands: CommandProcessor,
    handlers: HandlerRegistry,
    unitOfWork: UnitOfWork,
    outgoing: OutgoingMessages,
    handling: Handling,
    sagas: SagaInbox | undefined,
    projections: Projections | undefined,
    handover: CommandHandover,
    options: DurableConsumersOptions,
  ) {
    this.#broker = broker;
    this.#commands = commands;
    this.#handlers = handlers;
    this.#unitOfWork = unitOfWork;
    this.#outgoing = outgoing;
    this.#handling = handling;
    this.#sagas = sagas;
    this.#projections = projections;
    this.#handover = handover;
    this.#options = options;
  }

  async start(): Promise<Consumption[]> {
    const { manifest } = this.#options;
    const consumptions: Promise<Consumption>[] = [];
    const commandOwners = new Set(
      manifest.answers
        .filter(({ contract }) => contract.kind === 'command')
        .map(({ contract }) => contract.owner),
    );
    for (const owner of commandOwners) consumptions.push(this.#consumeCommands(owner));
    if (this.#sagas && manifest.sends.length > 0) {
      this.#replies = await this.#consumeReplies(this.#sagas);
      consumptions.push(Promise.resolve(this.#replies));
    }
    for (const [reaction, { events, ordered = false }] of Object.entries(manifest.reacts)) {
      for (const owner of new Set(events.map(({ contract }) => contract.owner))) {
        consumptions.push(this.#consumeEvents(reaction, owner, ordered));
      }
    }
    return Promise.all(consumptions);
  }

  /**
   * Whether more answers to sagas wait than are handled at a time, or none is taken because their handling fails: then
   * silence says nothing.
   */
  get repliesBehind(): boolean {
    const replies = this.#replies?.state();
    if (replies === undefined) return false;
    return replies.paused !== undefined || replies.pending > (this.#options.consume.maxInFlight ?? 0);
  }

  /** How each durable subscription of this process does. */
  states(): ConsumerState[] {
    return this.#running.map(({ stream, consumer, consumption }) => ({
      stream,
      consumer,
      ...consumption.state(),
    }));
  }

  /** Has a paused consumer, or all of them, try a message now; says how many were paused. */
  probe(consumer?: string): number {
    return this.#eachPaused(consumer, (consumption) => consumption.probeNow());
  }

  /** Has a paused consumer, or all of them, go on without a try; says how many were paused. */
  resume(consumer?: string): number {
    return this.#eachPaused(consumer, (consumption) => consumption.resume());
  }

  #eachPaused(consumer: string | undefined, act: (consumption: Consumption) => void): number {
    const paused = this.#running.filter(
      (each) =>
        (consumer === undefined || each.consumer === consumer) &&
        each.consumption.state().paused !== undefined,
    );
    for (const { consumption } of paused) act(consumption);
    return paused.length;
  }

  async #consume(
    stream: string,
    consumer: string,
    options: ConsumeOptions,
    handler: (delivery: Delivery) => Promise<void>,
  ): Promise<Consumption> {
    const consumption = await this.#broker.consume({ stream, name: consumer }, options, handler);
    this.#running.push({ stream, consumer, consumption });
    return consumption;
  }

  #consumeCommands(owner: string): Promise<Consumption> {
    const name = commandConsumer(this.#options.manifest.name);
    return this.#consume(
      commandStream(owner),
      name,
      {
        ...this.#options.consume,
        // A saga that waits for a command which nobody could handle has to know.
        onDeadLetter: (delivery, error) =>
          this.#handling.inContextOf(
            delivery.message,
            { operation: 'give up', handler: name, kind: SpanKind.CONSUMER },
            () => this.#reportFailure(delivery, error),
          ),
      },
      async (delivery) => {
        const { message } = delivery;
        await this.#handling.run(
          message,
          { handler: name, outcomeOf: ({ outcome, replayed }) => (replayed ? 'duplicate' : outcome) },
          async () => {
            const reply = (id: string, { outcome, body }: CommandAnswer): void =>
              this.#send(delivery, id, this.#outgoing.reply(message.envelope, id, outcome, body));
            const id = replyIdOf(delivery);
            const answer = await this.#commands.process(message, (first) => reply(id, first));
            // Handled before: whoever sent it again waits for an answer again.
            if (answer.replayed) await this.#unitOfWork.run(() => Promise.resolve(reply(id, answer)));
            return answer;
          },
        );
      },
    );
  }

  /** Puts an answer, if one is wanted, into the outbox of the current unit of work. */
  #send({ message }: Delivery, id: string, reply: OutgoingReply): void {
    const outgoing = durableReply(message, id, reply);
    if (outgoing) currentUnitOfWork()?.send(outgoing);
  }

  async #reportFailure(delivery: Delivery, error: unknown): Promise<void> {
    const { message } = delivery;
    if (message.envelope.replyTo === undefined) return;
    // It was handled, and only never acknowledged: its answer left with its changes, and a failure would be a lie.
    if (errorCode(error) !== 'IDEMPOTENCY_CONFLICT' && (await this.#commands.earlierAnswer(message))) return;
    const id = deterministicId(replyIdOf(delivery), 'failed');
    await this.#unitOfWork.run(() =>
      Promise.resolve(
        this.#send(delivery, id, this.#outgoing.failedReply(message.envelope, id, error, 'never')),
      ),
    );
  }

  async #consumeReplies(sagas: SagaInbox): Promise<Consumption> {
    const service = this.#options.manifest.name;
    const take = this.#takeReply(sagas);
    const consumption = await this.#consume(
      replyStream(service),
      replyConsumer(service),
      this.#options.consume,
      ({ message }) => take(message),
    );
    this.#handover.start(take);
    return {
      state: () => consumption.state(),
      setMaxInFlight: (maxInFlight) => consumption.setMaxInFlight(maxInFlight),
      probeNow: () => consumption.probeNow(),
      resume: () => consumption.resume(),
      stop: (options) => {
        this.#handover.stop();
        return consumption.stop(options);
      },
    };
  }

  /** Answers from the stream, and those that came straight back. */
  #takeReply(sagas: SagaInbox): TakeReply {
    const handler = replyConsumer(this.#options.manifest.name);
    return async (message) => {
      await this.#handling.run(message, { handler, outcomeOf: duplicateOrOk }, () =>
        this.#reply(sagas, message),
      );
    };
  }

  /**
   * A saga knows by itself an answer that it has taken: the command is no longer the one in flight. Only what may be
   * answered more than once under one command id, a failure that is tried again, needs a row in the inbox.
   */
  async #reply(sagas: SagaInbox, message: IncomingMessage): Promise<Handled> {
    const { id, outcome } = message.envelope;
    const key = sagas.instanceOf(message);
    if (outcome !== 'ok') {
      const entry = { consumer: REPLY_INBOX, messageId: id, key };
      return onceMoreOnConflict(() => this.#unitOfWork.process(entry, () => sagas.reply(message), SAGA_UNIT));
    }
    await onceMoreOnConflict(() => this.#unitOfWork.run(() => sagas.reply(message), { ...SAGA_UNIT, key }));
    return { duplicate: false };
  }

  #consumeEvents(reaction: string, owner: string, ordered: boolean): Promise<Consumption> {
    const name = reactionConsumer(this.#options.manifest.name, reaction);
    const handle = this.#handlerOf(reaction);
    const options = { ...this.#options.consume, ordered };
    return this.#consume(eventStream(owner), name, options, async ({ message }) => {
      await this.#handling.run(message, { handler: name, outcomeOf: duplicateOrOk }, () => handle(message));
    });
  }

  #handlerOf(reaction: string): HandleEvent {
    if (this.#sagas?.reactions.has(reaction)) return this.#sagaReaction(reaction, this.#sagas);
    if (this.#projections?.reactions.has(reaction)) return this.#projections.handlerOf(reaction);
    return this.#handlerReaction(reaction);
  }

  #sagaReaction(reaction: string, sagas: SagaInbox): HandleEvent {
    const events = byType(this.#options.manifest.reacts[reaction]?.events ?? []);
    return async (message) => {
      const { envelope } = message;
      const type = events.get(envelope.type);
      if (!type) throw new UnknownMessageError(envelope.type, reaction);
      const event = new type(message.json() as never);
      return this.#unitOfWork.process(
        { consumer: reaction, messageId: envelope.id, key: envelope.subject },
        () => sagas.event(envelope, event),
        SAGA_UNIT,
      );
    };
  }

  #handlerReaction(reaction: string): HandleEvent {
    const routes = new Map<string, { type: AnyMessageClass; registration: ReactionRegistration }>();
    for (const registration of this.#handlers.reactions.get(reaction) ?? []) {
      for (const type of registration.events) routes.set(type.contract.type, { type, registration });
    }
    return async (message) => {
      const { envelope } = message;
      const route = routes.get(envelope.type);
      if (!route) throw new UnknownMessageError(envelope.type, reaction);
      const { type, registration } = route;
      const event = new type(message.json() as never);
      const entry: InboxEntry = { consumer: reaction, messageId: envelope.id, key: envelope.subject };
      return aboutOrder(event, () => this.#react(entry, registration, event));
    };
  }

  async #react(entry: InboxEntry, registration: ReactionRegistration, event: AnyMessage): Promise<Handled> {
    const { handler, locks, independent, outsideUnitOfWork } = registration;
    // Event handlers are static providers: the wrapper's instance is the one of the application.
    const handle = async (): Promise<void> => {
      await handler.instance.handle(event);
    };
    if (!outsideUnitOfWork) {
      return this.#unitOfWork.process(entry, handle, {
        independent,
        ...(locks && { locks: locks(event) }),
      });
    }
    if (await this.#unitOfWork.findProcessed(entry)) return { duplicate: true };
    await handle();
    return this.#unitOfWork.process(entry, () => Promise.resolve(), { independent: true });
  }
}

/** A saga touches its instance and its business object, and nothing of another's. */
const SAGA_UNIT = { independent: true };

/** A durable subscription of one process. */
export interface ConsumerState extends ConsumptionState {
  readonly stream: string;
  readonly consumer: string;
}

export interface Handled {
  readonly duplicate: boolean;
}

export type HandleEvent = (message: IncomingMessage) => Promise<Handled>;

function duplicateOrOk({ duplicate }: Handled): string {
  return duplicate ? 'duplicate' : 'ok';
}

/**
 * One answer for each stored message: a second delivery of it gives the answer that the broker and the saga know, a
 * second sending of the command one of its own, because its sender may have lost the first.
 */
function replyIdOf({ message, stream, sequence }: Delivery): string {
  return deterministicId(message.envelope.id, 'reply', stream, sequence);
}

function byType(classes: readonly AnyMessageClass[]): Map<string, AnyMessageClass> {
  return new Map(classes.map((each) => [each.contract.type, each]));
}
