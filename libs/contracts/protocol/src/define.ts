import type { Command, Query } from '@nestjs/cqrs';
import type { z } from 'zod';
import { BusinessError, InvalidMessageError } from './protocol.errors.ts';
import { parseWith } from './validation.ts';

export type MessageKind = 'command' | 'query' | 'event';

type ErrorSchemas = Readonly<Record<string, z.ZodType>>;

/** What both ends know of a message: everything on the wire is derived from this. */
export interface Contract {
  readonly kind: MessageKind;
  /** The service that answers the command or query, or publishes the event. */
  readonly owner: string;
  readonly name: string;
  readonly version: number;
  /** `<owner>.<name>.v<version>`: the CloudEvents type. */
  readonly type: string;
  readonly payload: z.ZodType;
  /** Absent on events and on commands that answer nothing. */
  readonly reply: z.ZodType | undefined;
  readonly errors: ErrorSchemas;
  /** How long a caller waits for the answer unless it says otherwise, in milliseconds. */
  readonly timeoutMs: number;
  /** The ordering key of a command, or the aggregate id of an event; undefined: the message's own id. */
  readonly keyOf: ((payload: never) => string) | undefined;
  /** The version of the aggregate after the event, if the event carries it. */
  readonly aggregateVersionOf: ((payload: never) => number) | undefined;
}

interface Spec<P extends z.ZodType> {
  /** The service that owns the message. */
  readonly owner: string;
  /** The name on the wire, PascalCase: verb-noun for commands and queries, past tense for events. */
  readonly name: string;
  /** Counts incompatible changes; 1 at first. Both versions are served until nobody sends the old one. */
  readonly version: number;
  readonly payload: P;
}

export interface QuerySpec<P extends z.ZodType, R extends z.ZodType, E extends ErrorSchemas> extends Spec<P> {
  readonly reply: R;
  /** The business refusals a caller may get, by code. */
  readonly errors?: E;
  /** How long a caller waits for the answer, in milliseconds. Default 5,000. */
  readonly timeoutMs?: number;
}

export interface CommandSpec<
  P extends z.ZodType,
  R extends z.ZodType,
  E extends ErrorSchemas,
> extends Spec<P> {
  /** What the handler answers. Default: nothing. */
  readonly reply?: R;
  readonly errors?: E;
  readonly timeoutMs?: number;
  /** Commands with one key are handled one after another. Default: every command on its own. */
  readonly key?: (payload: z.output<P>) => string;
}

export interface EventSpec<P extends z.ZodType> extends Spec<P> {
  /** The id of the aggregate that the event is about: events of one aggregate keep their order. */
  readonly aggregate: (payload: z.output<P>) => string;
  /** The aggregate's version after the event, where the payload carries one. */
  readonly aggregateVersion?: (payload: z.output<P>) => number;
}

interface WithPayload<P> {
  readonly payload: P;
}

interface Failures<E extends ErrorSchemas> {
  /** Makes the declared error, to be thrown by the handler. */
  failure<C extends keyof E & string>(
    code: C,
    data: z.input<E[C]>,
    message?: string,
  ): BusinessError<C, z.output<E[C]>>;
  /** Whether a caught value is this contract's declared error, of that code if one is given. */
  isFailure<C extends keyof E & string>(error: unknown, code?: C): error is BusinessError<C, z.output<E[C]>>;
}

/** A command declared by {@link defineCommand}: construct it, execute it on the `CommandBus`. */
export interface CommandClass<
  P extends z.ZodType,
  R extends z.ZodType,
  E extends ErrorSchemas,
> extends Failures<E> {
  new (payload: z.input<P>): Command<z.output<R>> & WithPayload<z.output<P>>;
  readonly contract: Omit<Contract, 'errors'> & { readonly errors: E };
}

/** A query declared by {@link defineQuery}: construct it, execute it on the `QueryBus`. */
export interface QueryClass<
  P extends z.ZodType,
  R extends z.ZodType,
  E extends ErrorSchemas,
> extends Failures<E> {
  new (payload: z.input<P>): Query<z.output<R>> & WithPayload<z.output<P>>;
  readonly contract: Omit<Contract, 'errors'> & { readonly errors: E };
}

/** An event declared by {@link defineEvent}: construct it, publish it on the `EventBus`. */
export interface EventClass<P extends z.ZodType> {
  new (payload: z.input<P>): WithPayload<z.output<P>>;
  readonly contract: Contract;
}

/** Any message instance. */
export type AnyMessage = WithPayload<unknown>;

/** Any message class. The payload is unknown here: construct through the concrete class. */
export interface AnyMessageClass {
  new (payload: never): AnyMessage;
  readonly contract: Contract;
}

/** Any command class, seen from a saga or a router. */
export interface DurableCommandClass extends AnyMessageClass {
  failure(code: never, data: never): BusinessError;
}

/** The payload of a message class or instance. */
export type PayloadOf<M> = M extends abstract new (...args: never[]) => WithPayload<infer P>
  ? P
  : M extends WithPayload<infer P>
    ? P
    : never;

/** What a command or query (class or instance) answers. */
export type ReplyOf<M> = M extends abstract new (...args: never[]) => infer I
  ? ReplyOf<I>
  : M extends Command<infer R>
    ? R
    : M extends Query<infer R>
      ? R
      : never;

