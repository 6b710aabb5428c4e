import {
  contractOf,
  InvalidReplyError,
  parseWith,
  type AnyMessageClass,
  type Contract,
  type DurableCommandClass,
  type ErrorsOf,
  type ReplyOf,
} from '@flotilla/contracts-protocol';
import type { Fallback, Next } from './next.ts';
import { commandPolicy, type RetryPolicy } from './retry-policy.ts';
import type { CancelMode, CommandCompensation, CommandStep, SagaStep } from './steps.ts';

type PayloadInput<C extends AnyMessageClass> = ConstructorParameters<C>[0];

/** Undoes a step by a command. It must be idempotent by business key, and right also when the step never happened. */
export interface UndoByCommand<D, K extends DurableCommandClass> {
  readonly command: K;
  /**
   * The payload; undefined if there is nothing to undo. When the step's answer never came, `data` is without what
   * the answer would have added: refer to the business key (the order), not to an id from the reply.
   */
  readonly send: (data: D) => NoInfer<PayloadInput<K>> | undefined;
  /** Refusals that mean that there is nothing left to undo. Default: none; any refusal parks the saga. */
  readonly tolerate?: readonly (keyof NoInfer<ErrorsOf<K>> & string)[];
  /** How long one sending waits for its answer, in milliseconds. Default: the step's `timeoutMs`, or 30,000. */
  readonly timeoutMs?: number;
  /** More sendings before the saga is parked. Default 5: giving up on an undo costs a person's time. */
  readonly retries?: number | RetryPolicy;
}

export interface StepOptions<D> {
  /** The step is skipped, and never compensated, where this is false. Default: always done. */
  readonly when?: (data: D) => boolean;
  /**
   * The point of no return: failures after it no longer compensate by themselves, they retry and then park.
   * At most one step. Default false.
   */
  readonly pivot?: boolean;
  /** What becomes of a cancellation that comes here. Default: `allow`, and `tooLate` from `cancellableUntil` on. */
  readonly cancel?: CancelMode;
}

/** What a command asks, and what its answers mean. */
interface Exchange<D, C extends DurableCommandClass, K extends DurableCommandClass> {
  /** The command's payload. */
  readonly send: (data: D) => NoInfer<PayloadInput<C>>;
  /** What the answer adds to the saga's data. Default: nothing. */
  readonly onReply?: (data: D, reply: ReplyOf<C>) => NoInfer<Next<D>>;
  /** What each declared refusal means. Default: compensate the steps before (park, after the pivot). */
  readonly onRefused?: {
    readonly [Code in keyof ErrorsOf<C>]?: (data: D, error: ErrorsOf<C>[Code]) => NoInfer<Next<D>>;
  };
  /**
   * How long one sending waits for its answer, in milliseconds; longer where the delay of `retries` is. Default: the
   * contract's own `timeoutMs`.
   */
  readonly timeoutMs?: number;
  /** How many more times it is sent when no answer came, under the same command id, or how in detail. Default 2. */
  readonly retries?: number | RetryPolicy;
  readonly compensate?: UndoByCommand<D, K>;
}

/** The command that is tried instead of a step's own: another carrier, another bank. */
export interface FallbackCommand<
  D,
  C extends DurableCommandClass,
  K extends DurableCommandClass,
> extends Exchange<D, C, K> {
  readonly command: C;
}

export interface CommandStepOptions<
  D,
  C extends DurableCommandClass,
  K extends DurableCommandClass,
  F extends DurableCommandClass = never,
  FK extends DurableCommandClass = never,
>
  extends StepOptions<D>, Exchange<D, C, K> {
  /** When the last sending is not answered either. Default: compensate, this step included (park, after the pivot). */
  readonly onTimeout?: Fallback<NoInfer<D>>;
  /**
   * When the receiver gave up on the command for technical reasons. Default: compensate, this step included;
   * after the pivot: send it again `retries` times with growing delays, then park.
   */
  readonly onFailed?: Fallback<NoInfer<D>>;
  /**
   * Tried where a refusal, a failure or the lack of an answer is not taken care of above. Where the step's effect is
   * unknown, its compensation comes first: the two are never both in effect.
   */
  readonly fallback?: FallbackCommand<D, F, FK>;
}

const COMPENSATION_RETRIES = 5;
const COMMAND_RETRIES = 2;

/** A step that sends a durable command and waits for its answer. */
export function command<
  D,
  A,
  C extends DurableCommandClass,
  K extends DurableCommandClass = never,
  F extends DurableCommandClass = never,
  FK extends DurableCommandClass = never,
>(name: string, messageClass: C, options: CommandStepOptions<D, C, K, F, FK>): SagaStep<D, A> {
  const { fallback } = options;
  return {
    ...exchange<D, A, C, K>(name, messageClass, options),
    when: options.when,
    pivot: options.pivot ?? false,
    cancel: options.cancel,
    onTimeout: options.onTimeout,
    onFailed: options.onFailed,
    fallback: fallback && exchange<D, A, F, FK>(`${name}/fallback`, fallback.command, fallback),
  };
}

/** Undoing by a command; `defaultTimeoutMs` where it names no time of its own. */
export function undoByCommand<D, K extends DurableCommandClass>(
  undo: UndoByCommand<D, K>,
  defaultTimeoutMs: number,
): CommandCompensation<D> {
  return {
    kind: 'command',
    command: undo.command,
    policy: commandPolicy(undo.timeoutMs ?? defaultTimeoutMs, undo.retries ?? COMPENSATION_RETRIES),
    make(data) {
      const payload = undo.send(data);
      return payload === undefined ? undefined : new undo.command(payload);
    },
    tolerated: new Set<string>(undo.tolerate ?? []),
  };
}

function exchange<D, A, C extends DurableCommandClass, K extends DurableCommandClass>(
  name: string,
  messageClass: C,
  options: Exchange<D, C, K>,
): CommandStep<D, A> {
  const contract = contractOf(messageClass);
  const timeoutMs = options.timeoutMs ?? contract.timeoutMs;
  // Seen from here every handler takes what its own contract's schema has made of the body.
  const handlers = (options.onRefused ?? {}) as Readonly<
    Record<string, ((data: D, error: unknown) => Next<D>) | undefined>
  >;
  return {
    kind: 'command',
    name,
    command: messageClass,
    policy: commandPolicy(timeoutMs, options.retries ?? COMMAND_RETRIES),
    when: undefined,
    pivot: false,
    cancel: undefined,
    make: (data) => new messageClass(options.send(data)),
    parseReply: (body) => parseReply(contract, body),
    replied: (data, reply) => options.onReply?.(data, reply as ReplyOf<C>) ?? data,
    refused(failure) {
      const handler = Object.hasOwn(handlers, failure.code) ? handlers[failure.code] : undefined;
      const parsed = contract.errors[failure.code]?.safeParse(failure.data);
      if (handler === undefined || parsed?.success !== true) return undefined;
      return (data) => handler(data, parsed.data);
    },
    onTimeout: undefined,
    onFailed: undefined,
    compensation: options.compensate && undoByCommand(options.compensate, timeoutMs),
    fallback: undefined,
  };
}

function parseReply(contract: Contract, body: unknown): unknown {
  if (contract.reply === undefined) return undefined;
  return parseWith(contract.reply, body, (problems) => new InvalidReplyError(contract.type, problems));
}
