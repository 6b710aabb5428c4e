import { FlotillaError } from '@flotilla/kernel';

/** Thrown at start when settings are missing or wrong; the message lists every one with what it should be. */
export class InvalidConfigError extends FlotillaError {
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super('INVALID_CONFIG', `The configuration is not valid:\n- ${problems.join('\n- ')}`, {
      retry: 'never',
    });
    this.problems = problems;
  }
}
