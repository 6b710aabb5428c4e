import type { Clock } from '@flotilla/kernel';

export interface LivenessOptions {
  /** Whether the process answers at all within so many milliseconds; that it is slow or unwell is an answer. */
  readonly ask: (timeoutMs: number) => Promise<boolean>;
  /** For how long it may say nothing, in milliseconds: three questions in a row without an answer. */
  readonly hungAfterMs: number;
  readonly clock: Clock;
  /** Ends the watch. */
  readonly signal: AbortSignal;
}

/** So many questions in a row without an answer are a hang; one may have met a moment of garbage collection. */
const QUESTIONS = 3;
/** An answer that takes longer is none. */
const LONGEST_ANSWER_MS = 3_000;
/** A pause that lasts so much longer than it should: this process did not run either. */
const MOST_LATE_MS = 1_000;

/**
 * Resolves to true when a process hangs: it neither ends nor answers. Resolves to false when the watch is ended before.
 *
 * When this process itself was late, because the machine slept, was overloaded or a debugger held it, what was not
 * answered meanwhile says nothing, and it counts anew.
 */
export async function hangs({ ask, hungAfterMs, clock, signal }: LivenessOptions): Promise<boolean> {
  const everyMs = hungAfterMs / QUESTIONS;
  const timeoutMs = Math.min(LONGEST_ANSWER_MS, everyMs);
  let unanswered = 0;
  while (!signal.aborted) {
    const asked = { wallMs: clock.now(), monotonicMs: clock.monotonicMs() };
    const alive = await ask(timeoutMs);
    if (signal.aborted) return false;
    const restMs = Math.max(0, everyMs - (clock.monotonicMs() - asked.monotonicMs));
    const expectedMs = alive ? everyMs : Math.max(everyMs, timeoutMs);
    if (!alive && ++unanswered >= QUESTIONS && !late(asked, timeoutMs, clock)) return true;
    if (alive) unanswered = 0;
    await clock.sleep(restMs, signal);
    if (late(asked, expectedMs, clock)) unanswered = 0;
  }
  return false;
}

/** Both clocks: one of them stands still while the machine sleeps. */
function late(
  since: { readonly wallMs: number; readonly monotonicMs: number },
  expectedMs: number,
  clock: Clock,
): boolean {
  const mostMs = expectedMs + MOST_LATE_MS;
  return clock.now() - since.wallMs > mostMs || clock.monotonicMs() - since.monotonicMs > mostMs;
}
