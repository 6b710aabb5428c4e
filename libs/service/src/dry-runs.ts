import {
  type BusinessError,
  failureBody,
  InvalidMessageError,
  parseWith,
  patternRoute,
  type AnyMessage,
  type ServiceManifest,
} from '@flotilla/contracts-protocol';
import { errorCode, errorMessage, newId, type Clock } from '@flotilla/kernel';
import {
  commandConsumer,
  decodeMessage,
  patternConsumer,
  reactionConsumer,
  UnknownMessageError,
  type Broker,
  type IncomingMessage,
  type OutgoingReply,
  type Stoppable,
} from '@flotilla/messaging';
import {
  currentUnitOfWork,
  rehearse,
  type Rehearsal,
  type TableChange,
  type UnitOfWork,
} from '@flotilla/persistence';
import { Logger } from '@nestjs/common';
import { SpanKind } from '@opentelemetry/api';
import type { DataSource } from 'typeorm';
import { z } from 'zod';
import type { HandlerRegistry } from './cqrs/handler-registry.ts';
import { COMMAND_INBOX, type CommandAnswer, type CommandProcessor } from './inbound/command-processor.ts';
import { REPLY_INBOX } from './inbound/durable-consumers.ts';
import { aboutOrder, type Handling } from './inbound/handling.ts';
import { durableReply, type OutgoingMessages } from './outgoing.ts';
import type { Projections } from './projections/projections.ts';
import type { SagaInbox } from './sagas/saga-inbox.ts';

const request = z.object({
  consumer: z.string().min(1),
  subject: z.string().min(1),
  headers: z.record(z.string(), z.string()),
  /** As it is in the message; what is no text cannot be rehearsed, nor handled. */
  body: z.string(),
});

/** A message that a handler would send. */
export interface RehearsedMessage {
  readonly subject: string;
  readonly type: string;
  readonly key: string;
  readonly body: unknown;
}

/** What a service says of handling a message without doing it. */
export type DryRunReport =
  | { readonly possible: false; readonly why: string }
  | {
      readonly possible: true;
      /** It was handled before: the handler is not run, here or when it comes again. */
      readonly handledBefore: boolean;
      readonly outcome: 'ok' | 'refused' | 'failed';
      /** The reply of a command. */
      readonly reply?: unknown;
      readonly error?: { readonly code: string; readonly message: string };
      readonly tables: readonly TableChange[];
      readonly messages: readonly RehearsedMessage[];
      /** Actions after the commit, such as waking a job: none was done. */
      readonly afterCommit: number;
    };

export interface DryRunsParts {
  readonly manifest: ServiceManifest;
  readonly broker: Broker;
  readonly dataSource: DataSource;
  readonly unitOfWork: UnitOfWork;
  readonly commands: CommandProcessor;
  readonly handlers: HandlerRegistry;
  readonly sagas: SagaInbox;
  readonly projections: Projections;
  readonly outgoing: OutgoingMessages;
  readonly handling: Handling;
  readonly clock: Clock;
}

/** The subject on which a service rehearses the handling of a message. */
export function dryRunSubject(service: string): string {
  return `ops.${service}.dry-run`;
}

/** How a message would be handled: what was prepared is run in a unit of work that is undone. */
interface Plan {
  /** The inbox entry that tells whether it was handled before, if there is one. */
  readonly inbox?: string;
  readonly locks?: readonly string[];
  readonly run: () => Promise<unknown>;
  readonly onRefusal?: (error: BusinessError) => void;
}

/** One at a time: each holds the locks of its rows until it is over. */
const AT_A_TIME = 1;

/**
 * Rehearses the handling of messages for operators: `{ consumer, subject, headers, body }` runs the real handler in a
 * transaction that is undone. Handlers that reach outside of their unit of work are not run.
 */
export class DryRuns {
  readonly #parts: DryRunsParts;
  readonly #logger = new Logger(DryRuns.name);

  constructor(parts: DryRunsParts) {
    this.#parts = parts;
  }

  start(): Promise<Stoppable> {
    const { broker, manifest } = this.#parts;
    return broker.serve(
      dryRunSubject(manifest.name),
      { queue: manifest.name, maxInFlight: AT_A_TIME },
      (message) => this.#answer(message),
    );
  }

  async #answer(message: IncomingMessage): Promise<OutgoingReply> {
    const { outgoing, manifest } = this.#parts;
    try {
      const asked = parseWith(
        request,
        message.json(),
        (problems) => new InvalidMessageError(dryRunSubject(manifest.name), problems),
      );
      const about = decodeMessage(asked.subject, asked.headers, new TextEncoder().encode(asked.body));
      return outgoing.reply(message.envelope, newId(), 'ok', await this.#report(asked.consumer, about));
    } catch (error) {
      this.#logger.warn({ msg: `A dry run failed: ${errorMessage(error)}`, err: error });
      return outgoing.failedReply(message.envelope, newId(), error);
    }
  }

