import { InvalidMessageError, parseWith } from '@flotilla/contracts-protocol';
import { errorMessage, newId } from '@flotilla/kernel';
import type { Broker, IncomingMessage, OutgoingReply, Stoppable } from '@flotilla/messaging';
import { Logger } from '@nestjs/common';
import { SpanKind } from '@opentelemetry/api';
import { z } from 'zod';
import type { ConsumerState, DurableConsumers } from './inbound/durable-consumers.ts';
import type { Handling } from './inbound/handling.ts';
import type { OutgoingMessages } from './outgoing.ts';

const request = z.object({
  action: z.enum(['list', 'probe', 'resume']),
  consumer: z.string().min(1).optional(),
  by: z.string().min(1).max(100).optional(),
});

/** What each process of a service answers about its consumers. */
export interface ConsumersAnswer {
  /** Tells the processes of the service apart. */
  readonly process: string;
  readonly consumers: readonly ConsumerState[];
  /** Of `probe`: how many were paused, and try a message now. */
  readonly probed?: number;
  /** Of `resume`: how many were paused, and go on. */
  readonly resumed?: number;
}

/** The subject on which every process of a service tells how its consumers do. */
export function consumersSubject(service: string): string {
  return `ops.${service}.consumers`;
}

/**
 * Tells operators how the consumers do, and has paused ones try a message now, or go on without:
 * `{ action: 'list' | 'probe' | 'resume', consumer?, by? }`. Every process answers for itself, because each pauses by itself.
 */
export class ConsumerCommands {
  readonly #subject: string;
  readonly #process: string;
  readonly #broker: Broker;
  readonly #consumers: DurableConsumers;
  readonly #outgoing: OutgoingMessages;
  readonly #handling: Handling;
  readonly #logger = new Logger(ConsumerCommands.name);

  constructor(
    service: string,
    broker: Broker,
    consumers: DurableConsumers,
    outgoing: OutgoingMessages,
    handling: Handling,
  ) {
    this.#subject = consumersSubject(service);
    this.#process = `${service}-${newId()}`;
    this.#broker = broker;
    this.#consumers = consumers;
    this.#outgoing = outgoing;
    this.#handling = handling;
  }

  start(): Promise<Stoppable> {
    // A queue of its own: each process answers.
    return this.#broker.serve(this.#subject, { queue: this.#process, maxInFlight: 4 }, (message) =>
      this.#answer(message),
    );
  }

  async #answer(message: IncomingMessage): Promise<OutgoingReply> {
    try {
      const result = await this.#handling.run(
        message,
        { handler: 'operators', kind: SpanKind.SERVER },
        async () => this.#carryOut(message),
      );
      return this.#outgoing.reply(message.envelope, newId(), 'ok', result);
    } catch (error) {
      this.#logger.warn({ msg: `A question of an operator failed: ${errorMessage(error)}`, err: error });
      return this.#outgoing.failedReply(message.envelope, newId(), error);
    }
  }

  #carryOut(message: IncomingMessage): ConsumersAnswer {
    const { action, consumer, by } = parseWith(
      request,
      message.json(),
      (problems) => new InvalidMessageError(this.#subject, problems),
    );
    const probed = action === 'probe' ? this.#consumers.probe(consumer) : undefined;
    const resumed = action === 'resume' ? this.#consumers.resume(consumer) : undefined;
    const told = { source: message.envelope.source, ...(by !== undefined && { by }) };
    if (probed !== undefined && probed > 0)
      this.#logger.log({ msg: `An operator has ${probed} paused consumer(s) try a message now`, ...told });
    if (resumed !== undefined && resumed > 0)
      this.#logger.log({ msg: `An operator has ${resumed} paused consumer(s) go on`, ...told });
    const consumers = this.#consumers
      .states()
      .filter((state) => consumer === undefined || state.consumer === consumer);
    return {
      process: this.#process,
      consumers,
      ...(probed !== undefined && { probed }),
      ...(resumed !== undefined && { resumed }),
    };
  }
}
