import { createInbox, type Msg, type NatsConnection, type Subscription } from '@nats-io/nats-core';
import type { Clock, TimerHandle } from '@flotilla/kernel';

interface Waiter {
  readonly subject: string;
  readonly dueMs: number;
  readonly onReply: (message: Msg) => void;
  readonly onError: (error: Error) => void;
  readonly onTimeout: () => Error;
}

const SWEEP_MS = 50;

/**
 * Waits for the answers to publications and requests: one subscription and one timer for all of them, because a
 * timer and two promises each are half the cost of a publication.
 */
export class ReplyDesk {
  readonly #clock: Clock;
  readonly #prefix: string;
  readonly #subscription: Subscription;
  readonly #waiting = new Map<string, Waiter>();
  #next = 0;
  #sweep: TimerHandle | undefined;

  constructor(connection: NatsConnection, inboxPrefix: string, clock: Clock) {
    this.#clock = clock;
    this.#prefix = `${createInbox(inboxPrefix)}.`;
    this.#subscription = connection.subscribe(`${this.#prefix}*`, {
      callback: (error, message) => {
        if (error !== null) this.rejectAll(error);
        else this.#replied(message);
      },
    });
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  /** Expects one answer; returns the subject to which it must be sent. Exactly one of the callbacks runs, once. */
  expect(
    subject: string,
    timeoutMs: number,
    onReply: (message: Msg) => void,
    onError: (error: Error) => void,
    onTimeout: () => Error,
  ): string {
    const token = (this.#next++).toString(36);
    const dueMs = this.#clock.monotonicMs() + timeoutMs;
    this.#waiting.set(token, { subject, dueMs, onReply, onError, onTimeout });
    this.#sweep ??= this.#clock.after(SWEEP_MS, this.#onSweep);
    return this.#prefix + token;
  }

  /** Ends the wait for the answer to `reply`; its callbacks do not run. */
  cancel(reply: string): void {
    this.#waiting.delete(reply.slice(this.#prefix.length));
  }

  rejectAll(error: Error): void {
    const all = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const waiter of all) waiter.onError(error);
  }

  /** Rejects the waits for one subject; whether there were any. */
  reject(subject: string, error: Error): boolean {
    let any = false;
    for (const [token, waiter] of this.#waiting) {
      if (waiter.subject !== subject) continue;
      this.#waiting.delete(token);
      waiter.onError(error);
      any = true;
    }
    return any;
  }

  close(error: Error): void {
    this.#sweep?.cancel();
    this.#sweep = undefined;
    this.#subscription.unsubscribe();
    this.rejectAll(error);
  }

  #replied(message: Msg): void {
    const token = message.subject.slice(this.#prefix.length);
    const waiter = this.#waiting.get(token);
    if (waiter === undefined) return;
    this.#waiting.delete(token);
    waiter.onReply(message);
  }

  readonly #onSweep = (): void => {
    const now = this.#clock.monotonicMs();
    for (const [token, waiter] of this.#waiting) {
      if (waiter.dueMs > now) continue;
      this.#waiting.delete(token);
      waiter.onError(waiter.onTimeout());
    }
    this.#sweep = this.#waiting.size > 0 ? this.#clock.after(SWEEP_MS, this.#onSweep) : undefined;
  };
}

/** The server's answer that nobody listens on the subject. */
export function isNoResponders(message: Msg): boolean {
  return message.data.length === 0 && message.headers?.code === 503;
}
