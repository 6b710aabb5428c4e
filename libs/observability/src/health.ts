import { FlotillaError, systemClock, type Clock, type TimerHandle } from '@flotilla/kernel';

/** One thing that a service needs in order to take work. */
export interface HealthIndicator {
  /** Names it in the answer of `/health/ready`: `database`, `nats`, `jetstream` ... */
  readonly name: string;
  /**
   * Resolves while it works, with details to show if there are any; throws what is wrong otherwise. Must be cheap:
   * it runs with every probe. Honour the signal, which aborts at the time-out.
   */
  readonly check: (signal: AbortSignal) => unknown;
  /** After this the indicator counts as down, in milliseconds. Default 2000. */
  readonly timeoutMs?: number;
  /** Whether its failure takes the service out of traffic (`unready`, the default) or is only shown (`degraded`). */
  readonly impact?: 'unready' | 'degraded';
}

/** The indicators of one process, and whether it is draining. Framework-free: libs register here, probes read. */
export class HealthRegistry {
  readonly #indicators = new Map<string, HealthIndicator>();
  #draining: string | undefined;

  /** Adds an indicator and returns its removal. Throws `DUPLICATE_HEALTH_INDICATOR` if the name is taken. */
  register(indicator: HealthIndicator): () => void {
    if (this.#indicators.has(indicator.name)) {
      throw new FlotillaError(
        'DUPLICATE_HEALTH_INDICATOR',
        `A health indicator "${indicator.name}" is registered already: give this one another name`,
        { retry: 'never' },
      );
    }
    this.#indicators.set(indicator.name, indicator);
    return () => {
      if (this.#indicators.get(indicator.name) === indicator) this.#indicators.delete(indicator.name);
    };
  }

  indicators(): readonly HealthIndicator[] {
    return [...this.#indicators.values()];
  }

  /** From now on the process is not ready: it finishes what it has and takes no more. There is no way back. */
  drain(reason = 'shutting down'): void {
    this.#draining ??= reason;
  }

  /** Why the process is draining; undefined while it is not. */
  get draining(): string | undefined {
    return this.#draining;
  }
}

const samplePeriodMs = 500;
const samplesKept = 3;

/**
 * How late timers run. One long task does not count: the lag is the least of the last three samples, half a second
 * apart, so that only a loop that stays busy is reported.
 */
export class EventLoopLag {
  readonly #clock: Clock;
  readonly #samples: number[] = [];
  #timer: TimerHandle | undefined;

  constructor(clock: Clock = systemClock) {
    this.#clock = clock;
  }

  start(): void {
    this.#timer ??= this.#schedule();
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  /** The persistent lag in milliseconds; 0 until there are enough samples. */
  get lagMs(): number {
    return this.#samples.length < samplesKept ? 0 : Math.min(...this.#samples);
  }

  #schedule(): TimerHandle {
    const dueMs = this.#clock.monotonicMs() + samplePeriodMs;
    return this.#clock.after(samplePeriodMs, () => {
      this.#samples.push(Math.max(0, this.#clock.monotonicMs() - dueMs));
      if (this.#samples.length > samplesKept) this.#samples.shift();
      this.#timer = this.#schedule();
    });
  }
}
