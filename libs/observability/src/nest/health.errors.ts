import { FlotillaError } from '@flotilla/kernel';

/** Thrown when HealthModule is given options that make no sense; `problems` has them all. */
export class InvalidHealthOptionsError extends FlotillaError {
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super('INVALID_HEALTH_OPTIONS', `Health options cannot be used: ${problems.join('; ')}`, {
      retry: 'never',
    });
    this.problems = problems;
  }
}
