import {
  contractOf,
  InvalidReplyError,
  parseWith,
  type AnyMessage,
  type AnyMessageClass,
  type Contract,
  type DurableCommandClass,
  type ErrorsOf,
  type FailureBody,
  type PayloadOf,
  type ReplyOf,
} from '@flotilla/contracts-protocol';

/** Why a saga compensates or is parked: a stable code, and what there is to say for people. */
export interface SagaReason {
  readonly code: string;
  readonly message: string;
  readonly data?: unknown;
}

/** The reason that a failure or an error gives, as plain data. */
export function reasonOf({ code, message, data }: SagaReason): SagaReason {
  return { code, message, ...(data !== undefined && { data }) };
}

/** What {@link abort} makes: the saga stops here and compensates. */
export class SagaAbort {
  readonly reason: SagaReason;

  constructor(reason: SagaReason) {
    this.reason = reason;
  }
}

/** What {@link park} makes: the saga stops here and waits for a person. */
export class SagaPark {
  readonly reason: SagaReason;

  constructor(reason: SagaReason) {
    this.reason = reason;
  }
}

/** Returned by a step's function: give up and compensate what has been done, for this reason. */
export function abort(code: string, message: string = code, data?: unknown): SagaAbort {
  return new SagaAbort({ code, message, ...(data !== undefined && { data }) });
}

/** Returned by a step's function: stop and wait for a person, for this reason. */
export function park(code: string, message: string = code, data?: unknown): SagaPark {
  return new SagaPark({ code, message, ...(data !== undefined && { data }) });
}

/** What a step's function answers: the saga's data for the next step, or the order to stop. */
export type Next<D> = D | SagaAbort | SagaPark;

/**
 * What happens when a step got no answer (or only technical failures): undo everything including this step,
 * whose effect is unknown; wait for a person; or go on with a fallback.
 */
export type Fallback<D> = 'compensate' | 'park' | ((data: D) => Next<D>);

/** How often and how long a command is tried. */
export interface CommandPolicy {
  /** How long one sending waits for its answer, in milliseconds. */
  readonly timeoutMs: number;
  /** How many more times a command is sent after its first sending was not answered. */
  readonly retries: number;
}

/** A compensation by a command. */
export interface CommandCompensation<D> {
  readonly kind: 'command';
  readonly command: AnyMessageClass;
  readonly policy: CommandPolicy;
  /** The command; undefined if there is nothing to undo. Throws if the payload is not valid. */
  readonly make: (data: D) => AnyMessage | undefined;
  /** Refusals that mean that there is nothing left to undo. */
  readonly tolerated: ReadonlySet<string>;
}

/** A compensation inside the owner's database, in the same unit of work. */
export interface LocalCompensation<D, A> {
  readonly kind: 'local';
  readonly run: (data: D, actions: A) => Promise<D | void>;
}

interface StepBase<D> {
  readonly name: string;
  readonly pivot: boolean;
  readonly when: ((data: D) => boolean) | undefined;
}

/** A step that sends a durable command and waits for its answer. */
export interface CommandStep<D, A> extends StepBase<D> {
  readonly kind: 'command';
  readonly command: AnyMessageClass;
  readonly policy: CommandPolicy;
  readonly make: (data: D) => AnyMessage;
  /** Throws InvalidReplyError for a body that the contract does not allow. */
  readonly parseReply: (body: unknown) => unknown;
  readonly replied: (data: D, reply: unknown) => Next<D>;
  /** The handler of a declared refusal with its data, or undefined if the step has none for it. */
  readonly refused: (failure: FailureBody) => ((data: D) => Next<D>) | undefined;
  readonly onTimeout: Fallback<D> | undefined;
  readonly onFailed: Fallback<D> | undefined;
  readonly compensation: CommandCompensation<D> | LocalCompensation<D, A> | undefined;
}

/** A step inside the owner's database, in the same unit of work as the answer that led to it. */
export interface LocalStep<D, A> extends StepBase<D> {
  readonly kind: 'local';
  readonly run: (data: D, actions: A) => Promise<Next<D>>;
  readonly compensation: CommandCompensation<D> | LocalCompensation<D, A> | undefined;
}

