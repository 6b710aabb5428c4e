import {
  BusinessError,
  failureBody,
  InvalidReplyError,
  parseWith,
  rpcSubject,
  type AnyMessageClass,
} from '@flotilla/contracts-protocol';
import { errorCode, errorMessage, FlotillaError, newId } from '@flotilla/kernel';
import { UnknownMessageError, type Broker, type IncomingMessage, type OutgoingReply, type Stoppable } from '@flotilla/messaging';
import { Logger } from '@nestjs/common';
import type { FleetQueryBus } from '../cqrs/buses.ts';
import type { HandlerRegistry } from '../cqrs/handler-registry.ts';
import type { OutgoingMessages } from '../outgoing.ts';
import type { CommandProcessor, ProcessedCommand } from './command-processor.ts';
import type { Handling } from './handling.ts';

export interface RequestServerOptions {
  readonly service: string;
  /** Requests per subject that are handled at a time; more are answered OVERLOADED. */
  readonly maxInFlight: number;
}

/** Answers requests (core NATS) for every command and query of the service. */
export class RequestServer {
  readonly #logger = new Logger(RequestServer.name);
  readonly #broker: Broker;
  readonly #commands: CommandProcessor;
  readonly #queries: FleetQueryBus;
  readonly #handlers: HandlerRegistry;
  readonly #outgoing: OutgoingMessages;
  readonly #handling: Handling;
  readonly #options: RequestServerOptions;

  constructor(
    broker: Broker,
    commands: CommandProcessor,
    queries: FleetQueryBus,
    handlers: HandlerRegistry,
    outgoing: OutgoingMessages,
    handling: Handling,
    options: RequestServerOptions,
  ) {
    this.#broker = broker;
    this.#commands = commands;
    this.#queries = queries;
    this.#handlers = handlers;
    this.#outgoing = outgoing;
    this.#handling = handling;
    this.#options = options;
  }

  /** Begins to answer; the result stops it. */
  async start(answers: readonly AnyMessageClass[]): Promise<Stoppable[]> {
    const { service, maxInFlight } = this.#options;
    return Promise.all(
      answers.map(({ contract }) =>
        this.#broker.serve(rpcSubject(contract), { queue: service, maxInFlight }, (message) => this.#answer(message)),
      ),
    );
  }

  async #answer(message: IncomingMessage): Promise<OutgoingReply> {
    const { envelope } = message;
    try {
      const { reply } = await this.#handling.run(
        message,
        'requests',
        async () => {
          const { outcome, body, replayed } = this.#handlers.queries.has(envelope.type)
            ? await this.#query(message)
            : await this.#commands.process(message);
          return { outcome, reply: this.#outgoing.reply(envelope, newId(), outcome, body, replayed) };
        },
        ({ outcome }) => outcome,
      );
      return reply;
    } catch (error) {
      const retry = error instanceof FlotillaError ? error.retry : 'later';
      this.#logger.error({ err: error, type: envelope.type, messageId: envelope.id }, `${envelope.type} failed`);
      const failure = failureBody({ code: errorCode(error), message: errorMessage(error), retry });
      return this.#outgoing.reply(envelope, newId(), 'failed', failure);
    }
  }

  async #query(message: IncomingMessage): Promise<ProcessedCommand> {
    const type = this.#handlers.queries.get(message.envelope.type);
    if (!type) throw new UnknownMessageError(message.envelope.type, this.#options.service);
    const { contract } = type;
    try {
      const query = new type(message.json() as never);
      const result = await this.#queries.execute<unknown>(query);
      const body =
        contract.reply && parseWith(contract.reply, result, (problems) => new InvalidReplyError(contract.type, problems));
      return { outcome: 'ok', body, replayed: false };
    } catch (error) {
      if (error instanceof BusinessError) return { outcome: 'refused', body: failureBody(error), replayed: false };
      throw error;
    }
  }
}
