import { AsyncLocalStorage } from 'node:async_hooks';
import { ROOT_CONTEXT, type Context, type ContextManager } from '@opentelemetry/api';
import { newId } from '@flotilla/kernel';

/** What the code that runs now is working on. Every log line carries it, every message that is sent inherits it. */
export interface MessageContext {
  /** Shared by everything that one request from outside caused. */
  readonly correlationId: string;
  /** The message being handled: the causation id of what is sent meanwhile. Absent in an HTTP request. */
  readonly messageId?: string;
  /** The type of the message being handled, `<owner>.<Name>.v<N>`. */
  readonly type?: string;
  /** The order concerned, where there is one. */
  readonly orderId?: string;
  /** When the caller stops waiting, milliseconds since the epoch. */
  readonly deadline?: number;
}

/** Some fields of a {@link MessageContext}; an absent or undefined one keeps its present value. */
export type MessageContextPatch = {
  readonly [Field in keyof MessageContext]?: MessageContext[Field] | undefined;
};

/** Both contexts travel in one store, so that an asynchronous hop pays for one. */
interface Frame {
  readonly trace: Context;
  readonly message: MessageContext | undefined;
}

const frames = new AsyncLocalStorage<Frame>();

/** What the running code works on; undefined outside {@link runWithContext}. */
export function currentContext(): MessageContext | undefined {
  return frames.getStore()?.message;
}

/**
 * Runs `fn`, and all that it starts, with `patch` laid over the current context. Without a correlation id in
 * either, a new one is made. Returns what `fn` returns.
 */
export function runWithContext<T>(patch: MessageContextPatch, fn: () => T): T {
  const frame = frames.getStore();
  return frames.run({ trace: frame?.trace ?? ROOT_CONTEXT, message: merge(frame?.message, patch) }, fn);
}

function merge(current: MessageContext | undefined, patch: MessageContextPatch): MessageContext {
  const messageId = patch.messageId ?? current?.messageId;
  const type = patch.type ?? current?.type;
  const orderId = patch.orderId ?? current?.orderId;
  const deadline = patch.deadline ?? current?.deadline;
  const merged: { -readonly [Field in keyof MessageContext]: MessageContext[Field] } = {
    correlationId: patch.correlationId ?? current?.correlationId ?? newId(),
  };
  if (messageId !== undefined) merged.messageId = messageId;
  if (type !== undefined) merged.type = type;
  if (orderId !== undefined) merged.orderId = orderId;
  if (deadline !== undefined) merged.deadline = deadline;
  return merged;
}

/** The trace context of the running code. */
export function activeTrace(): Context {
  return frames.getStore()?.trace ?? ROOT_CONTEXT;
}

/** Runs `fn(argument)` in a trace context; the message context stays, but for what `patch` lays over it. */
export function runWithTrace<A, T>(
  trace: Context,
  fn: (argument: A) => T,
  argument: A,
  patch?: MessageContextPatch,
): T {
  const current = frames.getStore()?.message;
  return frames.run({ trace, message: patch === undefined ? current : merge(current, patch) }, fn, argument);
}

/**
 * Lets other libraries that use the OpenTelemetry API read and set the same trace context. Event emitters are not
 * bound: `bind` returns anything but a function as it is.
 */
export class FrameContextManager implements ContextManager {
  active(): Context {
    return activeTrace();
  }

  with<A extends unknown[], F extends (...args: A) => ReturnType<F>>(
    context: Context,
    fn: F,
    thisArg?: ThisParameterType<F>,
    ...args: A
  ): ReturnType<F> {
    return frames.run({ trace: context, message: frames.getStore()?.message }, () => fn.apply(thisArg, args));
  }

  bind<T>(context: Context, target: T): T {
    if (typeof target !== 'function') return target;
    const call = target as unknown as (this: unknown, ...args: unknown[]) => unknown;
    return function bound(this: unknown, ...args: unknown[]): unknown {
      return frames.run({ trace: context, message: frames.getStore()?.message }, () =>
        call.apply(this, args),
      );
    } as T;
  }

  enable(): this {
    return this;
  }

  disable(): this {
    return this;
  }
}