/** A step that waits for an event. */
export interface WaitStep<D> extends StepBase<D> {
  readonly kind: 'wait';
  readonly events: readonly AnyMessageClass[];
  /** The id of the instance that an event is for. */
  readonly instanceOf: (message: AnyMessage) => string;
  readonly arrived: (data: D, message: AnyMessage) => Next<D>;
  readonly timeoutMs: number;
  readonly onTimeout: Fallback<D> | undefined;
}

export type SagaStep<D, A> = CommandStep<D, A> | LocalStep<D, A> | WaitStep<D>;

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
  readonly retries?: number;
}

interface StepOptions<D> {
  /** The step is skipped, and never compensated, where this is false. Default: always done. */
  readonly when?: (data: D) => boolean;
  /**
   * The point of no return: failures after it no longer compensate by themselves, they retry and then park.
   * At most one step. Default false.
   */
  readonly pivot?: boolean;
}

export interface CommandStepOptions<
  D,
  C extends DurableCommandClass,
  K extends DurableCommandClass,
> extends StepOptions<D> {
  /** The command's payload. */
  readonly send: (data: D) => PayloadInput<C>;
  /** What the answer adds to the saga's data. Default: nothing. */
  readonly onReply?: (data: D, reply: ReplyOf<C>) => NoInfer<Next<D>>;
  /** What each declared refusal means. Default: compensate the steps before (park, after the pivot). */
  readonly onRefused?: {
    readonly [Code in keyof ErrorsOf<C>]?: (data: D, error: ErrorsOf<C>[Code]) => NoInfer<Next<D>>;
  };
  /** How long one sending waits for its answer, in milliseconds. Default: the contract's own `timeoutMs`. */
  readonly timeoutMs?: number;
  /** How many more times it is sent when no answer came, under the same command id. Default 2. */
  readonly retries?: number;
  /** When the last sending is not answered either. Default: compensate, this step included (park, after the pivot). */
  readonly onTimeout?: Fallback<NoInfer<D>>;
  /**
   * When the receiver gave up on the command for technical reasons. Default: compensate, this step included;
   * after the pivot: send it again `retries` times with growing delays, then park.
   */
  readonly onFailed?: Fallback<NoInfer<D>>;
  readonly compensate?: UndoByCommand<D, K>;
}

export interface LocalStepOptions<D, A, K extends DurableCommandClass> extends StepOptions<D> {
  /**
   * Runs in the unit of work of the input that led here. A BusinessError is a refusal (throw it before the first
   * write: the unit still commits); any other error fails the unit, which is then tried again.
   */
  readonly run: (data: D, actions: A) => Promise<NoInfer<Next<D>>>;
  /** Undoes it, in its own unit of work or by a command. */
  readonly compensate?: ((data: D, actions: A) => Promise<NoInfer<D> | void>) | UndoByCommand<D, K>;
}

export interface WaitStepOptions<D, E extends AnyMessageClass> {
  readonly when?: (data: D) => boolean;
  /** The id of the instance that the event is for. Default: the event's aggregate id. */
  readonly instanceOf?: (payload: PayloadOf<E>) => string;
  /** What the event adds to the saga's data. `message instanceof X` tells several events apart. Default: nothing. */
  readonly onEvent?: (data: D, payload: PayloadOf<E>, message: InstanceType<E>) => NoInfer<Next<D>>;
  /** How long to wait, in milliseconds: every wait has a deadline. */
  readonly timeoutMs: number;
  /** Default: compensate (park, after the pivot). */
  readonly onTimeout?: Fallback<NoInfer<D>>;
}

const COMPENSATION_RETRIES = 5;
const COMPENSATION_TIMEOUT_MS = 30_000;
const COMMAND_RETRIES = 2;

/** A step that sends a durable command and waits for its answer. */
export function command<D, A, C extends DurableCommandClass, K extends DurableCommandClass = never>(
  name: string,
  messageClass: C,
  options: CommandStepOptions<D, C, K>,
): SagaStep<D, A> {
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
    policy: { timeoutMs, retries: options.retries ?? COMMAND_RETRIES },
    when: options.when,
    pivot: options.pivot ?? false,
    make: (data) => new messageClass(options.send(data)),
    parseReply: (body) => parseReply(contract, body),
    replied: (data, reply) => options.onReply?.(data, reply as ReplyOf<C>) ?? data,
    refused(failure) {
      const handler = Object.hasOwn(handlers, failure.code) ? handlers[failure.code] : undefined;
      const parsed = contract.errors[failure.code]?.safeParse(failure.data);
      if (handler === undefined || parsed?.success !== true) return undefined;
      return (data) => handler(data, parsed.data);
    },
    onTimeout: options.onTimeout,
    onFailed: options.onFailed,
    compensation: options.compensate && undoByCommand(options.compensate, timeoutMs),
  };
}

