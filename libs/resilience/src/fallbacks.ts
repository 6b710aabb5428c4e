import { systemClock, type Clock } from '@flotilla/kernel';
import type { Fallback } from './policy.ts';

/** A fallback that always answers the same. */
export function fallbackValue<T>(value: T, options: Pick<Fallback<T>, 'when'> = {}): Fallback<T> {
  return { answer: () => value, ...options };
}

export interface LastAnswersOptions {
  /** How old an answer may be to be given again, in milliseconds. */
  readonly maxAgeMs: number;
  /** How many answers are kept; the one unused for longest goes first. Default 1000. */
  readonly maxEntries?: number;
  readonly clock?: Clock;
}

/**
 * The answers that were got while all was well, to be given again when it is not: yesterday's price is better than
 * none. Only for what may be stale for `maxAgeMs`.
 */
export class LastAnswers<T> {
  readonly #maxAgeMs: number;
  readonly #maxEntries: number;
  readonly #clock: Clock;
  readonly #answers = new Map<string, { readonly answer: T; readonly atMs: number }>();

  constructor({ maxAgeMs, maxEntries = 1_000, clock = systemClock }: LastAnswersOptions) {
    this.#maxAgeMs = maxAgeMs;
    this.#maxEntries = maxEntries;
    this.#clock = clock;
  }

  /** Remembers an answer under what was asked. */
  keep(question: string, answer: T): void {
    this.#answers.delete(question);
    this.#answers.set(question, { answer, atMs: this.#clock.monotonicMs() });
    if (this.#answers.size <= this.#maxEntries) return;
    for (const oldest of this.#answers.keys()) {
      this.#answers.delete(oldest);
      break;
    }
  }

  /** The fallback that answers as the last time; where there was none, or it is too old, the error stays. */
  fallback(question: string): Fallback<T> {
    return {
      answer: (error) => {
        const known = this.#answers.get(question);
        if (known === undefined || this.#clock.monotonicMs() - known.atMs > this.#maxAgeMs) throw error;
        return known.answer;
      },
    };
  }
}
