import { createHash } from 'node:crypto';
import {
  BusinessError,
  failureBody,
  InvalidReplyError,
  parseWith,
  type AnyMessage,
  type AnyMessageClass,
} from '@flotilla/contracts-protocol';
import { UnknownMessageError, type IncomingMessage } from '@flotilla/messaging';
import { currentUnitOfWork, type InboxEntry, type UnitOfWork } from '@flotilla/persistence';
import type { FleetCommandBus } from '../cqrs/buses.ts';
import type { CommandRegistration, HandlerRegistry } from '../cqrs/handler-registry.ts';

/** The inbox consumer of commands: one for requests and durable commands, so that an id is known on either way. */
export const COMMAND_INBOX = 'commands';

/** What a command was answered, as the inbox keeps it for the same command coming again. */
export interface CommandAnswer {
  readonly outcome: 'ok' | 'refused';
  /** The reply, or the refusal as a failure body. */
  readonly body: unknown;
}

/** An answer, and whether it is that of an earlier time. */
export interface ProcessedCommand extends CommandAnswer {
  readonly replayed: boolean;
}

/** Handles a command once, however often it comes: handler's changes, answer and outbox in one transaction. */
export class CommandProcessor {
  readonly #service: string;
  readonly #commands: FleetCommandBus;
  readonly #handlers: HandlerRegistry;
  readonly #unitOfWork: UnitOfWork | undefined;

  constructor(
    service: string,
    commands: FleetCommandBus,
    handlers: HandlerRegistry,
    unitOfWork: UnitOfWork | undefined,
  ) {
    this.#service = service;
    this.#commands = commands;
    this.#handlers = handlers;
    this.#unitOfWork = unitOfWork;
  }

  /**
   * Runs the command's handler, or finds the answer of an earlier run. `inUnit` is called with a new answer
   * inside its unit of work, to send what depends on it. Throws technical failures; a refusal is an answer.
   */
  async process(
    message: IncomingMessage,
    inUnit?: (answer: CommandAnswer) => void,
  ): Promise<ProcessedCommand> {
    const registration = this.#handlers.commands.get(message.envelope.type);
    if (!registration) throw new UnknownMessageError(message.envelope.type, this.#service);
    const command = new registration.message(message.json() as never);
    if (!this.#unitOfWork) return first(await this.#answer(registration.message, command));

    const entry: InboxEntry = {
      consumer: COMMAND_INBOX,
      messageId: message.envelope.id,
      key: message.envelope.subject,
      payloadHash: createHash('sha256').update(message.body).digest('base64url'),
    };
    return registration.outsideUnitOfWork
      ? this.#processOutside(this.#unitOfWork, entry, registration.message, command, inUnit)
      : this.#processInside(this.#unitOfWork, entry, registration, command, inUnit);
  }

  async #processInside(
    unitOfWork: UnitOfWork,
    entry: InboxEntry,
    { message, locks }: CommandRegistration,
    command: AnyMessage,
    inUnit: ((answer: CommandAnswer) => void) | undefined,
  ): Promise<ProcessedCommand> {
    let refusal: CommandAnswer | undefined;
    const settle = (answer: CommandAnswer): CommandAnswer => {
      currentUnitOfWork()?.remember(answer);
      inUnit?.(answer);
      return answer;
    };
    try {
      const processed = await unitOfWork.process(
        entry,
        async () => {
          const reply = await this.#commands.executeHere(command);
          return settle({ outcome: 'ok', body: checkedReply(message, reply) });
        },
        {
          ...(locks && { locks: locks(command) }),
          onRefusal: (error) => {
            refusal = settle(refusalAnswer(error));
          },
        },
      );
      return processed.duplicate ? replay(processed.reply) : first(processed.result);
    } catch (error) {
      // The unit committed the refusal before it reported it.
      if (error instanceof BusinessError && refusal) return first(refusal);
      throw error;
    }
  }

  async #processOutside(
    unitOfWork: UnitOfWork,
    entry: InboxEntry,
    message: AnyMessageClass,
    command: AnyMessage,
    inUnit: ((answer: CommandAnswer) => void) | undefined,
  ): Promise<ProcessedCommand> {
    const earlier = await unitOfWork.findProcessed(entry);
    if (earlier) return replay(earlier.reply);
    const answer = await this.#answer(message, command);
    const processed = await unitOfWork.process(entry, () => {
      currentUnitOfWork()?.remember(answer);
      inUnit?.(answer);
      return Promise.resolve(answer);
    });
    return processed.duplicate ? replay(processed.reply) : first(answer);
  }

  async #answer(message: AnyMessageClass, command: AnyMessage): Promise<CommandAnswer> {
    try {
      return { outcome: 'ok', body: checkedReply(message, await this.#commands.executeHere(command)) };
    } catch (error) {
      if (error instanceof BusinessError) return refusalAnswer(error);
      throw error;
    }
  }
}

function checkedReply({ contract }: AnyMessageClass, reply: unknown): unknown {
  if (contract.reply === undefined) return null;
  return parseWith(contract.reply, reply, (problems) => new InvalidReplyError(contract.type, problems));
}

function refusalAnswer(error: BusinessError): CommandAnswer {
  return { outcome: 'refused', body: failureBody(error) };
}

function first(answer: CommandAnswer): ProcessedCommand {
  return { ...answer, replayed: false };
}

function replay(remembered: unknown): ProcessedCommand {
  return { ...(remembered as CommandAnswer), replayed: true };
}