/** A step in the owner's own database, in the unit of work of the input that led to it. */
export function local<D, A, K extends DurableCommandClass = never>(
  name: string,
  options: LocalStepOptions<D, A, K>,
): SagaStep<D, A> {
  const { compensate } = options;
  return {
    kind: 'local',
    name,
    when: options.when,
    pivot: options.pivot ?? false,
    run: options.run,
    compensation:
      typeof compensate === 'function'
        ? { kind: 'local', run: compensate }
        : compensate && undoByCommand(compensate, COMPENSATION_TIMEOUT_MS),
  };
}

/** A step that waits for an event, or for the first of several. An event that comes earlier is kept until then. */
export function waitFor<D, A, E extends AnyMessageClass>(
  name: string,
  event: E | readonly E[],
  options: WaitStepOptions<D, E>,
): SagaStep<D, A> {
  const events: readonly AnyMessageClass[] = Array.isArray(event) ? event : [event as E];
  return {
    kind: 'wait',
    name,
    events,
    when: options.when,
    pivot: false,
    instanceOf(message) {
      const of = (options.instanceOf ?? contractOf(message).keyOf) as
        ((payload: unknown) => string) | undefined;
      if (of === undefined)
        throw new TypeError(`${contractOf(message).type} has no aggregate id: give instanceOf`);
      return of(message.payload);
    },
    arrived: (data, message) =>
      options.onEvent?.(data, message.payload as PayloadOf<E>, message as InstanceType<E>) ?? data,
    timeoutMs: options.timeoutMs,
    onTimeout: options.onTimeout,
  };
}

function undoByCommand<D, K extends DurableCommandClass>(
  undo: UndoByCommand<D, K>,
  stepTimeoutMs: number,
): CommandCompensation<D> {
  return {
    kind: 'command',
    command: undo.command,
    policy: { timeoutMs: undo.timeoutMs ?? stepTimeoutMs, retries: undo.retries ?? COMPENSATION_RETRIES },
    make(data) {
      const payload = undo.send(data);
      return payload === undefined ? undefined : new undo.command(payload);
    },
    tolerated: new Set<string>(undo.tolerate ?? []),
  };
}

function parseReply(contract: Contract, body: unknown): unknown {
  if (contract.reply === undefined) return undefined;
  return parseWith(contract.reply, body, (problems) => new InvalidReplyError(contract.type, problems));
}

export interface SagaOptions<D, A> {
  /** Kebab-case; part of every command id and of the stored instances: never rename it. */
  readonly name: string;
  /**
   * Counts changes that running instances could not follow (steps added, removed or put in another order).
   * Instances finish on the version that they started with: keep the old definition registered until none is left.
   */
  readonly version: number;
  /**
   * The first step at which a customer's cancellation comes too late. Default: the pivot; without a pivot a saga
   * can be cancelled until it ends.
   */
  readonly cancellableUntil?: string;
  /** Runs in the unit of work that ends the saga well. An error fails the unit, which is then tried again. */
  readonly onCompleted?: (data: D, actions: A) => Promise<void>;
  /** Runs in the unit of work in which the last compensation is done. */
  readonly onCompensated?: (data: D, actions: A, reason: SagaReason) => Promise<void>;
}

/** A saga as declared: data, safe to share, run by the engine, drawn, simulated and tested from the same object. */
export interface SagaDefinition<D, A> {
  readonly name: string;
  readonly version: number;
  readonly steps: readonly SagaStep<D, A>[];
  /** Index of the first step that cannot be cancelled any more; the number of steps if all can. */
  readonly cancellableUntil: number;
  /** Index of the pivot; the number of steps if there is none. */
  readonly pivot: number;
  /** The commands that it sends, for the service's manifest: `sends: [...fulfilment.sends]`. */
  readonly sends: readonly AnyMessageClass[];
  /** The events that it waits for, for the service's manifest. */
  readonly awaits: readonly AnyMessageClass[];
  readonly onCompleted: ((data: D, actions: A) => Promise<void>) | undefined;
  readonly onCompensated: ((data: D, actions: A, reason: SagaReason) => Promise<void>) | undefined;
}

