import { InvalidHealthOptionsError } from './health.errors.ts';
import type { HealthRegistry } from '../health.ts';
import type { Logger } from '../logger.ts';
import type { Metrics } from '../metrics.ts';

export interface HealthOptionsInput {
  readonly health: HealthRegistry;
  readonly metrics: Metrics;
  /** Told when readiness changes, once per change. */
  readonly logger?: Logger;
  /**
   * `/health/live` fails when the event loop lags by more than this for over a second, in milliseconds. Default
   * 1000. Lower restarts a service that is only busy.
   */
  readonly maxLagMs?: number;
  /**
   * How long an indicator's answer is used again, in milliseconds. Default 500: several probes and the gateway's
   * own check then cost the database one query.
   */
  readonly cacheMs?: number;
}

export interface HealthOptions {
  readonly health: HealthRegistry;
  readonly metrics: Metrics;
  readonly logger: Logger | undefined;
  readonly maxLagMs: number;
  readonly cacheMs: number;
}

/** Defaults and checks; throws {@link InvalidHealthOptionsError} with every problem. */
export function resolveHealthOptions(input: HealthOptionsInput): HealthOptions {
  const options: HealthOptions = {
    health: input.health,
    metrics: input.metrics,
    logger: input.logger,
    maxLagMs: input.maxLagMs ?? 1_000,
    cacheMs: input.cacheMs ?? 500,
  };
  const problems: string[] = [];
  if (!(options.maxLagMs > 0)) problems.push(`maxLagMs is ${options.maxLagMs}, expected more than 0`);
  if (!(options.cacheMs >= 0)) problems.push(`cacheMs is ${options.cacheMs}, expected 0 or more`);
  if (problems.length > 0) throw new InvalidHealthOptionsError(problems);
  return options;
}
