import { encodeEnvelope, type Envelope, type ReplyOutcome } from '@flotilla/contracts-protocol';
import { newId, type Clock } from '@flotilla/kernel';
import { traceHeaders } from '@flotilla/observability';
import { isObservable, Subject, takeUntil, type Observable } from 'rxjs';
import type { OutgoingReply } from '../broker.ts';
import { failedAnswer } from './handler-failure.ts';
import { HandlerTimeoutError, TooManyValuesError } from './transport.errors.ts';

/**
 * On an answer whose body is a JSON array of so many values, which an observable has made: one each. Absent where
 * the body is the one value itself.
 */
export const VALUES_HEADER = 'flotilla-values';

export interface CollectOptions {
  readonly pattern: string;
  /** On the clock's wall time, milliseconds since the epoch. */
  readonly deadline: number;
  readonly maxValues: number;
  readonly clock: Clock;
}

/** What a handler answered: all its values, and what it failed with in the end, if it did. */
export interface Collected {
  readonly values: readonly unknown[];
  readonly failure?: { readonly error: unknown };
}

/** Waits until what a handler returned is complete. Its subscription ends at the deadline. */
export async function collect(result: unknown, options: CollectOptions): Promise<Collected> {
  const settled = await result;
  if (!isObservable(settled)) return { values: [settled] };
  return drain(settled, options);
}

function drain(stream: Observable<unknown>, options: CollectOptions): Promise<Collected> {
  const { pattern, deadline, maxValues, clock } = options;
  return new Promise((resolve) => {
    const values: unknown[] = [];
    const over = new Subject<void>();
    const end = (failure?: { error: unknown }): void => {
      timer.cancel();
      // Only the first word counts: to unsubscribe completes the stream.
      resolve(failure ? { values, failure } : { values });
      over.next();
    };
    const timer = clock.after(Math.max(0, deadline - clock.now()), () =>
      end({ error: new HandlerTimeoutError(pattern) }),
    );
    stream.pipe(takeUntil(over)).subscribe({
      next: (value) => {
        if (values.length < maxValues) values.push(value);
        else end({ error: new TooManyValuesError(pattern, maxValues) });
      },
      error: (error: unknown) => end({ error }),
      complete: () => end(),
    });
  });
}

/** The answer to a request: one message, whatever number of values there is. */
export function answerOf(
  { values, failure }: Collected,
  to: Envelope,
  service: string,
  clock: Clock,
): OutgoingReply {
  const reply = (
    outcome: ReplyOutcome,
    body: unknown,
    headers: Record<string, string> = {},
  ): OutgoingReply => ({
    headers: {
      ...encodeEnvelope({
        id: newId(clock.now()),
        type: to.type,
        source: service,
        time: new Date(clock.now()).toISOString(),
        subject: to.subject,
        correlationId: to.correlationId,
        causationId: to.id,
        outcome,
        ...traceHeaders(),
      }),
      ...headers,
    },
    body: JSON.stringify(body ?? null),
  });
  if (failure !== undefined) {
    const { outcome, body } = failedAnswer(failure.error);
    return reply(outcome, values.length > 0 ? { ...body, values } : body);
  }
  // A handler that returns nothing answers, but no value: JSON has no undefined.
  const [value] = values;
  if (values.length === 1 && value !== undefined) return reply('ok', value);
  const given = values.length === 1 ? [] : values;
  return reply('ok', given, { [VALUES_HEADER]: String(given.length) });
}
