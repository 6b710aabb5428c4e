import { BusinessError, failureBody, rpcSubject, type AnyMessageClass } from '@flotilla/contracts-protocol';
import { errorCode, errorMessage, newId } from '@flotilla/kernel';
import type { Broker, IncomingMessage, OutgoingReply, Serving } from '@flotilla/messaging';
import { Logger } from '@nestjs/common';
import { SpanKind } from '@opentelemetry/api';
import type { FleetQueryBus } from '../cqrs/buses.ts';
import type { HandlerRegistry } from '../cqrs/handler-registry.ts';
import type { OutgoingMessages } from '../outgoing.ts';
import type { CommandProcessor, ProcessedCommand } from './command-processor.ts';
import { aboutOrder, type Handling } from './handling.ts';
import { TypeMismatchError } from '../service.errors.ts';

export interface RequestServerOptions {
  readonly service: string;
  /** Requests per subject that are handled at a time; more are answered OVERLOADED. */
  readonly maxInFlight: number;
}

/** Failures that only the caller can mend: no fault of this service. */
const CALLERS_FAULTS: ReadonlySet<string> = new Set([
  'INVALID_MESSAGE',
  'IDEMPOTENCY_CONFLICT',
  'UNDECODABLE_MESSAGE',
]);

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

  /** Begins to answer; the results stop it. */
  async start(answers: readonly AnyMessageClass[]): Promise<Serving[]> {
    const { service, maxInFlight } = this.#options;
    return Promise.all(
      answers.map(({ contract }) =>
        this.#broker.serve(rpcSubject(contract), { queue: service, maxInFlight }, (message) =>
          this.#answer(message, contract.type),
        ),
      ),
    );
  }

  async #answer(message: IncomingMessage, type: string): Promise<OutgoingReply> {
    const { envelope } = message;
    try {
      if (envelope.type !== type) throw new TypeMismatchError(envelope.type, message.subject);
      const { reply } = await this.#handling.run(
        message,
        {
          handler: 'requests',
          kind: SpanKind.SERVER,
          outcomeOf: (answer) => (answer.replayed ? 'duplicate' : answer.outcome),
        },
        async () => {
          const { outcome, body, replayed } = await this.#handle(message);
          // Made here, where it gets the trace of the request: the answer to a saga's command goes on from it.
          const reply = this.#outgoing.reply(envelope, newId(), outcome, body, replayed);
          return { outcome, replayed, reply };
        },
      );
      return reply;
    } catch (error) {
      return this.#outgoing.failedReply(envelope, newId(), error);
    }
  }

  async #handle(message: IncomingMessage): Promise<ProcessedCommand> {
    const { type } = message.envelope;
    try {
      const queryType = this.#handlers.queries.get(type);
      if (!queryType) return await this.#commands.process(message);
      const query = new queryType(message.json() as never);
      const body = await aboutOrder(query, () => this.#queries.execute<unknown>(query));
      return { outcome: 'ok', body, replayed: false };
    } catch (error) {
      if (error instanceof BusinessError && this.#handlers.queries.has(type))
        return { outcome: 'refused', body: failureBody(error), replayed: false };
      // Said here, where the line gets the trace of the request.
      const level = CALLERS_FAULTS.has(errorCode(error)) ? 'warn' : 'error';
      this.#logger[level]({ msg: `${type} failed: ${errorMessage(error)}`, err: error });
      throw error;
    }
  }
}
