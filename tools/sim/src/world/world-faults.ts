import { SeededRandom, type Simulation } from '@flotilla/testing/simulation';
import type { FaultKind, FaultPlan, FaultRates } from '../faults.ts';

/** Decides, as the plan and the seed say, whether something goes wrong; counts what did. */
export class Faults {
  readonly plan: FaultPlan;
  readonly #random: SeededRandom;
  readonly #simulation: Simulation;
  readonly #injected = new Map<FaultKind, number>();
  #over = false;

  constructor(plan: FaultPlan, simulation: Simulation) {
    this.plan = plan;
    this.#simulation = simulation;
    this.#random = new SeededRandom(simulation.seed, 'which faults happen');
  }

  /** Whether faults still happen. */
  get active(): boolean {
    return !this.#over && this.#simulation.elapsedMs < this.plan.untilMs;
  }

  /** How often each kind went wrong. */
  get injected(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#injected);
  }

  happens(kind: keyof FaultRates): boolean {
    const rate = this.plan.rates[kind];
    if (rate === 0 || !this.active || !this.#random.chance(rate)) return false;
    this.count(kind);
    return true;
  }

  /** Whether one of two like things happens, once a fault is certain. */
  eitherOr(): boolean {
    return this.#random.chance(0.5);
  }

  int(min: number, max: number): number {
    return this.#random.int(min, max);
  }

  pick<T>(from: readonly T[]): T {
    return this.#random.pick(from);
  }

  count(kind: FaultKind): void {
    this.#injected.set(kind, (this.#injected.get(kind) ?? 0) + 1);
  }

  end(): void {
    this.#over = true;
  }
}