/**
 * Declares a saga: its steps in order, of data `D` (plain JSON) with the owner's actions `A`. Throws a TypeError
 * that lists everything inconsistent in the declaration.
 */
export function defineSaga<D extends object, A = unknown>(
  options: SagaOptions<D, A>,
  steps: readonly SagaStep<D, A>[],
): SagaDefinition<D, A> {
  const problems: string[] = [];
  if (!/^[a-z][a-z0-9-]*$/.test(options.name)) problems.push(`name "${options.name}" must be kebab-case`);
  if (!Number.isInteger(options.version) || options.version < 1) {
    problems.push(`version must be a whole number from 1, not ${options.version}`);
  }
  if (steps.length === 0) problems.push('it has no steps');
  const names = steps.map(({ name }) => name);
  for (const twice of new Set(names.filter((name, index) => names.indexOf(name) !== index))) {
    problems.push(`step "${twice}" appears twice`);
  }
  const pivots = steps.filter(({ pivot }) => pivot);
  if (pivots.length > 1)
    problems.push(`it has ${pivots.length} pivots: ${pivots.map(({ name }) => name).join(', ')}`);
  const pivot = pivots[0] === undefined ? steps.length : steps.indexOf(pivots[0]);
  steps.forEach((step, index) => problems.push(...stepProblems(step, index > pivot)));

  let cancellableUntil = pivot;
  if (options.cancellableUntil !== undefined) {
    cancellableUntil = names.indexOf(options.cancellableUntil);
    if (cancellableUntil < 0) problems.push(`cancellableUntil names no step: "${options.cancellableUntil}"`);
  }
  if (problems.length > 0) {
    throw new TypeError(`Saga "${options.name}" is not consistent:\n- ${problems.join('\n- ')}`);
  }
  return Object.freeze({
    name: options.name,
    version: options.version,
    steps: Object.freeze([...steps]),
    cancellableUntil,
    pivot,
    sends: [...new Set(steps.flatMap(commandsOf))],
    awaits: [...new Set(steps.flatMap((step) => (step.kind === 'wait' ? step.events : [])))],
    onCompleted: options.onCompleted,
    onCompensated: options.onCompensated,
  });
}

function commandsOf<D, A>(step: SagaStep<D, A>): AnyMessageClass[] {
  if (step.kind === 'wait') return [];
  return [
    ...(step.kind === 'command' ? [step.command] : []),
    ...(step.compensation?.kind === 'command' ? [step.compensation.command] : []),
  ];
}

function stepProblems<D, A>(step: SagaStep<D, A>, afterPivot: boolean): string[] {
  const problems: string[] = [];
  const complain = (problem: string): number => problems.push(`step "${step.name}": ${problem}`);
  if (!/^[a-z][a-z0-9-]*$/.test(step.name)) complain('the name must be kebab-case');
  for (const { contract } of commandsOf(step)) {
    if (contract.kind !== 'command') complain(`${contract.type} is a ${contract.kind}, not a command`);
  }
  if (step.kind === 'wait') {
    if (step.events.length === 0) complain('waits for no event');
    for (const { contract } of step.events) {
      if (contract.kind !== 'event') complain(`${contract.type} is a ${contract.kind}, not an event`);
    }
    if (!(step.timeoutMs > 0)) complain(`timeoutMs must be positive, not ${step.timeoutMs}`);
  }
  if (step.kind === 'command') problems.push(...policyProblems(step.name, step.policy));
  if (step.kind !== 'wait' && step.compensation?.kind === 'command') {
    problems.push(...policyProblems(`${step.name}" (compensation) "`, step.compensation.policy));
  }
  if (afterPivot && step.kind !== 'local') {
    const fallbacks = [step.onTimeout, step.kind === 'command' ? step.onFailed : undefined];
    if (fallbacks.includes('compensate')) {
      complain(`comes after the pivot, so it cannot say 'compensate': use 'park' or a function`);
    }
  }
  return problems;
}

function policyProblems(step: string, { timeoutMs, retries }: CommandPolicy): string[] {
  return [
    ...(timeoutMs > 0 ? [] : [`step "${step}": timeoutMs must be positive, not ${timeoutMs}`]),
    ...(Number.isInteger(retries) && retries >= 0
      ? []
      : [`step "${step}": retries must be a whole number from 0, not ${retries}`]),
  ];
}