  async #report(consumer: string, message: IncomingMessage): Promise<DryRunReport> {
    const { handling, dataSource, clock } = this.#parts;
    return handling.inContextOf(
      message,
      { operation: 'rehearse', handler: consumer, kind: SpanKind.SERVER },
      async () => {
        let plan: Plan | string;
        try {
          plan = this.#plan(consumer, message);
        } catch (error) {
          return failure(error);
        }
        if (typeof plan === 'string') return { possible: false, why: plan };
        if (plan.inbox !== undefined && (await this.#handledBefore(plan.inbox, message)))
          return { ...nothing, handledBefore: true };
        return reportOf(
          await rehearse(dataSource, plan.run, {
            clock,
            ...(plan.locks && { locks: plan.locks }),
            ...(plan.onRefusal && { onRefusal: plan.onRefusal }),
          }),
        );
      },
    );
  }

  /** A text says why it cannot be rehearsed. */
  #plan(consumer: string, message: IncomingMessage): Plan | string {
    const { manifest, sagas } = this.#parts;
    const { name, reacts, patterns } = manifest;
    if (consumer === commandConsumer(name) && message.subject.startsWith('cmd.'))
      return this.#planCommand(message);
    if (consumer === commandConsumer(name) && message.subject.startsWith('reply.')) {
      const outcome = message.envelope.outcome ?? 'ok';
      return { ...(outcome !== 'ok' && { inbox: REPLY_INBOX }), run: () => sagas.reply(message) };
    }
    for (const reaction of Object.keys(reacts)) {
      if (consumer === reactionConsumer(name, reaction)) return this.#planReaction(reaction, message);
    }
    if (patterns.reacts.some((pattern) => patternConsumer(name, patternRoute(pattern)) === consumer))
      return `${consumer} is an @EventPattern of a controller: it runs outside of a unit of work, and what it does cannot be undone`;
    throw new UnknownMessageError(message.envelope.type, consumer);
  }

  #planCommand(message: IncomingMessage): Plan | string {
    const { commands, outgoing } = this.#parts;
    const { registration, command } = commands.prepare(message);
    if (registration.outsideUnitOfWork) return outside(registration.handler);
    const answer = ({ outcome, body }: CommandAnswer): void => {
      const id = newId();
      const reply = durableReply(message, id, outgoing.reply(message.envelope, id, outcome, body));
      if (reply) currentUnitOfWork()?.send(reply);
    };
    return {
      inbox: COMMAND_INBOX,
      ...(registration.locks && { locks: registration.locks(command) }),
      run: () =>
        aboutOrder(command, async () => {
          const body = await commands.runHere(command);
          answer({ outcome: 'ok', body });
          return body;
        }),
      onRefusal: (error) => answer({ outcome: 'refused', body: failureBody(error) }),
    };
  }

  #planReaction(reaction: string, message: IncomingMessage): Plan | string {
    const { manifest, sagas, projections, handlers } = this.#parts;
    const { envelope } = message;
    const type = manifest.reacts[reaction]?.events.find(({ contract }) => contract.type === envelope.type);
    if (!type) throw new UnknownMessageError(envelope.type, reaction);
    if (projections.reactions.has(reaction))
      return { run: () => projections.writeHere(reaction, envelope.type, message.json()) };
    const event: AnyMessage = new type(message.json() as never);
    if (sagas.reactions.has(reaction)) return { inbox: reaction, run: () => sagas.event(envelope, event) };
    const registration = (handlers.reactions.get(reaction) ?? []).find(({ events }) =>
      events.some(({ contract }) => contract.type === envelope.type),
    );
    if (!registration) throw new UnknownMessageError(envelope.type, reaction);
    if (registration.outsideUnitOfWork) return outside(String(registration.handler.name));
    return {
      inbox: reaction,
      ...(registration.locks && { locks: registration.locks(event) }),
      run: () => aboutOrder(event, async () => void (await registration.handler.instance.handle(event))),
    };
  }

  async #handledBefore(consumer: string, { envelope }: IncomingMessage): Promise<boolean> {
    const found = await this.#parts.unitOfWork.findProcessed({ consumer, messageId: envelope.id });
    return found !== undefined;
  }
}

const nothing = {
  possible: true,
  handledBefore: false,
  outcome: 'ok',
  tables: [],
  messages: [],
  afterCommit: 0,
} as const;

function outside(handler: string): string {
  return `${handler} runs outside of a unit of work (@OutsideUnitOfWork): it reaches another system, and what it does there cannot be undone`;
}

function failure(error: unknown): DryRunReport {
  return { ...nothing, outcome: 'failed', error: { code: errorCode(error), message: errorMessage(error) } };
}

function reportOf({ outcome, messages, tables, afterCommit }: Rehearsal<unknown>): DryRunReport {
  if ('error' in outcome) return failure(outcome.error);
  const sent = messages.map(({ subject, headers, key, body }): RehearsedMessage => ({
    subject,
    type: headers['ce-type'] ?? 'unknown',
    key,
    body: JSON.parse(body) as unknown,
  }));
  const common = { ...nothing, tables, messages: sent, afterCommit };
  if ('refusal' in outcome) {
    const { code, message } = outcome.refusal;
    return { ...common, outcome: 'refused', error: { code, message } };
  }
  return { ...common, ...(outcome.result !== undefined && { reply: outcome.result }) };
}
