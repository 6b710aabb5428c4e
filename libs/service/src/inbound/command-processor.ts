import { createHash } from 'node:crypto';
import { BusinessError, failureBody, type AnyMessage } from '@flotilla/contracts-protocol';
import { UnknownMessageError, type IncomingMessage } from '@flotilla/messaging';
import { currentUnitOfWork, type InboxEntry, type UnitOfWork } from '@flotilla/persistence';
import type { FleetCommandBus } from '../cqrs/buses.ts';
import type { CommandRegistration, HandlerRegistry } from '../cqrs/handler-registry.ts';
import { onceMoreOnConflict } from '../sagas/once-more.ts';
import { TypeMismatchError } from '../service.errors.ts';
import { aboutOrder } from './handling.ts';

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

/** Called with a new answer inside its unit of work, to send what depends on it. */
export type OnAnswer = (answer: CommandAnswer) => void;

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
   * Runs the command's handler, or finds the answer of an earlier run. Throws technical failures; a refusal is an
   * answer.
   */
  async process(message: IncomingMessage, onAnswer: OnAnswer = () => undefined): Promise<ProcessedCommand> {
    const { registration, command } = this.prepare(message);
    return aboutOrder(command, () => {
      const unitOfWork = this.#unitOfWork;
      if (!unitOfWork) return this.#answer(command).then(first);
      const entry = inboxEntryOf(message);
      if (registration.outsideUnitOfWork) return this.#processOutside(unitOfWork, entry, command, onAnswer);
      return onceMoreOnConflict(() =>
        this.#processInside(unitOfWork, entry, registration, command, onAnswer),
      );
    });
  }

  /** The command of a message, and how it is run. Throws when there is no handler, or the message is not as it must be. */
  prepare(message: IncomingMessage): {
    readonly registration: CommandRegistration;
    readonly command: AnyMessage;
  } {
    const { type } = message.envelope;
    const registration = this.#handlers.commands.get(type);
    if (!registration) throw new UnknownMessageError(type, this.#service);
    // Who may publish to a subject may send that command, and must not smuggle another one in.
    if (!`${message.subject}.`.includes(`.${type}.`)) throw new TypeMismatchError(type, message.subject);
    return { registration, command: new registration.message(message.json() as never) };
  }

  /** Runs a command's handler in the unit of work of whoever calls; its reply, checked. */
  runHere(command: AnyMessage): Promise<unknown> {
    return this.#run(command);
  }

  /** The answer that a command got before; undefined if it was never handled to its end. */
  async earlierAnswer(message: IncomingMessage): Promise<CommandAnswer | undefined> {
    const earlier = await this.#unitOfWork?.findProcessed(inboxEntryOf(message));
    return earlier?.reply as CommandAnswer | undefined;
  }

  async #processInside(
    unitOfWork: UnitOfWork,
    entry: InboxEntry,
    { locks, independent }: CommandRegistration,
    command: AnyMessage,
    onAnswer: OnAnswer,
  ): Promise<ProcessedCommand> {
    let refusal: CommandAnswer | undefined;
    try {
      const processed = await unitOfWork.process(
        entry,
        async () => settle({ outcome: 'ok', body: await this.#run(command) }, onAnswer),
        {
          independent,
          ...(locks && { locks: locks(command) }),
          onRefusal: (error) => {
            refusal = settle(refusalAnswer(error), onAnswer);
          },
        },
      );
      return processed.duplicate ? replay(processed.reply) : first(processed.result);
    } catch (error) {
      // The unit committed the refusal before it reported it.
      if (isRefusal(error) && refusal) return first(refusal);
      throw error;
    }
  }

  async #processOutside(
    unitOfWork: UnitOfWork,
    entry: InboxEntry,
    command: AnyMessage,
    onAnswer: OnAnswer,
  ): Promise<ProcessedCommand> {
    const earlier = await unitOfWork.findProcessed(entry);
    if (earlier) return replay(earlier.reply);
    const answer = await this.#answer(command);
    // Writes the answer and nothing else.
    const processed = await unitOfWork.process(entry, () => Promise.resolve(settle(answer, onAnswer)), {
      independent: true,
    });
    return processed.duplicate ? replay(processed.reply) : first(answer);
  }

  async #answer(command: AnyMessage): Promise<CommandAnswer> {
    try {
      return { outcome: 'ok', body: await this.#run(command) };
    } catch (error) {
      if (isRefusal(error)) return refusalAnswer(error);
      throw error;
    }
  }

  /** The handler's reply, checked; null where the contract has none, because JSON has no undefined. */
  async #run(command: AnyMessage): Promise<unknown> {
    return (await this.#commands.executeHere(command)) ?? null;
  }
}

/** The hash covers the type too: one id for two kinds of command with like payloads is two commands, and refused. */
function inboxEntryOf({ envelope, body }: IncomingMessage): InboxEntry {
  return {
    consumer: COMMAND_INBOX,
    messageId: envelope.id,
    key: envelope.subject,
    payloadHash: createHash('sha256').update(`${envelope.type}\n`).update(body).digest('base64url'),
  };
}

/** Inside the unit of work of the answer: keeps it for duplicates, and sends what depends on it. */
function settle(answer: CommandAnswer, onAnswer: OnAnswer): CommandAnswer {
  currentUnitOfWork()?.remember(answer);
  onAnswer(answer);
  return answer;
}

function isRefusal(error: unknown): error is BusinessError {
  return error instanceof BusinessError;
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
