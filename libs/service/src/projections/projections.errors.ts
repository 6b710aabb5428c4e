import { FlotillaError } from '@flotilla/kernel';

/** Thrown when a projection or one of its tables is declared in a way that cannot work. Code `PROJECTION_DEFINITION`. */
export class ProjectionDefinitionError extends FlotillaError {
  constructor(what: string, problems: readonly string[]) {
    super('PROJECTION_DEFINITION', `The declaration of ${what} cannot work:\n- ${problems.join('\n- ')}`, {
      retry: 'never',
    });
  }
}