/** The declared errors of a command or query class: code to data. */
export type ErrorsOf<M> = M extends { readonly contract: { readonly errors: infer E extends ErrorSchemas } }
  ? { -readonly [C in keyof E]: z.output<E[C]> }
  : never;

const namePattern = /^[A-Z][A-Za-z0-9]*$/;
const ownerPattern = /^[a-z][a-z0-9-]*$/;
const DEFAULT_TIMEOUT_MS = 5_000;

function makeClass(contract: Contract): AnyMessageClass & Failures<ErrorSchemas> {
  if (!ownerPattern.test(contract.owner)) {
    throw new TypeError(`Contract owner "${contract.owner}" must be a kebab-case service name`);
  }
  if (!namePattern.test(contract.name)) {
    throw new TypeError(`Contract name "${contract.name}" must be PascalCase letters and digits`);
  }
  if (!Number.isInteger(contract.version) || contract.version < 1) {
    throw new TypeError(
      `Contract ${contract.name}: version must be a whole number from 1, not ${contract.version}`,
    );
  }
  return class Message {
    static readonly contract = contract;
    readonly payload: unknown;

    constructor(payload: unknown) {
      this.payload = parseWith(
        contract.payload,
        payload,
        (problems) => new InvalidMessageError(contract.type, problems),
      );
    }

    static failure<C extends string>(code: C, data: unknown, message?: string): BusinessError<C, never> {
      const schema = contract.errors[code];
      if (schema === undefined) {
        throw new TypeError(`${contract.type} declares no error "${code}": add it to its errors`);
      }
      const checked = parseWith(
        schema,
        data,
        (problems) => new InvalidMessageError(`${contract.type} error ${code}`, problems),
      );
      return new BusinessError(contract.type, code, checked as never, message);
    }

    static isFailure<C extends string>(error: unknown, code?: C): error is BusinessError<C, never> {
      return (
        error instanceof BusinessError &&
        error.type === contract.type &&
        (code === undefined || error.code === code)
      );
    }
  };
}

function contractFrom(kind: MessageKind, spec: Spec<z.ZodType>, rest: Partial<Contract>): Contract {
  return Object.freeze({
    kind,
    owner: spec.owner,
    name: spec.name,
    version: spec.version,
    type: `${spec.owner}.${spec.name}.v${spec.version}`,
    payload: spec.payload,
    reply: rest.reply,
    errors: rest.errors ?? {},
    timeoutMs: rest.timeoutMs ?? DEFAULT_TIMEOUT_MS,
    keyOf: rest.keyOf,
    aggregateVersionOf: rest.aggregateVersionOf,
  });
}

/**
 * Declares a command: `export class ReserveStock extends defineCommand({...}) {}`. The class is a
 * `Command<Reply>` of `@nestjs/cqrs`; its constructor validates the payload and reports all problems.
 */
export function defineCommand<
  P extends z.ZodType,
  R extends z.ZodType = z.ZodVoid,
  E extends ErrorSchemas = Record<never, never>,
>(spec: CommandSpec<P, R, E>): CommandClass<P, R, E> {
  const contract = contractFrom('command', spec, {
    reply: spec.reply,
    ...(spec.errors && { errors: spec.errors }),
    ...(spec.timeoutMs !== undefined && { timeoutMs: spec.timeoutMs }),
    keyOf: spec.key,
  });
  // The runtime class is the same for every contract; its types are the ones the spec gives it.
  return makeClass(contract) as unknown as CommandClass<P, R, E>;
}

/** Declares a query: like {@link defineCommand}, but it always answers and never changes anything. */
export function defineQuery<
  P extends z.ZodType,
  R extends z.ZodType,
  E extends ErrorSchemas = Record<never, never>,
>(spec: QuerySpec<P, R, E>): QueryClass<P, R, E> {
  const contract = contractFrom('query', spec, {
    reply: spec.reply,
    ...(spec.errors && { errors: spec.errors }),
    ...(spec.timeoutMs !== undefined && { timeoutMs: spec.timeoutMs }),
  });
  return makeClass(contract) as unknown as QueryClass<P, R, E>;
}

/** Declares an event of an aggregate: a fact in the past tense that any service may react to. */
export function defineEvent<P extends z.ZodType>(spec: EventSpec<P>): EventClass<P> {
  const contract = contractFrom('event', spec, {
    keyOf: spec.aggregate,
    aggregateVersionOf: spec.aggregateVersion,
  });
  return makeClass(contract) as unknown as EventClass<P>;
}

/** The contract behind a message class or instance; throws a TypeError for anything else. */
export function contractOf(message: object): Contract {
  const owner = typeof message === 'function' ? message : message.constructor;
  const contract = (owner as Partial<AnyMessageClass>).contract;
  if (contract === undefined) {
    throw new TypeError(
      `${owner.name || 'This value'} is not a Flotilla message: declare it with defineCommand, defineQuery or defineEvent`,
    );
  }
  return contract;
}

/** Whether a value is an instance of a class made by one of the define functions. */
export function isMessage(value: unknown): value is AnyMessage {
  return (
    typeof value === 'object' &&
    value !== null &&
    (value.constructor as Partial<AnyMessageClass> | undefined)?.contract !== undefined
  );
}
