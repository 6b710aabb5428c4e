import { backoffDelayMs } from '@flotilla/kernel';

/** Exits closer together than this count as a loop. */
const WINDOW_MS = 60_000;
/** So many exits within the window are a crash loop. */
const LOOP_EXITS = 5;
/** How often a process in a crash loop is tried again. */
const LOOP_DELAY_MS = 30_000;

export interface RestartDecision {
  readonly delayMs: number;
  readonly crashLoop: boolean;
}

/** Decides when a process that ended is started again: at once after a single crash, ever later in a loop. */
export class RestartPolicy {
  #exitsMs: number[] = [];

  exited(nowMs: number): RestartDecision {
    this.#exitsMs = [...this.#exitsMs.filter((at) => nowMs - at < WINDOW_MS), nowMs];
    const recent = this.#exitsMs.length;
    if (recent >= LOOP_EXITS) return { delayMs: LOOP_DELAY_MS, crashLoop: true };
    if (recent === 1) return { delayMs: 0, crashLoop: false };
    return { delayMs: backoffDelayMs(recent - 1, { initialMs: 500, maxMs: 10_000 }), crashLoop: false };
  }
}
