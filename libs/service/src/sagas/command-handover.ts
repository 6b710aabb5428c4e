import { AsyncLocalStorage } from 'node:async_hooks';
import { envelopeHeader, readFailure } from '@flotilla/contracts-protocol';
import { errorCode, errorMessage, type Clock } from '@flotilla/kernel';
import type { Broker, IncomingMessage, PublishReceipt } from '@flotilla/messaging';
import type { HandoverReceipt, OutboxPublisher, OutgoingMessage } from '@flotilla/persistence';
import { Logger } from '@nestjs/common';

type PublishBatch = NonNullable<OutboxPublisher['publishBatch']>;

/** Takes the answer to a command of a saga; resolves once what follows from it is committed. */
export type TakeReply = (reply: IncomingMessage) => Promise<void>;

/** How long a receiver may take; less than the outbox's relays wait before they publish what nobody has published. */
const TIMEOUT_MS = 2_000;
/** Commands of one type that are asked for at a time: as many as a receiver handles by default. */
const MAX_PER_TYPE = 64;
/** All that are asked for or wait for their turn, so that they never take the outbox's places from everything else. */
const MAX_HELD = 192;
/** How long one may wait for its turn. */
const MAX_WAIT_MS = 500;

/** For how long commands of a type keep to their stream after that failure, in milliseconds. */
const REST_MS: Readonly<Record<string, number>> = {
  // Nobody is there, or takes commands from the stream only.
  NO_RESPONDERS: 10_000,
  PUBLISH_REFUSED: 60_000,
  // Slow: asking twice makes it slower.
  REQUEST_TIMEOUT: 10_000,
  DEADLINE_EXCEEDED: 10_000,
};
const SHORT_REST_MS = 250;

/**
 * Publishes what the outbox holds; the commands of sagas it hands to their receivers as requests, and their answers to
 * the sagas. The outbox row is what makes it durable: until the answer is committed the command counts as not
 * published, and whatever goes wrong, it goes into its stream, where the receiver knows it by its id. See ADR 0041.
 */
export class CommandHandover implements OutboxPublisher {
  readonly publishBatch?: PublishBatch;
  readonly #broker: Pick<Broker, 'publish' | 'publishBatch' | 'request'>;
  readonly #clock: Clock;
  readonly #logger = new Logger('Sagas');
  /** Outside of whatever request or unit of work has woken the outbox. */
  readonly #outside = AsyncLocalStorage.snapshot();
  readonly #lines = new Map<string, Line>();
  #held = 0;
  #take: TakeReply | undefined;

  constructor(broker: Pick<Broker, 'publish' | 'publishBatch' | 'request'>, clock: Clock) {
    this.#broker = broker;
    const batch = broker.publishBatch?.bind(broker);
    if (batch) this.publishBatch = batch;
    this.#clock = clock;
  }

  /** From now on answers are taken. Before, and after {@link stop}, all commands go into their streams. */
  start(take: TakeReply): void {
    this.#take = take;
  }

  stop(): void {
    this.#take = undefined;
  }

  publish(message: OutgoingMessage): Promise<PublishReceipt | HandoverReceipt> {
    const take = this.#take;
    const { [envelopeHeader.type]: type, [envelopeHeader.replyTo]: replyTo } = message.headers;
    if (message.handover !== true || take === undefined || type === undefined || replyTo === undefined)
      return this.#broker.publish(message);
    const line = this.#lineOf(type);
    if (this.#held >= MAX_HELD || this.#rests(line)) return this.#broker.publish(message);
    return this.#outside(() => this.#inTurn(message, line, replyTo, take));
  }

  async #inTurn(
    message: OutgoingMessage,
    line: Line,
    replyTo: string,
    take: TakeReply,
  ): Promise<PublishReceipt | HandoverReceipt> {
    this.#held += 1;
    try {
      if (line.inFlight >= MAX_PER_TYPE) {
        const sinceMs = this.#clock.monotonicMs();
        // Whoever ends hands its place on: the number in flight stays what it is.
        await new Promise<void>((resolve) => line.waiting.push(resolve));
        if (this.#clock.monotonicMs() - sinceMs > MAX_WAIT_MS || this.#rests(line)) {
          leave(line);
          return await this.#broker.publish(message);
        }
      } else {
        line.inFlight += 1;
      }
      const handedOver = await this.#handOver(message, line, replyTo, take);
      leave(line);
      return handedOver ? { handedOver: true } : await this.#broker.publish(message);
    } finally {
      this.#held -= 1;
    }
  }

  /** Whether it is done: the receiver has answered, and what follows is committed. Never rejects. */
  async #handOver(message: OutgoingMessage, line: Line, replyTo: string, take: TakeReply): Promise<boolean> {
    try {
      const deadline = new Date(this.#clock.now() + TIMEOUT_MS).toISOString();
      const answer = await this.#broker.request(
        {
          ...message,
          subject: `rpc.${line.type}`,
          headers: { ...message.headers, [envelopeHeader.deadline]: deadline },
        },
        { timeoutMs: TIMEOUT_MS },
      );
      if (answer.envelope.outcome !== 'failed') {
        await take(addressed(answer, replyTo));
        return true;
      }
      const { code, message: why } = readFailure(answer.json());
      this.#rest(line, code, why);
    } catch (error) {
      this.#rest(line, errorCode(error), errorMessage(error));
    }
    return false;
  }

  #rests({ restsUntilMs }: Line): boolean {
    return restsUntilMs > this.#clock.monotonicMs();
  }

  #rest(line: Line, code: string, why: string): void {
    const restMs = REST_MS[code] ?? SHORT_REST_MS;
    line.restsUntilMs = Math.max(line.restsUntilMs, this.#clock.monotonicMs() + restMs);
    this.#logger.debug(
      `${line.type} could not be handed over (${code}: ${why}): it goes into its stream, and others for ${restMs} ms`,
    );
  }

  #lineOf(type: string): Line {
    let line = this.#lines.get(type);
    if (line === undefined) {
      line = { type, inFlight: 0, waiting: [], restsUntilMs: 0 };
      this.#lines.set(type, line);
    }
    return line;
  }
}

/** The commands of one type. */
interface Line {
  readonly type: string;
  inFlight: number;
  /** Those whose turn comes when one in flight has ended, the first first. */
  readonly waiting: (() => void)[];
  restsUntilMs: number;
}

/** Gives its place to the next. */
function leave(line: Line): void {
  const next = line.waiting.shift();
  if (next === undefined) line.inFlight -= 1;
  else next();
}

/** The answer as it would have come through the stream: its subject names the saga. */
function addressed(answer: IncomingMessage, subject: string): IncomingMessage {
  const { headers, envelope, body } = answer;
  return { subject, headers, envelope, body, json: () => answer.json() };
}
