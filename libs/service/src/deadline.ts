import { FlotillaError, systemClock } from '@flotilla/kernel';
import { currentContext, type MessageContext } from '@flotilla/observability';

const signals = new WeakMap<MessageContext, AbortSignal>();

/** When whoever waits for the running code stops waiting, milliseconds since the epoch; undefined: nobody waits. */
export function currentDeadline(): number | undefined {
  return currentContext()?.deadline;
}

/**
 * Aborts at the deadline of the running code, with an error of code `DEADLINE_EXCEEDED` as its reason: for the calls
 * that a handler makes to the outside, `fetch(url, { signal: currentSignal() })`. Undefined where nobody waits.
 * Statements and calls to other services end by themselves.
 */
export function currentSignal(): AbortSignal | undefined {
  const context = currentContext();
  if (context?.deadline === undefined) return undefined;
  let signal = signals.get(context);
  if (signal === undefined) {
    signal = abortedAt(context.deadline);
    signals.set(context, signal);
  }
  return signal;
}

function abortedAt(deadline: number): AbortSignal {
  const controller = new AbortController();
  const abort = (): void =>
    controller.abort(
      new FlotillaError('DEADLINE_EXCEEDED', 'Whoever asked for this no longer waits for it', {
        retry: 'never',
      }),
    );
  const leftMs = deadline - systemClock.now();
  if (leftMs <= 0) abort();
  else systemClock.after(leftMs, abort);
  return controller.signal;
}
