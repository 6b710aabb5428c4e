import type { SeedResult } from './run-seed.ts';

/** What many seeds came to together. */
export interface Figures {
  readonly seeds: number;
  readonly failed: number;
  readonly seconds: number;
  readonly seedsPerSecond: number;
  readonly orders: number;
  readonly returns: number;
  readonly events: number;
  readonly simulatedHours: number;
  readonly endings: Readonly<Record<string, number>>;
  readonly faults: Readonly<Record<string, number>>;
}

/** Adds seeds up as they come. */
export class FigureCount {
  #seeds = 0;
  #failed = 0;
  #orders = 0;
  #returns = 0;
  #events = 0;
  #simulatedMs = 0;
  readonly #endings: Record<string, number> = {};
  readonly #faults: Record<string, number> = {};

  get seeds(): number {
    return this.#seeds;
  }

  add({ violations, orders, returns, events, simulatedMs, endings, faults }: SeedResult): void {
    this.#seeds++;
    if (violations.length > 0) this.#failed++;
    this.#orders += orders;
    this.#returns += returns;
    this.#events += events;
    this.#simulatedMs += simulatedMs;
    addAll(this.#endings, endings);
    addAll(this.#faults, faults);
  }

  figures(seconds: number): Figures {
    return {
      seeds: this.#seeds,
      failed: this.#failed,
      seconds,
      seedsPerSecond: this.#seeds / Math.max(seconds, 0.001),
      orders: this.#orders,
      returns: this.#returns,
      events: this.#events,
      simulatedHours: this.#simulatedMs / 3_600_000,
      endings: sorted(this.#endings),
      faults: sorted(this.#faults),
    };
  }
}

/** The figures as lines for people. */
export function figuresText(figures: Figures): string {
  const { seeds, failed, seconds, seedsPerSecond, orders, returns, events, simulatedHours } = figures;
  const list = (counts: Readonly<Record<string, number>>): string =>
    Object.entries(counts)
      .map(([what, times]) => `  ${String(times).padStart(8)}  ${what}`)
      .join('\n');
  return [
    `${seeds} seeds in ${seconds.toFixed(1)} s (${seedsPerSecond.toFixed(1)} a second), ${failed} failed`,
    `${orders} orders, ${returns} returns, ${simulatedHours.toFixed(1)} hours of simulated time, ${events} events`,
    `ended as\n${list(figures.endings)}`,
    `what went wrong\n${list(figures.faults)}`,
  ].join('\n');
}

function addAll(sums: Record<string, number>, more: Readonly<Record<string, number>>): void {
  for (const [what, times] of Object.entries(more)) sums[what] = (sums[what] ?? 0) + times;
}

function sorted(counts: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(Object.entries(counts).sort(([a], [b]) => (a < b ? -1 : 1)));
}
